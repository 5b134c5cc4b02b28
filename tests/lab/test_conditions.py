"""Conditions in the lab: no notification is lost, whoever dies, in every schedule that is tried."""

import pytest

import underpass
from underpass import OwnerDiedError, TimedOut

pytest.importorskip("greenlet")

from underpass import lab
from underpass.lab import World

SCHEDULES = 2_000


def test_no_notification_falls_between_the_release_and_the_sleep() -> None:
    def program(world: World) -> None:
        condition, ready = underpass.Condition(), underpass.AtomicInt()

        def wait() -> None:
            with condition:
                condition.wait_for(ready.load)

        def notify() -> None:
            with condition:
                ready.store(1)
                condition.notify()

        world.process(wait)
        world.process(notify)

    lab.explore(program, schedules=SCHEDULES, seed=1)


@pytest.mark.parametrize("notified", ["inside", "outside"])
@pytest.mark.parametrize("kills", [0, 1])
def test_all_who_wait_come_back_whoever_of_them_dies(notified: str, kills: int) -> None:
    def program(world: World) -> None:
        condition, ready = underpass.Condition(), underpass.AtomicInt()

        def wait() -> None:
            with condition.recovering():
                ready_now = ready.load()
            while not ready_now:
                try:
                    with condition:
                        condition.wait_for(ready.load)
                        return
                except OwnerDiedError:
                    with condition.recovering():
                        # Who died may have been the one that was to pass it on.
                        ready_now = ready.load()

        def notify() -> None:
            with condition.recovering():
                ready.store(1)
                if notified == "inside":
                    condition.notify_all()
            if notified == "outside":
                condition.notify_all()

        for _ in range(3):
            world.process(wait)
        world.process(notify, mortal=False)

    lab.explore(program, schedules=SCHEDULES, kills=kills, seed=1)


def test_a_notification_and_a_timeout() -> None:
    outcomes: set[tuple[str, int]] = set()

    def program(world: World) -> None:
        condition, ends, told = underpass.Condition(), list[str](), list[int]()

        def wait() -> None:
            with condition:
                try:
                    condition.wait(timeout=1)
                    ends.append("notified")
                except TimedOut:
                    ends.append("late")
                assert condition.owner is not None

        def notify() -> None:
            told.append(condition.notify())

        world.process(wait)
        world.process(notify)
        world.at_end(lambda: outcomes.add((ends[0], told[0])) or True)

    lab.explore(program, schedules=SCHEDULES, seed=1)
    assert outcomes == {("notified", 1), ("late", 0)}


def test_one_notification_wakes_one_of_two_whose_time_is_over() -> None:
    def program(world: World) -> None:
        condition, ends, told = underpass.Condition(), list[str](), list[int]()

        def wait(timeout: float) -> None:
            with condition:
                try:
                    condition.wait(timeout=timeout)
                    ends.append("notified")
                except TimedOut:
                    ends.append("late")

        world.process(wait, 1)
        world.process(wait, 2)
        world.process(lambda: told.append(condition.notify()))
        world.at_end(lambda: ends.count("notified") == told[0])

    lab.explore(program, schedules=SCHEDULES, seed=1)


def test_who_never_is_notified_is_told_of() -> None:
    def program(world: World) -> None:
        condition, ready = underpass.Condition.create("news"), underpass.AtomicInt()

        def wait() -> None:
            # The flag is looked at without the mutex.
            if not ready.load():
                with condition:
                    condition.wait()

        def notify() -> None:
            ready.store(1)
            condition.notify()

        world.process(wait, name="wait")
        world.process(notify, name="notify")

    with pytest.raises(lab.Failure) as caught:
        lab.explore(program, schedules=SCHEDULES, seed=1)
    text = str(caught.value)
    assert "condition 'news'" in text
    assert "deadlock" in text or "lost wake-up" in text
