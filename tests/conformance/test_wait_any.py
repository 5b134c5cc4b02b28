"""wait_any: which of many objects are ready, and nothing taken: between threads, processes and the lab's."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.backends import SOON, Processes, Threads, until
from tests.conformance.members import Kind, member, places, scene
from underpass import (
    AtomicInt,
    Barrier,
    ClosedError,
    Condition,
    Event,
    MisuseError,
    Mutex,
    Notification,
    Queue,
    Semaphore,
    TimedOut,
    fail_after,
    wait_any,
)
from underpass.sync import Latch, atomic_section

if TYPE_CHECKING:
    from collections.abc import Callable

World = Threads | Processes


def onlooker(*what: Any) -> list[int]:
    """Wait for any of them; where those stand that are ready."""
    return places(wait_any(*what), *what)


# ── each kind ───────────────────────────────────────────────────────────────────────────────────────────────────────


@member
def test_what_is_ready_is_told_at_once_and_stays_so(world: World, kind: Kind) -> None:
    it = scene(world, kind)
    it.change()
    assert places(wait_any(it.seen), it.seen) == [0]
    assert places(wait_any(Event(), it.seen, timeout=0), Event(), it.seen) == [1]
    assert world.start(onlooker, it.seen).result() == [0]
    it.take()


@member
def test_what_becomes_ready_ends_the_wait(world: World, kind: Kind) -> None:
    it, never = scene(world, kind), Event()
    alone, beside = world.start(onlooker, it.seen), world.start(onlooker, never, it.seen)
    alone.until_asleep()
    beside.until_asleep()
    it.change()
    assert (alone.result(), beside.result()) == ([0], [1])
    it.take()


@member
def test_in_vain(world: World, kind: Kind) -> None:
    it = scene(world, kind)
    with pytest.raises(TimedOut):
        wait_any(it.seen, timeout=0)
    with pytest.raises(TimedOut, match=rf"not ready within {SOON} s"):
        wait_any(it.seen, timeout=SOON)
    with pytest.raises(TimedOut), fail_after(SOON):
        wait_any(it.seen, Event())
    # Who looked on and left has changed nothing for those who come.
    it.change()
    it.take()


@member
def test_all_who_look_on_are_told(world: World, kind: Kind) -> None:
    it, never = scene(world, kind), Event()
    onlookers = [world.start(onlooker, never, it.seen) for _ in range(6)]
    for one in onlookers:
        one.until_asleep()
    it.change()
    assert [one.result() for one in onlookers] == [[1]] * 6
    it.take()


@member
def test_who_gives_up_takes_nobody_along(world: World, kind: Kind) -> None:
    it = scene(world, kind)
    stays = world.start(onlooker, it.seen)
    stays.until_asleep()

    def late() -> None:
        with pytest.raises(TimedOut):
            wait_any(it.seen, timeout=SOON)

    world.start(late).result()
    stays.until_asleep()
    it.change()
    assert stays.result() == [0]


# ── several ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_all_that_are_ready_in_the_order_given(world: World) -> None:
    free, taken, flags, queue = Semaphore(1), Semaphore(0), Notification(), Queue(2, 8)
    flags.notify(2)
    world.start(queue.put, b"a").result()
    assert wait_any(queue, taken, flags, free) == [queue, flags, free]
    assert wait_any(free, taken, free, queue.room, queue)[:2] == [free, free]
    assert len(wait_any(free, taken, free, queue.room, queue)) == 4


def test_one_that_is_given_twice_is_told_twice(world: World) -> None:
    one, other = Semaphore(0), Semaphore(0)
    waiter = world.start(lambda: len(wait_any(one, other, one)))
    waiter.until_asleep()
    one.release()
    assert waiter.result() == 2
    one.acquire_nowait()
    # It has left nothing behind that a second handle would meet.
    again = world.start(onlooker, other)
    again.until_asleep()
    other.release()
    assert again.result() == [0]


def test_one_wait_after_another(world: World) -> None:
    turns, answers = [Semaphore(0), Semaphore(0), Semaphore(0)], Queue(4, 8)

    def serve() -> None:
        for _ in range(9):
            (place,) = onlooker(*turns)
            turns[place].acquire_nowait()
            answers.put(b"%d" % place)

    server = world.start(serve)
    for place in (0, 1, 2, 2, 1, 0, 1, 1, 1):
        turns[place].release()
        assert answers.get() == b"%d" % place
    server.result()


def test_both_ends_of_a_queue(world: World) -> None:
    queue = Queue(1, 8)
    assert onlooker(queue, room := queue.room) == [1]
    queue.put(b"a")
    assert onlooker(queue, room) == [0]
    getter, putter = Queue(1, 8), Queue(1, 8)
    putter.put(b"full")
    waiter = world.start(onlooker, getter, putter.room)
    waiter.until_asleep()
    putter.get()
    assert waiter.result() == [1]


def test_objects_are_told_apart_by_handle_and_equal_by_name(world: World) -> None:
    named, other = Semaphore.create("gate", 0), Semaphore.open("gate")
    try:
        waiter = world.start(lambda: len(wait_any(Semaphore.open("gate"), named)))
        waiter.until_asleep()
        other.release()
        assert waiter.result() == 2
    finally:
        named.unlink()


# ── those who wait for one alone ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fairness", ["barging", "arrival", "priority"])
def test_an_onlooker_eats_no_wake(world: World, fairness: Any) -> None:
    units, never = Semaphore(0, fairness=fairness), Event()
    first = [world.start(onlooker, never, units) for _ in range(2)]
    for one in first:
        one.until_asleep()
    direct = [world.start(units.acquire) for _ in range(3)]
    later = [world.start(onlooker, units, never) for _ in range(2)]
    for actor in (*direct, *later):
        actor.until_asleep()
    for _ in direct:
        units.release()
    assert [actor.result() for actor in direct] == [True] * 3
    units.release()
    assert [actor.result() for actor in first] == [[1]] * 2
    assert [actor.result() for actor in later] == [[0]] * 2
    assert units.acquire_nowait()


@pytest.mark.parametrize("fairness", ["barging", "arrival", "priority"])
def test_what_a_direct_waiter_leaves_is_told(world: World, fairness: Any) -> None:
    units = Semaphore(0, fairness=fairness)
    direct, looks = world.start(units.acquire), world.start(onlooker, units)
    direct.until_asleep()
    looks.until_asleep()
    units.release(2)
    assert direct.result()
    assert looks.result() == [0]
    assert units.value == 1


def test_a_unit_that_is_handed_over_was_never_free(world: World) -> None:
    units = Semaphore(0, fairness="arrival")
    direct, looks = world.start(units.acquire), world.start(onlooker, units)
    direct.until_asleep()
    looks.until_asleep()
    units.release()
    assert direct.result()
    looks.until_asleep()
    units.release()
    assert looks.result() == [0]


def test_flags_that_were_consumed_are_not_told_and_the_others_are(world: World) -> None:
    flags = Notification()
    direct, looks = world.start(partial(flags.wait, 1)), world.start(onlooker, flags)
    direct.until_asleep()
    looks.until_asleep()
    flags.notify(1)
    assert direct.result() == 1
    if flags.bits:
        assert looks.result() == [0]
        return
    looks.until_asleep()
    flags.notify(2)
    assert looks.result() == [0]


def test_each_message_wakes_its_getter_beside_onlookers(world: World) -> None:
    queue, full = Queue(4, 8), Queue(1, 8)
    full.put(b"full")
    looks = [world.start(onlooker, queue, full.room) for _ in range(2)]
    for one in looks:
        one.until_asleep()
    getters = [world.start(queue.get) for _ in range(2)]
    putter = world.start(full.put, b"more")
    for actor in (*getters, putter):
        actor.until_asleep()
    queue.put(b"a")
    queue.put(b"b")
    assert sorted(getter.result() for getter in getters) == [b"a", b"b"]
    assert full.get() == b"full"
    putter.result()
    queue.put(b"c")
    for one in looks:
        assert one.result()
    assert queue.get_nowait() == b"c"


@pytest.mark.parametrize("fairness", ["barging", "arrival", "priority"])
def test_a_mutex_that_is_handed_around(world: World, fairness: Any) -> None:
    lock, go, never = Mutex(fairness=fairness), world.flag(), Event()

    def hold() -> None:
        with lock:
            go.wait()

    holders = [world.start(hold) for _ in range(3)]
    until(lambda: lock.owner is not None, "an owner")
    looks = world.start(onlooker, never, lock)
    looks.until_asleep()
    go.raise_(3)
    for holder in holders:
        holder.result()
    assert looks.result() == [1]


# ── what happens to it meanwhile ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fairness", ["barging", "arrival", "priority"])
def test_a_reset_ends_no_wait(world: World, fairness: Any) -> None:
    units = Semaphore(0, fairness=fairness)
    looks = world.start(onlooker, units)
    looks.until_asleep()
    units.reset()
    looks.until_asleep()
    units.release()
    assert looks.result() == [0]


def test_what_was_unlinked_goes_on(world: World) -> None:
    named = Semaphore.create("gone", 0)
    looks = world.start(onlooker, named)
    looks.until_asleep()
    named.unlink()
    named.release()
    assert looks.result() == [0]


def test_an_event_that_is_cleared_again(world: World) -> None:
    event = Event()
    looks = world.start(onlooker, event)
    looks.until_asleep()
    event.set()
    event.clear()
    event.set()
    assert looks.result() == [0]


def test_the_end_of_the_last_putter(world: World) -> None:
    queue, go = Queue(4, 8), world.flag()

    def produce() -> None:
        with queue.putting():
            queue.put(b"a")
            go.wait()

    producer = world.start(produce)
    assert queue.get() == b"a"
    looks = world.start(onlooker, queue)
    looks.until_asleep()
    go.raise_()
    producer.result()
    assert looks.result() == [0]


# ── refusals ────────────────────────────────────────────────────────────────────────────────────────────────────────

OTHERS: list[Callable[[], object]] = [
    Condition,
    lambda: Barrier(2),
    AtomicInt,
    lambda: 1.5,
    lambda: None,
    lambda: [Event()],
    lambda: Event,
    lambda: Event().wait,
]


@pytest.mark.parametrize("other", OTHERS)
def test_what_cannot_be_waited_for_is_refused(other: Callable[[], object]) -> None:
    units: Any = Semaphore(1)
    what: Any = other()
    with pytest.raises(
        TypeError, match=r"cannot be waited for beside others: (a Semaphore, Mutex|it is a number|it chooses among)"
    ):
        wait_any(units, what, timeout=0)


def test_nothing_and_bad_times_are_refused() -> None:
    with pytest.raises(ValueError, match=r"wait_any\(\) of nothing"):
        wait_any()
    with pytest.raises(ValueError, match="timeout=-1"):
        wait_any(Event(), timeout=-1)


def test_a_closed_handle_is_refused() -> None:
    closed, free = Semaphore(1), Semaphore(1)
    closed.close()
    with pytest.raises(ClosedError):
        wait_any(free, closed)


def test_an_atomic_section_refuses_it_though_it_would_not_wait() -> None:
    event = Event()
    event.set()
    with atomic_section():
        with pytest.raises(MisuseError, match="wait_any"):
            wait_any(event)
        assert wait_any(event, timeout=0) == [event]


def test_own_mutex_and_open_latch_do_not_hold_it_up(world: World) -> None:
    lock, latch = Mutex(), Latch(0)
    with lock:
        assert wait_any(lock, latch) == [lock, latch]
        with pytest.raises(TimedOut, match="any of"):
            world.start(wait_any_for_long, lock).result()


def wait_any_for_long(lock: Mutex) -> None:
    wait_any(lock, Event(), timeout=SOON)
