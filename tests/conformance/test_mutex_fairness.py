"""Mutex that is handed over: by arrival, and by priority and arrival (Zephyr's `k_mutex_unlock`)."""

import mmap
import os
import pickle
import random
import signal
import time
from collections.abc import Callable
from typing import Literal

import pytest

from tests.conformance.backends import SOON, Actor, Processes, Threads, disturbed
from tests.conformance.lines import Turns, sleepers
from underpass import Condition, MismatchError, MisuseError, Mutex, TimedOut, WouldBlock
from underpass.sync import priority

World = Threads | Processes
Fairness = Literal["arrival", "priority"]

HANDED_OVER = pytest.mark.parametrize("fairness", ["arrival", "priority"])


def held(world: World, mutex: Mutex) -> Callable[[], None]:
    """Have an actor hold it, until the function that is returned is called."""
    taken, go = world.flag(), world.flag()

    def hold() -> None:
        with mutex:
            taken.raise_()
            go.wait()

    owner = world.start(hold)
    taken.wait()

    def release() -> None:
        go.raise_()
        owner.result()

    return release


def test_unknown_fairness_is_refused() -> None:
    with pytest.raises(ValueError, match="fairness="):
        Mutex(fairness="first")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="fairness="):
        Mutex.create("it", fairness="")  # pyright: ignore[reportArgumentType]


def test_release_hands_over_to_the_longest_waiter(world: World) -> None:
    mutex = Mutex(fairness="arrival")
    turns = Turns(world, mutex)
    with mutex:
        for urgency in (0, 9, 5, None):
            turns.come(urgency)
    assert turns.order() == [0, 1, 2, 3]
    assert mutex.owner is None


def test_release_hands_over_to_the_highest_priority_and_among_equals_to_the_longest_waiter(world: World) -> None:
    mutex = Mutex(fairness="priority")
    turns = Turns(world, mutex)
    with mutex:
        for urgency in (None, 5, -1, 9, 5, 0):
            turns.come(urgency)
    assert turns.order() == [3, 1, 5, 0, 2, 4]
    assert mutex.owner is None


@HANDED_OVER
def test_newcomer_does_not_overtake(world: World, fairness: Fairness) -> None:
    mutex = Mutex(fairness=fairness)
    taken, go = world.flag(), world.flag()

    def hold() -> None:
        with mutex:
            taken.raise_()
            go.wait()

    mutex.acquire()
    waiter = world.start(hold)
    waiter.until_asleep()
    mutex.release()
    # It is the waiter's, also before that has run.
    with pytest.raises(WouldBlock):
        mutex.acquire_nowait()
    with priority(99), pytest.raises(TimedOut):
        mutex.acquire(timeout=0)
    owner = mutex.owner
    assert owner is not None
    assert owner.tid == waiter.tid
    assert mutex.statistics().state == "held"
    taken.wait()
    go.raise_()
    waiter.result()
    assert mutex.acquire_nowait()
    mutex.release()


@HANDED_OVER
def test_one_at_a_time(world: World, fairness: Fairness) -> None:
    turns, workers = 300, 4
    mutex, memory = Mutex(fairness=fairness), mmap.mmap(-1, mmap.PAGESIZE)

    def count(urgency: int) -> None:
        with priority(urgency):
            for _ in range(turns):
                with mutex:
                    value = int.from_bytes(memory[:8], "little")
                    os.sched_yield()
                    memory[:8] = (value + 1).to_bytes(8, "little")

    for actor in [world.start(count, worker) for worker in range(workers)]:
        actor.result()
    assert int.from_bytes(memory[:8], "little") == turns * workers
    assert mutex.owner is None
    memory.close()


@HANDED_OVER
def test_contention_with_all_sorts_of_times_leaves_it_free(world: World, fairness: Fairness) -> None:
    mutex = Mutex(recursive=True, fairness=fairness)

    def churn(seed: int) -> int:
        dice, late = random.Random(seed), 0
        for _ in range(100):
            try:
                mutex.acquire(timeout=dice.choice([0, 1e-5, 1e-4, None]))
            except TimedOut:
                late += 1
            else:
                if dice.random() < 0.3:
                    with mutex.recovering() as died:
                        assert died is None
                mutex.release()
        return late

    for actor in [world.start(churn, seed) for seed in range(6)]:
        assert 0 <= actor.result() <= 100
    assert mutex.owner is None
    assert mutex.statistics().state == "free"


@HANDED_OVER
def test_recursive_one_is_handed_over_at_the_last_release(world: World, fairness: Fairness) -> None:
    mutex = Mutex(recursive=True, fairness=fairness)

    def visit_twice() -> bool:
        with mutex, mutex:
            return True

    mutex.acquire()
    with mutex, mutex.recovering() as died:
        assert died is None
        waiter = world.start(visit_twice)
        waiter.until_asleep()
    assert not waiter.ended
    mutex.release()
    assert waiter.result()
    assert mutex.owner is None


@HANDED_OVER
def test_misuse_is_told_as_of_one_that_barges(world: World, fairness: Fairness) -> None:
    mutex = Mutex(fairness=fairness)
    with pytest.raises(MisuseError, match="nobody holds it"):
        mutex.release()
    with mutex:
        for again in (mutex.acquire, mutex.acquire_nowait, mutex.recovering().__enter__):
            with pytest.raises(MisuseError, match="holds it already"):
                again()
    release = held(world, mutex)
    owner = mutex.owner
    assert owner is not None
    with pytest.raises(MisuseError, match=rf"held by .*{owner.tid}.*only its owner"):
        mutex.release()
    with pytest.raises(TimedOut, match=rf"held by .*{owner.tid}"):
        mutex.acquire(timeout=SOON)
    release()
    assert mutex.owner is None


@HANDED_OVER
def test_one_who_gave_up_is_passed_over(world: World, fairness: Fairness) -> None:
    mutex = Mutex(fairness=fairness)

    def late() -> None:
        with priority(9), pytest.raises(TimedOut, match="within"):
            mutex.acquire(timeout=SOON)

    turns = Turns(world, mutex)
    with mutex:
        gone = world.start(late)
        turns.come(0)
        gone.result()
    assert turns.order() == [0]
    assert mutex.acquire_nowait()
    mutex.release()


@HANDED_OVER
def test_timeouts_of_several_waiters_are_each_their_own(world: World, fairness: Fairness) -> None:
    mutex, times = Mutex(fairness=fairness), [0.09, 0.03, 0.06]

    def late(timeout: float) -> float:
        start = time.monotonic()
        with pytest.raises(TimedOut):
            mutex.acquire(timeout=timeout)
        return time.monotonic() - start

    with mutex:
        waiters = [world.start(late, timeout) for timeout in times]
        assert all(waiter.result() >= timeout for waiter, timeout in zip(waiters, times, strict=True))
    assert mutex.acquire_nowait()
    mutex.release()


@HANDED_OVER
def test_condition_wakes_those_who_wait_in_its_order(world: World, fairness: Fairness) -> None:
    changed = Condition(Mutex(fairness=fairness))
    page = mmap.mmap(-1, mmap.PAGESIZE)

    def wait() -> int:
        with changed:
            changed.wait()
            page[0] += 1
            return page[0]

    waiters = list[Actor[int]]()
    for _ in range(3):
        waiters.append(world.start(wait))
        waiters[-1].until_asleep()
    with changed:
        assert changed.notify_all() == 3
    assert [waiter.result() for waiter in waiters] == [1, 2, 3]
    with changed, pytest.raises(TimedOut):
        changed.wait(timeout=SOON)
    assert changed.owner is None
    page.close()


@HANDED_OVER
def test_ctrl_c_ends_a_wait_and_holds_nothing(processes: Processes, fairness: Fairness) -> None:
    mutex = Mutex(fairness=fairness)
    mutex.acquire()
    waiters = sleepers(processes, mutex, 2)
    waiters[0].signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        waiters[0].result()
    mutex.release()
    assert waiters[1].result()
    assert mutex.acquire_nowait()
    mutex.release()


@HANDED_OVER
def test_place_is_kept_after_a_handler(threads: Threads, fairness: Fairness) -> None:
    mutex = Mutex(fairness=fairness)
    assert disturbed(threads, mutex.acquire, held(threads, mutex)) is True
    mutex.release()


@HANDED_OVER
def test_more_waiters_than_places(threads: Threads, fairness: Fairness) -> None:
    mutex = Mutex(fairness=fairness)
    with mutex:
        waiters = [threads.start(lambda: mutex.acquire() and (mutex.release() or True)) for _ in range(70)]
        for waiter in waiters:
            waiter.until_asleep()
    assert all(waiter.result() for waiter in waiters)
    assert mutex.owner is None


@HANDED_OVER
def test_other_fairness_is_a_mismatch(fairness: Fairness) -> None:
    mutex = Mutex.create("door", fairness=fairness)
    with pytest.raises(MismatchError, match=f"fairness='{fairness}'.*fairness='barging'"):
        Mutex.open_or_create("door")
    other = Mutex.open_or_create("door", fairness=fairness)
    assert repr(other) == f"<Mutex 'door', free, by {fairness}>"
    again: Mutex = pickle.loads(pickle.dumps(other))  # noqa: S301 - our own bytes
    with again, pytest.raises(MisuseError, match="holds it already"):
        mutex.acquire_nowait()
    statistics = again.statistics()
    assert (statistics.fairness, statistics.state, statistics.recursive) == (fairness, "free", False)
    mutex.unlink()
