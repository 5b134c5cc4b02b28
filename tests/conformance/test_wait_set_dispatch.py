"""WaitSet.dispatch: handlers that are called once, beside members that have none, and beside others who wait."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from tests.conformance.backends import SOON, Actor, Processes, Threads
from underpass import ClosedError, Event, Mutex, Queue, TimedOut, WaitSet

World = Threads | Processes
T = TypeVar("T")


@pytest.fixture
def members() -> Iterator[WaitSet]:
    """Make a set, and close it."""
    with WaitSet() as members:
        yield members


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Make a pipe with a byte in it: one end can be read, and stays so."""
    readable, writable = os.pipe()
    os.write(writable, b"a")
    yield readable, writable
    os.close(readable)
    os.close(writable)


def test_dispatch_calls_each_handler_once(world: World, members: WaitSet) -> None:
    first, second, third = Event(), Event(), Event()
    called: list[object] = []
    for event in (first, second):
        members.add(event, called.append)
    members.add(third)
    third.set()
    with pytest.raises(TimedOut):
        members.dispatch(timeout=SOON)
    actor = world.start(second.set)
    assert members.dispatch() == 1
    actor.result()
    assert called == [second]
    assert second not in members
    first.set()
    assert members.dispatch() == 1
    assert called == [second, first]
    assert members.wait() == [third]


def test_a_handler_adds_itself_again(members: WaitSet) -> None:
    queue = Queue()
    got: list[bytes] = []

    def take(jobs: Queue) -> None:
        got.append(jobs.get_nowait())
        members.add(jobs, take)

    members.add(queue, take)
    for message in (b"a", b"b"):
        queue.put(message)
        assert members.dispatch() == 1
    assert got == [b"a", b"b"]


def test_what_a_handler_raises_leaves_the_others(members: WaitSet) -> None:
    first, second = Event(), Event()
    called: list[object] = []
    members.add(first, lambda _: 1 / 0)
    members.add(second, called.append)
    first.set()
    second.set()
    with pytest.raises(ZeroDivisionError):
        members.dispatch()
    assert members.dispatch() == 1
    assert called == [second]
    assert len(members) == 0


# ── beside members without a handler ──


def asleep(threads: Threads, wait: Callable[[], T]) -> Actor[T]:
    """Start one who waits, and wait until it sleeps."""
    actor = threads.start(wait)
    actor.until_asleep()
    return actor


def test_a_readable_descriptor_without_a_handler_costs_no_time(members: WaitSet, pipe: tuple[int, int]) -> None:
    # Somebody has dispatched before it came, and is to be told of what comes after it.
    members.add(Event(), print)
    with pytest.raises(TimedOut):
        members.dispatch(timeout=0)
    members.add(pipe[0])
    began, patience = time.thread_time(), 0.5
    with pytest.raises(TimedOut):
        members.dispatch(timeout=patience)
    # One that looks again and again takes as much of a processor as it is given.
    assert time.thread_time() - began < patience / 10
    assert members.wait(timeout=0) == [pipe[0]]


def test_a_descriptor_gets_a_handler(members: WaitSet, pipe: tuple[int, int]) -> None:
    called: list[object] = []
    members.add(pipe[0])
    with pytest.raises(TimedOut):
        members.dispatch(timeout=0)
    members.remove(pipe[0])
    members.add(pipe[0], called.append)
    assert members.dispatch() == 1
    assert called == [pipe[0]]
    with pytest.raises(TimedOut):
        members.dispatch(timeout=0)


def test_a_handled_descriptor_is_heard_by_who_dispatches_already(threads: Threads, members: WaitSet) -> None:
    readable, writable = os.pipe()
    try:
        members.add(Event(), print)
        actor = threads.start(members.dispatch)
        actor.until_asleep()
        called: list[object] = []
        members.add(readable, called.append)
        os.write(writable, b"a")
        assert actor.result() == 1
        assert called == [readable]
    finally:
        os.close(readable)
        os.close(writable)


@pytest.mark.parametrize("first", ["wait", "dispatch"])
def test_what_one_who_dispatches_hears_is_told_to_one_who_waits(threads: Threads, members: WaitSet, first: str) -> None:
    plain, handled = Event(), Event()
    members.add(plain)
    members.add(handled, lambda _: None)
    for _ in range(20):
        if first == "wait":
            waiter = asleep(threads, members.wait)
            dispatcher = asleep(threads, members.dispatch)
        else:
            dispatcher = asleep(threads, members.dispatch)
            waiter = asleep(threads, members.wait)
        plain.set()
        assert waiter.result() == [plain]
        assert not dispatcher.ended
        plain.clear()
        handled.set()
        assert dispatcher.result() == 1
        handled.clear()
        members.add(handled, lambda _: None)


def test_what_one_who_waits_hears_is_told_to_one_who_dispatches(threads: Threads, members: WaitSet) -> None:
    handled = Event()
    for _ in range(20):
        members.add(handled, lambda _: None)
        dispatcher, waiter = asleep(threads, members.dispatch), asleep(threads, members.wait)
        handled.set()
        # It may have been called, and be no member any more, before the other looks.
        assert dispatcher.result() == 1
        members.add(handled)
        assert waiter.result() == [handled]
        members.remove(handled)
        handled.clear()


def test_closing_wakes_who_dispatches(threads: Threads, members: WaitSet) -> None:
    members.add(Event(), print)
    dispatcher, waiter = asleep(threads, members.dispatch), asleep(threads, members.wait)
    members.close()
    with pytest.raises(ClosedError):
        dispatcher.result()
    with pytest.raises(ClosedError):
        waiter.result()


def test_the_death_of_an_owner_is_heard_by_who_dispatches(processes: Processes, members: WaitSet) -> None:
    mutex, held, called = Mutex(), Event(), list[object]()
    owner = processes.start(hold, mutex, held)
    held.wait()
    members.add(mutex, called.append)
    dispatcher = threading.Thread(target=members.dispatch)
    dispatcher.start()
    owner.kill()
    dispatcher.join()
    assert called == [mutex]


def hold(mutex: Mutex, held: Event) -> None:
    """Own it until the end."""
    mutex.acquire()
    held.set()
    signal.pause()
