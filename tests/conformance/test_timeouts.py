"""The order of time-outs: who waits for as long as it may leaves by its own deadline, and the others keep their places."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.backends import SOON, Processes, Threads
from tests.conformance.lab import Lab
from underpass import (
    AtomicInt,
    Broadcast,
    Condition,
    Event,
    Mutex,
    Notification,
    Once,
    Pipe,
    Queue,
    RWLock,
    Semaphore,
    TimedOut,
    select,
    wait_all,
    wait_any,
)
from underpass.data import MpscRing, Stack
from underpass.sync import Latch, SpinLock, priority

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

World = Threads | Processes


@dataclass(frozen=True)
class Wait:
    """An operation that waits for as long as whoever starts it says, on an object of its kind."""

    name: str
    make: Callable[[], Any]
    wait: Callable[[Any, float], object]
    block: Callable[[Any], AbstractContextManager[object]] = lambda _it: nullcontext()
    """Has it wait."""


def _wait_in(condition: Condition, timeout: float) -> None:
    with condition:
        condition.wait(timeout=timeout)


def _enter(block: AbstractContextManager[object]) -> None:
    with block:
        pytest.fail("nobody has left it")


def _full() -> Queue:
    queue = Queue(1, 8)
    queue.put(b"full")
    return queue


def _full_pipe() -> Pipe:
    pipe = Pipe(8)
    pipe.write(bytes(8))
    return pipe


def _full_ring() -> MpscRing:
    ring = MpscRing(64)
    for _ in range(2):
        ring.write(bytes(32))
    return ring


def _read(broadcast: Broadcast, timeout: float) -> None:
    with broadcast.subscribe() as mine:
        mine.get(timeout=timeout)


def _waits() -> list[Wait]:
    def acquire(it: Any, timeout: float) -> object:
        return it.acquire(timeout=timeout)

    def wait(it: Any, timeout: float) -> object:
        return it.wait(timeout=timeout)

    return [
        Wait("semaphore", lambda: Semaphore(0), acquire),
        Wait("semaphore-arrival", lambda: Semaphore(0, fairness="arrival"), acquire),
        Wait("semaphore-priority", lambda: Semaphore(0, fairness="priority"), acquire),
        Wait("semaphore-leased", lambda: Semaphore(1, leased=True), acquire, Semaphore.holding),
        Wait("mutex", Mutex, acquire, Mutex.holding),
        Wait("mutex-arrival", lambda: Mutex(fairness="arrival"), acquire, Mutex.holding),
        Wait("mutex-priority", lambda: Mutex(fairness="priority"), acquire, Mutex.holding),
        Wait("mutex-recovering", Mutex, lambda it, timeout: _enter(it.recovering(timeout=timeout)), Mutex.holding),
        Wait("spin-lock", SpinLock, acquire, SpinLock.holding),
        Wait("condition", Condition, _wait_in),
        Wait("notification", Notification, lambda it, timeout: it.wait(0b11, all=True, timeout=timeout)),
        Wait("event", Event, wait),
        Wait("latch", lambda: Latch(1), wait),
        Wait("atomic", AtomicInt, lambda it, timeout: it.wait(0, timeout=timeout)),
        Wait("reading", RWLock, lambda it, timeout: _enter(it.reading(timeout=timeout)), RWLock.writing),
        Wait("writing", RWLock, lambda it, timeout: _enter(it.writing(timeout=timeout)), RWLock.reading),
        Wait("once", Once, lambda it, timeout: it.call(pytest.fail, timeout=timeout), Once.running),
        Wait("ring-write", _full_ring, lambda it, timeout: it.write(b"more", timeout=timeout)),
        Wait("stack", lambda: Stack(1), lambda it, timeout: it.pop(timeout=timeout)),
        Wait("queue-get", lambda: Queue(1, 8), lambda it, timeout: it.get(timeout=timeout)),
        Wait("queue-put", _full, lambda it, timeout: it.put(b"more", timeout=timeout)),
        Wait("pipe-read", lambda: Pipe(8), lambda it, timeout: it.read(1, timeout=timeout)),
        Wait("pipe-write", _full_pipe, lambda it, timeout: it.write(b"b", timeout=timeout)),
        Wait("subscription-get", lambda: Broadcast(64), _read),
        Wait("subscription-get-lossless", lambda: Broadcast(64, when_full="wait"), _read),
        Wait("wait-any", Event, lambda it, timeout: wait_any(it, Semaphore(0), timeout=timeout)),
        Wait("wait-all", Event, lambda it, timeout: wait_all(it, Semaphore(1), timeout=timeout)),
        Wait("select", Event, lambda it, timeout: select(it.wait, Semaphore(0).acquire, timeout=timeout)),
    ]


@pytest.mark.parametrize("operation", _waits(), ids=lambda operation: operation.name)
def test_timeouts_of_several_waiters_fire_in_the_order_of_their_deadlines(world: World, operation: Wait) -> None:
    it, left, timeouts = operation.make(), AtomicInt(), [3 * SOON, SOON, 2 * SOON]

    def late(timeout: float) -> int:
        deadline = time.monotonic() + timeout
        with pytest.raises(TimedOut):
            operation.wait(it, timeout)
        assert time.monotonic() >= deadline
        return left.add(1)

    with operation.block(it):
        waiters = [world.start(late, timeout) for timeout in timeouts]
        turns = [waiter.result() for waiter in waiters]
    # A machine may be so busy that several are overdue, and let any of them run first.
    assert turns == [2, 0, 1] if isinstance(world, Lab) else sorted(turns) == [0, 1, 2]


# ── out of the middle of a line ─────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _woken(condition: Condition, timeout: float | None = None) -> Generator[None]:
    with condition:
        condition.wait(timeout=timeout)
        yield


@contextmanager
def _waking(condition: Condition) -> Generator[None]:
    yield
    with condition:
        assert condition.notify_all() == 3


@dataclass(frozen=True)
class Line:
    """Those who wait to be inside go there one after the other, once the first one has left."""

    name: str
    make: Callable[[], Any]
    inside: Callable[..., AbstractContextManager[object]]
    first: Callable[[Any], AbstractContextManager[object]]


LINES = [
    Line("semaphore-arrival", lambda: Semaphore(1, fairness="arrival"), Semaphore.holding, Semaphore.holding),
    Line("semaphore-priority", lambda: Semaphore(1, fairness="priority"), Semaphore.holding, Semaphore.holding),
    Line("mutex-arrival", lambda: Mutex(fairness="arrival"), Mutex.holding, Mutex.holding),
    Line("mutex-priority", lambda: Mutex(fairness="priority"), Mutex.holding, Mutex.holding),
    Line("rwlock-arrival", lambda: RWLock(prefer="arrival"), RWLock.writing, RWLock.writing),
    Line("condition", Condition, _woken, _waking),
]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
def test_one_who_times_out_in_the_middle_leaves_the_others_in_their_order(world: World, line: Line) -> None:
    it, entered = line.make(), AtomicInt()

    def come() -> int:
        with line.inside(it):
            return entered.add(1)

    def late() -> None:
        with pytest.raises(TimedOut), line.inside(it, timeout=2 * SOON):
            pytest.fail("it was not its turn")

    with line.first(it):
        others = [world.start(come)]
        others[0].until_asleep()
        impatient = world.start(late)
        if isinstance(world, Lab):
            # A machine may be so slow that it has left by now.
            impatient.until_asleep()
        for _ in range(2):
            others.append(world.start(come))
            others[-1].until_asleep()
        impatient.result()
        for other in others:
            other.until_asleep()
    assert [other.result() for other in others] == [0, 1, 2]


@pytest.mark.parametrize("urgent", [0, 1, 2])
def test_whoever_of_a_line_times_out_the_most_urgent_left_is_next(world: World, urgent: int) -> None:
    """The impatient one stands anywhere in the order of priorities, not only in that of arrival."""
    semaphore, entered = Semaphore(1, fairness="priority"), AtomicInt()

    def come(urgency: int) -> int:
        with priority(urgency), semaphore.holding():
            return entered.add(1)

    def late() -> None:
        with priority(2 * urgent), pytest.raises(TimedOut):
            semaphore.acquire(timeout=SOON)

    with semaphore.holding():
        others = [world.start(come, 1), world.start(come, 3)]
        for other in others:
            other.until_asleep()
        world.start(late).result()
        for other in others:
            other.until_asleep()
    assert [other.result() for other in others] == [1, 0]
