"""The CPU that a process burns while it waits for what does not come."""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from multiprocessing.connection import Connection

from underpass import Port, Queue, Semaphore, Space
from underpass.tools.bench.measure import FAILURES, Absent, Effort, Row
from underpass.tools.bench.partners import PATIENCE, cpu_time, partner, wait_until_asleep
from underpass.tools.bench.placement import Placement, UnavailableError
from underpass.tools.bench.spaces import private_space

SEMAPHORE = "idle in Semaphore.acquire"
QUEUE = "idle in Queue.get"
PORT = "idle in Port.receive"
PEER_PIPE = "idle in multiprocessing.Pipe recv_bytes"

_FORK = multiprocessing.get_context("fork")


def watch_idle_waiters(group: str, effort: Effort) -> Iterator[Row | Absent]:
    """Let one process wait in each way that underpass has."""
    with contextlib.ExitStack() as opened:
        space = opened.enter_context(private_space())
        quiet, _writer = opened.enter_context(_pipe())
        semaphore = opened.enter_context(contextlib.closing(Semaphore(0)))
        queue = opened.enter_context(contextlib.closing(Queue()))
        waits: dict[str, Callable[[], object]] = {
            PEER_PIPE: quiet.recv_bytes,
            SEMAPHORE: semaphore.acquire,
            QUEUE: queue.get,
            PORT: lambda: _receive(space),
        }
        yield from watch(group, effort, waits)


def watch(
    group: str, effort: Effort, waits: Mapping[str, Callable[[], object]], *, asleep: bool = True
) -> Iterator[Row | Absent]:
    """Let one process wait in each way, all at the same time, and read their CPU clocks before and after.

    Args:
        group: The group of the rows.
        effort: How long they are watched.
        waits: The ways to wait, by name.
        asleep: Whether the clocks are read from when each sleeps for the first time, and one that is not asleep in the
            end has not waited.
    """
    with contextlib.ExitStack() as opened:
        waiters = {name: opened.enter_context(_waiting(wait)) for name, wait in waits.items()}
        if asleep:
            for pid in waiters.values():
                wait_until_asleep(pid)
        before = {name: cpu_time(pid) for name, pid in waiters.items()}
        time.sleep(effort.idle_seconds)
        for name, pid in waiters.items():
            used = cpu_time(pid) - before[name]
            try:
                if asleep:
                    wait_until_asleep(pid)
            except FAILURES as error:
                yield Absent(group, name, Placement.UNPINNED, str(error))
            else:
                yield _row(group, name, float(used))


@contextlib.contextmanager
def _waiting(wait: Callable[[], object]) -> Generator[int]:
    """A process that is about to wait, or waits."""
    with _pipe() as (here, there), partner(_announce_and_wait, there, wait, cpu=None) as waiter:
        if not here.poll(PATIENCE):
            raise UnavailableError("the waiter did not start")
        yield waiter


def _announce_and_wait(ready: Connection, wait: Callable[[], object]) -> None:
    ready.send_bytes(b"")
    wait()


def _receive(space: Space) -> None:
    Port.create("idle", space=space).receive()


@contextlib.contextmanager
def _pipe() -> Generator[tuple[Connection, Connection]]:
    reader, writer = _FORK.Pipe(duplex=False)
    with reader, writer:
        yield reader, writer


def _row(group: str, name: str, used: float) -> Row:
    return Row(
        group=group,
        name=name,
        placement=Placement.UNPINNED,
        median=used,
        p99=used,
        samples=1,
        batch=1,
        rounds=(used,),
        reference=None,
        ratio=None,
    )
