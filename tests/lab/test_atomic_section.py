"""Atomic sections of the lab's processes: all of them run in one thread, and each is in its own."""

import pytest

from underpass import Semaphore, lab
from underpass.lab import World
from underpass.sync import atomic_section


def test_who_dies_inside_takes_nobody_else_in() -> None:
    outcomes: set[str] = set()

    def program(world: World) -> None:
        units = Semaphore(3)

        def inside() -> None:
            with atomic_section():
                units.acquire_nowait()
                units.release()

        def outside() -> None:
            units.acquire()
            outcomes.add("acquired")

        # The first that starts has the life of one that died in the schedule before.
        world.process(inside)
        world.process(outside, mortal=False)
        world.process(outside, mortal=False)

    lab.explore(program, schedules=300, kills=1, seed=1)
    assert outcomes == {"acquired"}


def test_one_that_waits_inside_is_found_in_the_first_schedule() -> None:
    def program(world: World) -> None:
        units = Semaphore(1)

        def inside() -> None:
            with atomic_section():
                units.acquire()

        world.process(inside)

    with pytest.raises(lab.Failure, match=r"MisuseError: .* acquire may wait"):
        lab.explore(program, schedules=1, seed=1)
