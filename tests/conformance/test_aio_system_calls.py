"""No system call while a task need not wait: counted as in test_system_calls, 1,000 operations of each kind, on each event loop.

Who need not wait does not give way to other tasks either, so nothing else runs between the marks.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import pytest

from tests.conformance.loops import EventLoop
from tests.conformance.test_system_calls import INTO, SHORT, mark, traced
from underpass import (
    AtomicInt,
    Barrier,
    Condition,
    Event,
    Mutex,
    Notification,
    Once,
    Queue,
    RWLock,
    Semaphore,
    aio,
)
from underpass.data import Stack
from underpass.sync import Latch

OPERATIONS = 1_000
# Until the interpreter has the memory that the operation needs, and the loop a reactor.
WARM = 200
# CPython 3.11 itself asks which process it is when it is asked which loop of asyncio runs.
ASKED_BY_ASYNCIO = {39, 172} if sys.version_info < (3, 12) else set[int]()

Kinds = dict[str, tuple[Callable[[], Any], Callable[[Any], Awaitable[object]]]]


async def inside(block: AbstractAsyncContextManager[object], then: Callable[[], object] = lambda: None) -> None:
    async with block:
        then()


async def acquire(it: Any) -> None:
    await it.acquire()
    it.release()


def pushed(it: Any) -> Awaitable[object]:
    it.push(1)
    return it.pop()


async def both(*steps: Awaitable[object]) -> None:
    for step in steps:
        await step


async def pulse(it: aio.Notification) -> None:
    it.notify(5)
    await both(it.wait(4), it.wait(1))


async def signal(it: aio.Event) -> None:
    it.set()
    await it.wait()
    it.clear()


async def changed(it: aio.Condition) -> None:
    async with it:
        it.notify()
        await it.wait_for(lambda: True)


async def upgraded(it: aio.RWLock) -> None:
    async with it.reading():
        await it.upgrade()
        it.downgrade()


async def taken(it: aio.Queue) -> None:
    await it.put(b"x")
    (await it.take()).done()


async def lent(it: aio.Queue) -> None:
    (await it.loan(8)).abandon()


NOTHING_TO_WAIT_FOR: Kinds = {
    "Semaphore.acquire": (lambda: Semaphore(1), acquire),
    "Semaphore.acquire, by arrival": (lambda: Semaphore(1, fairness="arrival"), acquire),
    "Semaphore.acquire, by priority": (lambda: Semaphore(1, fairness="priority"), acquire),
    "Semaphore.acquire, leased": (lambda: Semaphore(1, leased=True), acquire),
    "Semaphore.holding": (lambda: Semaphore(1), lambda it: inside(it.holding())),
    "Mutex.acquire": (Mutex, acquire),
    "Mutex.acquire, by arrival": (lambda: Mutex(fairness="arrival"), acquire),
    "Mutex.acquire, recursive": (lambda: Mutex(recursive=True), lambda it: inside(it, lambda: None)),
    "Mutex.holding": (Mutex, lambda it: inside(it.holding())),
    "Mutex.recovering": (Mutex, lambda it: inside(it.recovering())),
    "Notification.wait": (Notification, pulse),
    "Event.wait": (Event, signal),
    "AtomicInt.wait": (AtomicInt, lambda it: it.wait(1)),
    "Barrier.wait": (lambda: Barrier(1), lambda it: it.wait()),
    "Condition.wait_for": (Condition, changed),
    "Once.call": (Once, lambda it: it.call(int)),
    "RWLock.reading": (RWLock, lambda it: inside(it.reading())),
    "RWLock.writing": (RWLock, lambda it: inside(it.writing())),
    "RWLock.upgrade": (RWLock, upgraded),
    "Latch.wait": (lambda: Latch(0), lambda it: it.wait()),
    "Stack.push, pop": (lambda: Stack(4), pushed),
    "Queue.put, get": (lambda: Queue(8, 64), lambda it: both(it.put(b"x"), it.get())),
    "Queue.put_many, get_many": (lambda: Queue(8, 64), lambda it: both(it.put_many((b"x", b"y")), it.get_many())),
    "Queue.get_into": (lambda: Queue(8, 64), lambda it: both(it.put(b"x"), it.get_into(INTO))),
    "Queue.take": (lambda: Queue(8, 64), taken),
    "Queue.loan": (lambda: Queue(8, 64), lent),
    "Queue.join": (lambda: Queue(8, 64), lambda it: it.join()),
    "wait_any": (lambda: Semaphore(1), lambda it: aio.wait_any(it, it)),
    "wait_all": (lambda: Semaphore(1), lambda it: aio.wait_all(it, it)),
    "select": (lambda: Latch(0), lambda it: aio.select(it.wait, it.wait)),
}


def calls_of(
    loop: EventLoop, make: Callable[[], Any], operation: Callable[[Any], Awaitable[object]], times: int
) -> Counter[int]:
    """Count the system calls, by number, between the marks around that many operations of one task."""

    async def main() -> None:
        plain = make()
        it = plain.aio
        for _ in range(WARM):
            await operation(it)
        mark()
        for _ in range(times):
            await operation(it)
        mark()
        plain.close()

    with traced(lambda: loop.run(main)) as intervals:
        [calls] = intervals
    return calls


@pytest.mark.parametrize("kind", NOTHING_TO_WAIT_FOR)
def test_no_system_call_while_no_task_waits(loop: EventLoop, kind: str) -> None:
    make, operation = NOTHING_TO_WAIT_FOR[kind]
    calls = calls_of(loop, make, operation, OPERATIONS)
    assert not calls.keys() - (ASKED_BY_ASYNCIO if loop.name != "trio" else set()), calls


def test_waiting_is_counted(loop: EventLoop) -> None:
    async def late(it: aio.Event) -> None:
        with anyio.move_on_after(SHORT):
            await it.wait()

    async def main() -> None:
        it = Event()
        await late(it.aio)
        mark()
        for _ in range(3):
            await late(it.aio)
        mark()
        it.close()

    with traced(lambda: loop.run(main)) as intervals:
        [calls] = intervals
    assert calls.total() >= 3
