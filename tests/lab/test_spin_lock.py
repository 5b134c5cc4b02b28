"""Spin locks of the lab's processes."""

import pytest

import underpass
from underpass import OwnerDiedError, lab
from underpass.lab import World
from underpass.sync import SpinLock


def test_one_holds_it_and_its_death_is_told() -> None:
    outcomes: set[str] = set()

    def program(world: World) -> None:
        lock, inside, units = SpinLock(), underpass.AtomicInt(), underpass.Semaphore(3)

        def visit() -> None:
            try:
                with lock.holding():
                    assert inside.add(1) == 0
                    inside.sub(1)
                outcomes.add("held")
            except OwnerDiedError:
                with lock.recovering() as died:
                    inside.store(0)
                outcomes.add("repaired" if died else "repaired by another")
            # Whatever became of the lock, and of those who died with it, this one is in no section.
            units.acquire()

        world.process(visit)
        world.process(visit, mortal=False)
        world.process(visit, mortal=False)

    lab.explore(program, schedules=2_000, kills=1, seed=1)
    assert outcomes == {"held", "repaired", "repaired by another"}


def test_one_that_is_kept_is_a_leak() -> None:
    def program(world: World) -> None:
        lock = SpinLock()
        world.process(lock.acquire, name="keep")

    with pytest.raises(lab.Failure, match="keep ended and left spinlock @1 locked"):
        lab.explore(program, schedules=1, seed=1)


def test_a_wait_inside_is_found_in_the_first_schedule() -> None:
    def program(world: World) -> None:
        lock, units = SpinLock(), underpass.Semaphore(1)

        def visit() -> None:
            with lock:
                units.acquire()

        world.process(visit)

    with pytest.raises(lab.Failure, match=r"MisuseError: .* acquire may wait"):
        lab.explore(program, schedules=1, seed=1)
