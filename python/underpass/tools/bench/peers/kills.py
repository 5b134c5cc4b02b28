"""What a waiting process learns when the one it waits for is killed: the time until it knows, or that it never does."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Generator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from underpass import Mutex
from underpass.tools.bench.measure import Contestant, Sampler
from underpass.tools.bench.partners import PATIENCE, partner
from underpass.tools.bench.peers import fasterfifo, grpcs, iceoryx, ours, posix, rpycs, shapes, sockets, zeromq
from underpass.tools.bench.peers.shapes import Echo, place_of
from underpass.tools.bench.placement import Seats, UnavailableError

# Who has not been told by then would wait for ever.
LIMIT = 2.0

_FORK = multiprocessing.get_context("fork")


@contextlib.contextmanager
def _server_killed(echo: Echo, _seats: Seats, _batch: int) -> Generator[Sampler]:
    """The server is killed while a call is under way: it has been stopped, so that it cannot answer."""

    def notice() -> float:
        here, there = _FORK.Pipe()
        with (
            here,
            there,
            place_of(echo.module) as place,
            echo.made(place) as made,
            partner(echo.serve, made, cpu=None) as server,
            partner(_call_twice, echo, made, there, cpu=None),
        ):
            _await(here, PATIENCE, "the first call was not answered")
            os.kill(server, signal.SIGSTOP)
            here.send(None)
            _await(here, PATIENCE, "the second call did not begin")
            return _kill_and_time(server, here)

    yield lambda count: [notice() for _ in range(count)]


def _call_twice(echo: Echo, made: Any, parent: Connection) -> None:
    with echo.trip(made) as trip:
        trip()
        parent.send(None)
        parent.recv()
        parent.send(None)
        _until_told(trip, parent)


@contextlib.contextmanager
def _holder_killed(module: str, made: shapes.Made, _seats: Seats, _batch: int) -> Generator[Sampler]:
    """The holder of a lock is killed while another process waits for it."""

    def notice() -> float:
        here, there = _FORK.Pipe()
        with (
            here,
            there,
            place_of(module) as place,
            made(place) as lock,
            partner(_hold, lock, there, cpu=None) as holder,
        ):
            _await(here, PATIENCE, "the lock was not taken")
            with partner(_acquire, lock, there, cpu=None):
                _await(here, PATIENCE, "nobody waits for the lock")
                return _kill_and_time(holder, here)

    yield lambda count: [notice() for _ in range(count)]


def _hold(lock: Any, parent: Connection) -> None:
    lock.acquire()
    parent.send(None)
    signal.pause()


def _acquire(lock: Any, parent: Connection) -> None:
    parent.send(None)
    _until_told(lock.acquire, parent)


def _until_told(operation: Callable[[], object], parent: Connection) -> None:
    """Report when the operation returns or raises; any error of any peer is a way of being told."""
    with contextlib.suppress(Exception):
        operation()
    parent.send(time.monotonic_ns())
    signal.pause()


def _kill_and_time(victim: int, survivor: Connection) -> float:
    killed = time.monotonic_ns()
    os.kill(victim, signal.SIGKILL)
    told: int = _await(survivor, LIMIT, f"hangs: not told within {LIMIT:.0f} s")
    return float(told - killed)


def _await(connection: Connection, seconds: float, otherwise: str) -> Any:
    if not connection.poll(seconds):
        raise UnavailableError(otherwise)
    return connection.recv()


@contextlib.contextmanager
def _process_lock(_place: Path) -> Generator[Any]:
    yield _FORK.Lock()


@contextlib.contextmanager
def _mutex(_place: Path) -> Generator[Mutex]:
    with contextlib.closing(Mutex()) as mutex:
        yield mutex


def _holder(name: str, module: str, made: shapes.Made) -> Contestant:
    return Contestant(name, functools.partial(_holder_killed, module, made), samples=1, warm_up=False)


KILLS = (
    *(
        Contestant(f"{echo.name}: the server", functools.partial(_server_killed, echo), samples=1, warm_up=False)
        for echo in (
            ours.ECHO,
            sockets.PIPE_ECHO,
            sockets.SOCKET_ECHO,
            zeromq.ECHO,
            posix.ECHO,
            fasterfifo.ECHO,
            iceoryx.EVENTS,
            iceoryx.POLLING,
            rpycs.ECHO,
            grpcs.ECHO,
        )
    ),
    _holder("underpass.Mutex: its owner", "", _mutex),
    _holder("multiprocessing.Lock: its holder", "", _process_lock),
    _holder("posix_ipc.Semaphore: its holder", posix.MODULE, posix.free),
)
