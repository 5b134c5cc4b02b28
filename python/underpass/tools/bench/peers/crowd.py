"""One client that calls while many others are bound and idle, and what each of those costs."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import signal
from collections.abc import Generator, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from underpass import Gate, Space
from underpass.tools.bench.measure import Absent, Contestant, Effort, Row, Sampler, compete, timed
from underpass.tools.bench.partners import PATIENCE, partner
from underpass.tools.bench.peers import ours
from underpass.tools.bench.peers.shapes import MESSAGE
from underpass.tools.bench.placement import Placement, Seats, UnavailableError
from underpass.tools.bench.spaces import private_space

ALONE = "underpass call, the only client"
CROWDED = "underpass call, 999 others bound and idle"
MEMORY = "memory of one client, in bytes"

OTHERS = 999
PROCESSES = 9

_FORK = multiprocessing.get_context("fork")


@contextlib.contextmanager
def _calling(others: int, seats: Seats, batch: int) -> Generator[Sampler]:
    with (
        private_space() as space,
        partner(ours.serve, space, cpu=seats.server),
        _crowd(space, others),
        contextlib.closing(Gate.open("echo", space=space, timeout=PATIENCE)) as gate,
    ):
        yield timed(functools.partial(gate.call, MESSAGE), batch)


@contextlib.contextmanager
def _crowd(space: Space, others: int) -> Generator[None]:
    """So many clients, spread over processes, each of which has called once."""
    shares = [others // PROCESSES + (index < others % PROCESSES) for index in range(PROCESSES)]
    with contextlib.ExitStack() as opened:
        for share in filter(None, shares):
            here, there = _FORK.Pipe()
            opened.enter_context(here)
            opened.enter_context(there)
            opened.enter_context(partner(_bind, space, share, there, cpu=None))
            if not here.poll(6 * PATIENCE):
                raise UnavailableError(f"{share} clients did not bind within {6 * PATIENCE:.0f} s")
        yield


def _bind(space: Space, count: int, bound: Connection) -> None:
    gates = [Gate.open("echo", space=space, timeout=PATIENCE) for _ in range(count)]
    for gate in gates:
        gate.call(MESSAGE)
    bound.send(None)
    signal.pause()


def measure(group: str, effort: Effort) -> Iterator[Row | Absent]:
    """Time the calls of one client alone and in the crowd, and weigh the crowd."""
    contestants = [
        Contestant(ALONE, functools.partial(_calling, 0), batch=100, samples=20),
        Contestant(CROWDED, functools.partial(_calling, OTHERS), batch=100, samples=20),
    ]
    yield from compete(group, contestants, Placement.TWO_CPUS, effort)
    try:
        yield _weigh(group)
    except UnavailableError as error:
        yield Absent(group, MEMORY, Placement.UNPINNED, str(error))


def _weigh(group: str) -> Row:
    with private_space() as space, partner(ours.serve, space, cpu=None) as server:
        Gate.open("echo", space=space, timeout=PATIENCE).call(MESSAGE)
        before = _shared() + _private(server)
        with _crowd(space, OTHERS):
            each = (_shared() + _private(server) - before) / OTHERS
    return Row(group, MEMORY, Placement.UNPINNED, each, each, 1, 1, (each,), None, None, "bytes")


def _shared() -> int:
    """Bytes of shared memory on this machine."""
    return _field(Path("/proc/meminfo"), "Shmem:")


def _private(pid: int) -> int:
    """Bytes that a process has to itself."""
    return _field(Path(f"/proc/{pid}/status"), "RssAnon:")


def _field(path: Path, name: str) -> int:
    [line] = [line for line in path.read_text(encoding="ascii").splitlines() if line.startswith(name)]
    return int(line.split()[1]) * 1024
