"""From SIGKILL to the survivor that knows: how long a death takes to be noticed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Generator
from multiprocessing.connection import Connection

from underpass import Gate, Port, Queue, Space
from underpass.errors import PeerDiedError
from underpass.tools.bench.measure import Contestant, Sampler
from underpass.tools.bench.partners import PATIENCE, partner, wait_until_asleep
from underpass.tools.bench.placement import Seats, UnavailableError
from underpass.tools.bench.spaces import private_space

LEASE = "lease holder killed: a blocked get has the message"
SERVER = "server killed: a blocked call has PeerDiedError"

_FORK = multiprocessing.get_context("fork")


@contextlib.contextmanager
def _leases(seats: Seats, _batch: int) -> Generator[Sampler]:
    with contextlib.closing(Queue(1, 64)) as queue:

        def notice() -> float:
            here, there = _FORK.Pipe()
            queue.put(b"work")
            with here, there, partner(_hold_lease, queue, there, cpu=seats.server) as holder:
                _await(here)
                with partner(_get, queue, there, cpu=seats.client) as getter:
                    wait_until_asleep(getter)
                    return _kill_and_time(holder, here)

        yield lambda count: [notice() for _ in range(count)]


def _hold_lease(queue: Queue, ready: Connection) -> None:
    lease = queue.take()
    ready.send_bytes(b"")
    signal.pause()
    lease.done()


def _get(queue: Queue, done: Connection) -> None:
    queue.get()
    _report(done)


@contextlib.contextmanager
def _servers(seats: Seats, _batch: int) -> Generator[Sampler]:
    with private_space() as space:

        def notice() -> float:
            here, there = _FORK.Pipe()
            with here, there, partner(_serve_without_end, space, there, cpu=seats.server) as server:
                _await(here)
                with partner(_call, space, there, cpu=seats.client) as caller:
                    _await(here)
                    wait_until_asleep(caller)
                    return _kill_and_time(server, here)

        yield lambda count: [notice() for _ in range(count)]


def _serve_without_end(space: Space, ready: Connection) -> None:
    def handle(_data: bytes) -> bytes:
        ready.send_bytes(b"")
        signal.pause()
        return b""

    port = Port.create("bench", space=space)
    ready.send_bytes(b"")
    port.serve_bytes(handle)


def _call(space: Space, done: Connection) -> None:
    with contextlib.suppress(PeerDiedError):
        Gate.open("bench", space=space, timeout=PATIENCE).call(b"work")
    _report(done)


def _kill_and_time(victim: int, survivor: Connection) -> float:
    """Nanoseconds from the signal to the survivor's return; one clock for the whole machine."""
    killed = time.monotonic_ns()
    os.kill(victim, signal.SIGKILL)
    return float(int.from_bytes(_await(survivor)) - killed)


def _report(done: Connection) -> None:
    """Send the time, and stay: the parent ends all its partners."""
    done.send_bytes(time.monotonic_ns().to_bytes(8))
    signal.pause()


def _await(connection: Connection) -> bytes:
    if not connection.poll(PATIENCE):
        raise UnavailableError(f"a partner said nothing for {PATIENCE:.0f} s")
    return connection.recv_bytes()


DEATHS = (
    Contestant(LEASE, _leases, samples=3, warm_up=False),
    Contestant(SERVER, _servers, samples=3, warm_up=False),
)
