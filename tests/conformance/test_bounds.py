"""As many as an object has places for: the last who fits, and the first who does not and waits for a place."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.backends import Processes, Threads, until
from underpass import AtomicInt, Barrier, Notification, RWLock, Semaphore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

READERS, PARTIES, WAITERS = 63, 64, 4_095


def test_the_64th_reader_waits_and_gets_the_place_of_one_who_leaves(processes: Processes) -> None:
    lock, inside, leave = RWLock(), AtomicInt(), processes.flag()

    def read() -> bool:
        with lock.reading():
            inside.add(1)
            leave.wait()
        return True

    readers = [processes.start(read) for _ in range(READERS)]
    until(lambda: inside.load() == READERS, "all are inside")
    late = processes.start(read)
    late.until_asleep()
    leave.raise_()
    until(lambda: inside.load() == READERS + 1, "the late one has the place")
    leave.raise_(READERS)
    assert late.result()
    assert all(reader.result() for reader in readers)
    with lock.writing(timeout=0):
        assert lock.statistics().readers == 0


def test_as_many_processes_meet_as_a_barrier_can_watch(processes: Processes) -> None:
    barrier, done = Barrier(PARTIES), processes.flag()

    def meet() -> list[int]:
        indices = [barrier.wait() for _ in range(2)]
        # Whoever ends while others are to pass still would break it.
        done.wait()
        return indices

    actors = [processes.start(meet) for _ in range(PARTIES)]
    done.raise_(PARTIES)
    for indices in zip(*[actor.result() for actor in actors], strict=True):
        assert sorted(indices) == [*range(PARTIES)]


# ── more than have a place in the order of those who wait ───────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Crowd:
    """An object, how tasks and threads wait for it, and what lets one go, the first, or all."""

    name: str
    make: Callable[[], Any]
    task: Callable[[Any], Awaitable[object]]
    thread: Callable[[Any], object]
    one: Callable[[Any], object] | None
    all: Callable[[Any], object]


CROWDS = [
    Crowd(
        "semaphore",
        lambda: Semaphore(0, fairness="arrival"),
        lambda it: it.aio.acquire(),
        Semaphore.acquire,
        Semaphore.release,
        lambda it: it.release(WAITERS),
    ),
    Crowd(
        "atomic",
        AtomicInt,
        lambda it: it.aio.wait(0),
        lambda it: it.wait(0),
        AtomicInt.wake,
        lambda it: it.store(1),
    ),
    Crowd(
        "notification",
        Notification,
        lambda it: it.aio.wait(1, consume=False),
        lambda it: it.wait(1, consume=False),
        None,
        Notification.notify,
    ),
]


@pytest.mark.deep
@pytest.mark.parametrize("crowd", CROWDS, ids=lambda crowd: crowd.name)
def test_the_4096th_waiter_gets_a_place_when_one_leaves(threads: Threads, crowd: Crowd) -> None:
    """Tasks are waiters like threads, and cheap."""
    it = crowd.make()

    def waiters() -> int:
        return it.statistics().waiters

    async def fill() -> bool:
        tasks = [asyncio.ensure_future(crowd.task(it)) for _ in range(WAITERS)]
        while waiters() < WAITERS:  # noqa: ASYNC110 - they say so to nobody
            await asyncio.sleep(0)
        late = threads.start(crowd.thread, it)
        late.until_asleep()
        if crowd.one is not None:
            crowd.one(it)
            await tasks[0]
            until(lambda: waiters() == WAITERS, "the late one waits in a place")
            assert not any(task.done() for task in tasks[1:])
        crowd.all(it)
        await asyncio.gather(*tasks)
        return bool(late.result())

    assert asyncio.run(fill())
