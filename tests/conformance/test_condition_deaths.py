"""Condition: the death of one who waits, of one who was notified, and of the owner; and one that is stopped."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.conformance.backends import SOON, ProcessActor, Processes, until
from underpass import Condition, MisuseError, Mutex, OwnerDiedError, _core

# Far more than a test takes: who waits so long has a deadline, but is woken otherwise.
LONG = 1_000.0


def processes_asleep_in(processes: Processes, condition: Condition, count: int) -> list[ProcessActor[Any]]:
    """Start as many processes that wait, one after the other."""

    def run() -> object:
        with condition:
            return condition.wait()

    waiters = list[ProcessActor[Any]]()
    for number in range(count):
        waiters.append(processes.start(run))
        until(lambda number=number: condition.statistics().n_waiting == number + 1, "one more who waits")
    return waiters


def died_holding(processes: Processes, mutex: Condition | Mutex) -> int:
    """Have a process die that holds it; its pid."""

    def hold() -> None:
        mutex.acquire()
        processes.die()

    dead = processes.start(hold)
    until(lambda: dead.ended, "its end")
    return dead.pid


def test_who_dies_waiting_eats_no_notification(mortals: Processes) -> None:
    condition = Condition()
    dying, living = processes_asleep_in(mortals, condition, 2)
    dying.kill()
    assert condition.notify() == 1
    assert living.result() is True


def test_who_dies_after_it_was_notified_leaves_it_to_the_next(mortals: Processes) -> None:
    condition = Condition()
    dying, living = processes_asleep_in(mortals, condition, 2)
    dying.stop()
    assert condition.notify() == 1
    dying.kill()
    assert living.result() is True


def test_who_dies_at_the_mutex_does_not_keep_the_others(mortals: Processes) -> None:
    condition = Condition()
    dying, *living = processes_asleep_in(mortals, condition, 4)
    with condition:
        assert condition.notify_all() == 4
        # It sleeps again, for the mutex now.
        until(lambda: condition.statistics().n_waiting == 0 and dying.asleep, "it waits for the mutex")
        dying.kill()
    assert all(waiter.result() for waiter in living)


def test_an_owner_that_died_is_told_to_who_is_notified(mortals: Processes) -> None:
    condition = Condition()
    waiters = processes_asleep_in(mortals, condition, 2)
    pid = died_holding(mortals, condition)
    condition.notify_all()
    for waiter in waiters:
        with pytest.raises(OwnerDiedError, match=f"pid {pid}"):
            waiter.result()
    with condition.recovering() as died:
        assert died is not None
    with condition:
        pass


def test_an_owner_that_died_is_noticed_without_a_notification(processes: Processes) -> None:
    _core.set_recheck(SOON)
    condition = Condition()
    waiters = processes_asleep_in(processes, condition, 2)
    pid = died_holding(processes, condition)
    for waiter in waiters:
        with pytest.raises(OwnerDiedError, match=f"pid {pid}"):
            waiter.result()


def test_a_block_ends_well_though_the_mutex_is_lost(mortals: Processes) -> None:
    mutex = Mutex()
    condition = Condition(mutex)

    def wait_in(block: Callable[[], AbstractContextManager[object]]) -> str:
        with pytest.raises(OwnerDiedError) as caught, block():
            condition.wait()
        return f"told, while {caught.value.__context__}"

    blocks = (
        lambda: mutex,
        lambda: condition,
        mutex.holding,
        condition.holding,
        mutex.recovering,
        condition.recovering,
    )
    actors = [mortals.start(wait_in, block) for block in blocks]
    until(lambda: condition.statistics().n_waiting == len(blocks), "all wait")
    died_holding(mortals, mutex)
    condition.notify_all()
    assert [actor.result() for actor in actors] == ["told, while None"] * len(blocks)


def test_who_repairs_may_not_wait_before_it_has(mortals: Processes) -> None:
    condition = Condition()
    died_holding(mortals, condition)
    with condition.recovering(), pytest.raises(MisuseError, match="block has not ended"):
        condition.wait(timeout=LONG)
    assert condition.statistics().n_waiting == 0
    with condition.recovering() as died:
        assert died is None


def test_a_stopped_one_keeps_the_others_for_a_second_at_most(processes: Processes) -> None:
    _core.set_recheck(SOON)
    condition = Condition()
    stopped, *others = processes_asleep_in(processes, condition, 3)
    stopped.stop()
    assert condition.notify_all() == 3
    assert all(other.result() for other in others)
    stopped.resume()
    assert stopped.result() is True
