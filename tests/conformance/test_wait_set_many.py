"""WaitSet of everything that can be waited for at once: of each kind, of thousands, and what becomes of a member meanwhile."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.backends import Processes, Threads
from tests.conformance.test_system_calls import mark, traced
from underpass import (
    AtomicInt,
    Event,
    Gate,
    Mutex,
    Notification,
    Port,
    Queue,
    ResetError,
    RWLock,
    Semaphore,
    TimedOut,
    WaitSet,
    WouldBlock,
    process,
    wait_any,
)
from underpass.sync import Latch, SpinLock

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

World = Threads | Processes

MONOTONIC, NONBLOCK = 1, os.O_NONBLOCK


@pytest.fixture
def members() -> Iterator[WaitSet]:
    with WaitSet() as made:
        yield made


@contextlib.contextmanager
def timer() -> Generator[int]:
    """A timerfd that does not run: Python has them from 3.13 on."""
    descriptor = ctypes.CDLL(None, use_errno=True).timerfd_create(MONOTONIC, NONBLOCK)
    assert descriptor >= 0
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def start_timer(descriptor: int) -> None:
    """Have it expire after a nanosecond, once."""
    spec = (ctypes.c_long * 4)(0, 0, 0, 1)
    assert ctypes.CDLL(None, use_errno=True).timerfd_settime(descriptor, 0, spec, None) == 0


def test_a_timer_is_ready_once_it_has_expired(threads: Threads, members: WaitSet) -> None:
    with timer() as descriptor:
        members.add(Event())
        members.add(descriptor)
        waiter, alone = threads.start(members.wait), threads.start(wait_any, Event(), descriptor)
        waiter.until_asleep()
        alone.until_asleep()
        start_timer(descriptor)
        assert waiter.result() == alone.result() == [descriptor]
        # Level-triggered: until it was read.
        assert members.wait() == [descriptor]
        assert os.read(descriptor, 8) == (1).to_bytes(8, "little")
        with pytest.raises(TimedOut):
            members.wait(timeout=0)


def test_all_kinds_at_once(processes: Processes, members: WaitSet) -> None:
    units, lock, spin, table, flags = Semaphore(0), Mutex(), SpinLock(), RWLock(), Notification()
    event, latch, queue, full, count = Event(), Latch(1), Queue(2, 8), Queue(1, 8), AtomicInt()
    full.put(b"a")
    port, go, held = Port.create("desk"), processes.flag(), processes.flag()
    left, right = socket.socketpair()
    readable, writable = os.pipe()

    def hold_and_change_all() -> None:
        gate = Gate.open("desk", timeout=10)
        with lock, table.writing():
            held.raise_()
            go.wait()
        for change in (units.release, event.set, latch.count_down, full.get, flags.notify):
            change()
        queue.put(b"b")
        count.add(1)
        os.write(writable, b"c")
        right.send(b"d")
        gate.notify(1)

    holder = processes.start(hold_and_change_all)
    held.wait()
    with timer() as descriptor, process(holder.pid) as end, left, right, port:
        what: list[Any] = [
            units, lock, table, table.reading(), flags, flags.flags(1), event, latch, queue, full.room, count.change_from(0), port,
            left, readable, descriptor, end,
        ]  # fmt: skip
        never: list[Any] = [Semaphore(0), Event(), flags.flags(0b10)]
        for one in [*what, *never, spin]:
            members.add(one)
        # Of all these the one that nobody holds.
        assert members.wait() == [spin]
        members.remove(spin)
        start_timer(descriptor)
        go.raise_()
        holder.result()
        # Everything is said, in the order in which it was added, again and again.
        assert members.wait() == what
        assert wait_any(*what, *never) == what
        # Fair to all: each is called at one dispatch, once.
        called: list[object] = []
        for one in what:
            members.remove(one)
            members.add(one, called.append)
        assert members.dispatch() == len(what)
        assert called == what
        assert len(members) == len(never)
    for one in (readable, writable):
        os.close(one)


@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.deep)])
def test_thousands(machine: World, members: WaitSet, count: int) -> None:
    objects = [Semaphore(0) for _ in range(count)]
    for one in objects:
        members.add(one)
    with pytest.raises(TimedOut):
        members.wait(timeout=0)
    chosen = [objects[index] for index in (0, 1, count // 2, count - 1)]
    machine.start(lambda: [one.release() for one in chosen]).result()
    assert members.wait() == chosen
    for one in chosen:
        one.acquire_nowait()
    with pytest.raises(TimedOut):
        members.wait(timeout=0)
    waiter = machine.start(wait_any, *objects[-100:]) if isinstance(machine, Threads) else None
    objects[-1].release()
    assert members.wait() == [objects[-1]]
    assert waiter is None or waiter.result() == [objects[-1]]
    for one in objects:
        one.close()


def calls_of_a_wake(count: int) -> int:
    """System calls of one wake-up of a set of so many members."""

    def body() -> None:
        members, objects = WaitSet(), [Semaphore(0) for _ in range(count)]
        for one in objects:
            members.add(one)
        for _ in range(5):
            mark()
            objects[count // 2].release()
            members.wait()
            objects[count // 2].acquire_nowait()
        mark()
        members.close()

    with traced(body) as intervals:
        return min(calls.total() for calls in intervals)


def test_a_wake_costs_what_is_ready_and_not_what_there_is() -> None:
    assert calls_of_a_wake(10) == calls_of_a_wake(500)


class Counted:
    """A descriptor that counts how often it is asked for: only by who looks at the member again."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor, self.asked = descriptor, 0

    def fileno(self) -> int:
        self.asked += 1
        return self.descriptor


def test_a_member_is_not_asked_again(members: WaitSet) -> None:
    readable, writable = os.pipe()
    one, units = Counted(readable), Semaphore(1)
    members.add(one)
    members.add(units)
    asked = one.asked
    for _ in range(100):
        assert members.wait() == [units]
    assert one.asked == asked
    for end in (readable, writable):
        os.close(end)


# ── while somebody waits ────────────────────────────────────────────────────────────────────────────────────────────────


def test_members_come_and_go_while_many_wait(threads: Threads, members: WaitSet) -> None:
    never, late = Event(), [Event() for _ in range(20)]
    members.add(never)
    waiters = [threads.start(members.wait) for _ in range(3)]
    for waiter in waiters:
        waiter.until_asleep()
    for event in late:
        members.add(event)
    for event in late[:-1]:
        members.remove(event)
        event.set()
    for waiter in waiters:
        waiter.until_asleep()
    late[-1].set()
    assert [waiter.result() for waiter in waiters] == [[late[-1]]] * 3


def test_one_that_is_unlinked_is_a_member_still(threads: Threads, members: WaitSet) -> None:
    queue = Queue.create("jobs", 4, 8)
    again = Queue.open("jobs")
    members.add(queue)
    waiters = [threads.start(members.wait), threads.start(wait_any, queue)]
    for waiter in waiters:
        waiter.until_asleep()
    queue.unlink()
    again.put(b"a")
    assert [waiter.result() for waiter in waiters] == [[queue]] * 2
    assert queue.get_nowait() == b"a"


def test_one_that_is_reset_is_not_ready(threads: Threads, members: WaitSet) -> None:
    units, direct = Semaphore(0), Semaphore(0)
    members.add(units)
    waiters = [threads.start(members.wait), threads.start(wait_any, units)]

    def acquire() -> type[Exception]:
        with pytest.raises(ResetError) as told:
            units.acquire()
        return told.type

    alone = threads.start(acquire)
    for waiter in [*waiters, alone]:
        waiter.until_asleep()
    units.reset()
    assert alone.result() is ResetError
    # Who waits beside others for a unit waits on: there is none.
    for waiter in waiters:
        waiter.until_asleep()
    units.release()
    assert [waiter.result() for waiter in waiters] == [[units]] * 2
    with pytest.raises(WouldBlock):
        direct.acquire_nowait()


def test_one_that_is_shut_down_is_ready(threads: Threads, members: WaitSet) -> None:
    queue = Queue(4, 8)
    members.add(queue)
    waiters = [threads.start(members.wait), threads.start(wait_any, queue)]
    for waiter in waiters:
        waiter.until_asleep()
    queue.shutdown()
    assert [waiter.result() for waiter in waiters] == [[queue]] * 2
