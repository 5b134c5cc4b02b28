"""Mutex that is handed over: what the death of an owner, of a waiter, and of one it was handed to means to the others."""

import signal
from typing import Literal

import pytest

from tests.conformance.backends import Processes, Threads, until
from tests.conformance.lines import Turns, sleepers
from underpass import MisuseError, Mutex, OwnerDiedError, Space

World = Threads | Processes
Fairness = Literal["arrival", "priority"]

HANDED_OVER = pytest.mark.parametrize("fairness", ["arrival", "priority"])


@HANDED_OVER
def test_all_who_wait_for_the_dead_are_told(world: World, fairness: Fairness) -> None:
    mutex, taken, go = Mutex(fairness=fairness), world.flag(), world.flag()

    def die() -> None:
        mutex.acquire()
        taken.raise_()
        go.wait()

    dead = world.start(die)
    taken.wait()

    def wait() -> int:
        with pytest.raises(OwnerDiedError) as caught:
            mutex.acquire()
        return caught.value.pid

    waiters = [world.start(wait) for _ in range(3)]
    for waiter in waiters:
        waiter.until_asleep()
    go.raise_()
    dead.result()
    assert [waiter.result() for waiter in waiters] == [dead.pid] * 3
    with mutex.recovering() as died:
        assert died is not None
        assert died.pid == dead.pid
    assert mutex.acquire_nowait()
    mutex.release()


@HANDED_OVER
def test_who_recovers_is_handed_what_the_dead_left_and_those_behind_it_wait(world: World, fairness: Fairness) -> None:
    mutex, taken, go = Mutex(fairness=fairness), world.flag(), world.flag()

    def die() -> None:
        mutex.acquire()
        taken.raise_()
        go.wait()

    dead = world.start(die)
    taken.wait()

    def repair() -> int:
        with mutex.recovering() as died:
            assert died is not None
            with pytest.raises(MisuseError, match="block has not ended"):
                mutex.release()
            return died.pid

    repairer = world.start(repair)
    repairer.until_asleep()
    turns = Turns(world, mutex)
    turns.come()
    go.raise_()
    dead.result()
    assert repairer.result() == dead.pid
    assert turns.order() == [0]
    assert mutex.statistics().state == "free"


@HANDED_OVER
def test_recovery_that_fails_tells_those_behind_it(world: World, fairness: Fairness) -> None:
    mutex = Mutex(fairness=fairness)
    dead = world.start(lambda: mutex.acquire() and None)
    dead.result()
    until(lambda: mutex.statistics().state == "owner died", "the death of the owner")

    def wait() -> int:
        with pytest.raises(OwnerDiedError) as caught:
            mutex.acquire()
        return caught.value.pid

    block = mutex.recovering()
    assert block.__enter__() is not None
    waiter = world.start(wait)
    waiter.until_asleep()
    block.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    assert waiter.result() == dead.pid
    assert mutex.statistics().state == "owner died"


@HANDED_OVER
def test_killed_waiter_is_passed_over(mortals: Processes, fairness: Fairness) -> None:
    mutex = Mutex(fairness=fairness)
    mutex.acquire()
    waiters = sleepers(mortals, mutex, 3)
    waiters[0].kill()
    mutex.release()
    assert waiters[1].result()
    assert waiters[2].result()
    assert mutex.statistics().state == "free"


@HANDED_OVER
def test_one_it_was_handed_to_and_never_came_has_held_nothing(mortals: Processes, fairness: Fairness) -> None:
    mutex = Mutex(fairness=fairness)
    mutex.acquire()
    waiters = sleepers(mortals, mutex, 2)
    waiters[0].stop()
    mutex.release()
    owner = mutex.owner
    assert owner is not None
    assert owner.pid == waiters[0].pid
    waiters[0].kill()
    assert waiters[1].result() is True
    assert mutex.statistics().state == "free"


@HANDED_OVER
def test_one_it_was_handed_to_is_told_to_those_who_wait(processes: Processes, fairness: Fairness) -> None:
    mutex = Mutex(fairness=fairness)
    mutex.acquire()
    first, second = sleepers(processes, mutex, 2)
    first.signal(signal.SIGSTOP)
    mutex.release()
    told = {waiter.pid: [holder.pid for holder in waiter.holders] for waiter in Space.default().waits()}
    assert told[second.pid] == [first.pid]
    first.signal(signal.SIGCONT)
    assert first.result()
    assert second.result()


@HANDED_OVER
def test_what_the_dead_were_handed_is_there_for_who_comes_next(mortals: Processes, fairness: Fairness) -> None:
    mutex = Mutex(fairness=fairness)
    mutex.acquire()
    (waiter,) = sleepers(mortals, mutex, 1)
    waiter.stop()
    mutex.release()
    waiter.kill()
    assert mutex.acquire(timeout=None) is True
    assert mutex.statistics().state == "held"
    mutex.release()


@HANDED_OVER
def test_owner_it_was_handed_to_dies_and_the_next_is_told(mortals: Processes, fairness: Fairness) -> None:
    mutex, taken, end = Mutex(fairness=fairness), mortals.flag(), mortals.flag()

    def hold() -> None:
        mutex.acquire()
        taken.raise_()
        end.wait()

    mutex.acquire()
    second = mortals.start(hold)
    second.until_asleep()
    third = mortals.start(mutex.acquire)
    third.until_asleep()
    mutex.release()
    taken.wait()
    second.kill()
    with pytest.raises(OwnerDiedError, match=f"pid {second.pid}"):
        third.result()
