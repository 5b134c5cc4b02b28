"""Parts of an object as something to wait for beside others: `Notification.flags(bits)` and `Queue.room`."""

import gc
import pickle
from typing import Any

import pytest

from tests.conformance.backends import SOON, Processes, Threads
from underpass import Event, Notification, Queue, TimedOut, WaitSet, wait_all, wait_any

World = Threads | Processes

A, B, C = 0b001, 0b010, 0b100
LAST = 1 << 63


def unpickled(what: Any) -> Any:
    """Send it through a pickle."""
    return pickle.loads(pickle.dumps(what))  # noqa: S301 - our own bytes


def test_any_of_some_flags(world: World) -> None:
    notification = Notification()
    flags = notification.flags(A | LAST)
    notification.notify(B)
    with pytest.raises(TimedOut):
        wait_any(flags, timeout=0)
    actor = world.start(notification.notify, LAST)
    assert wait_any(Event(), flags) == [flags]
    actor.result()
    # It takes no flag.
    assert wait_any(flags, timeout=0) == [flags]
    assert notification.wait_nowait(LAST) == LAST
    with pytest.raises(TimedOut):
        wait_any(flags, timeout=0)
    assert notification.bits == B


def test_all_of_some_flags(world: World) -> None:
    notification = Notification()
    flags = notification.flags(A | C, all=True)
    notification.notify(A | B)
    with pytest.raises(TimedOut):
        wait_any(flags, timeout=0)
    actor = world.start(notification.notify, C)
    assert wait_any(flags, Event()) == [flags]
    actor.result()
    assert notification.bits == A | B | C


def test_who_waits_for_other_flags_goes_on_waiting(world: World) -> None:
    notification, stop = Notification(), Event()
    urgent = notification.flags(C)
    waiter = world.start(lambda: [one is stop for one in wait_any(urgent, stop)])
    waiter.until_asleep()
    notification.notify(A)
    stop.set()
    assert waiter.result() == [True]


def test_two_parts_of_one_notification(world: World) -> None:
    notification = Notification()
    first, second = notification.flags(A), notification.flags(B)
    actor = world.start(notification.notify, A)
    assert wait_any(first, second) == [first]
    actor.result()
    actor = world.start(notification.notify, B)
    wait_all(first, second)
    actor.result()


def test_no_flags_are_never_ready_of_any_and_always_of_all() -> None:
    notification = Notification()
    notification.notify(A)
    with pytest.raises(TimedOut):
        wait_any(notification.flags(0), timeout=SOON)
    none = notification.flags(0, all=True)
    assert wait_any(none, timeout=0) == [none]


@pytest.mark.parametrize("bits", [-1, 2**64])
def test_bits_that_are_no_flags_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match="64 flags"):
        Notification().flags(bits)


def test_what_they_are_called() -> None:
    notification, queue = Notification(), Queue()
    assert repr(notification.flags(A | C)).startswith("<any of the flags 0x5 of notification")
    assert repr(notification.flags(A, all=True)).startswith("<all of the flags 0x1 of notification")
    assert repr(queue.room).startswith("<room of queue")


def test_they_travel_as_their_object_does() -> None:
    notification, queue = Notification.create("news"), Queue.create("jobs", 1)
    either, both, room = (
        unpickled(part) for part in (notification.flags(A | B), notification.flags(A | B, all=True), queue.room)
    )
    assert repr(both) == repr(notification.flags(A | B, all=True))
    assert wait_any(either, both, room, timeout=0) == [room]
    queue.put(b"a")
    notification.notify(A)
    assert wait_any(either, both, room, timeout=0) == [either]
    notification.notify(B)
    queue.get()
    assert wait_any(either, both, room, timeout=0) == [either, both, room]
    for named in (notification, queue):
        named.unlink()


def test_they_outlive_the_handle_they_came_from(world: World) -> None:
    queue = Queue(capacity=1)
    queue.put(b"a")
    room = queue.room
    actor = world.start(queue.get)
    del queue
    gc.collect()
    assert wait_any(room) == [room]
    assert actor.result() == b"a"


def test_the_parts_of_a_closed_object_are_told() -> None:
    notification, queue = Notification(), Queue(capacity=1)
    queue.put(b"a")
    flags, room = notification.flags(A), queue.room
    with WaitSet() as members:
        for what in (flags, room):
            members.add(what)
        assert members.ready() == []
        notification.close()
        queue.close()
        # Nobody is rung for that.
        assert members.ready(everything=True) == [flags, room]
