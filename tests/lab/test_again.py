"""Schedules are followed again now and then: what the lab does not decide is told."""

import random
from collections.abc import Callable
from itertools import count

import pytest

import underpass

pytest.importorskip("greenlet")

from underpass import lab
from underpass.lab import Failure, World

Make = Callable[[], Callable[[World], None]]


def what_is_left_over() -> Callable[[World], None]:
    """A counter of the test's own, which one schedule leaves for the next."""
    turns = count()

    def program(world: World) -> None:
        number = underpass.AtomicInt()

        def work() -> None:
            number.add(1)
            if next(turns) % 3 == 0:
                number.load()

        world.process(work)
        world.process(work)

    return program


def dice() -> Callable[[World], None]:
    """Random numbers of the program's own."""
    rolls = random.Random(1)

    def program(world: World) -> None:
        number = underpass.AtomicInt()

        def roll() -> None:
            if rolls.random() < 0.5:
                number.add(1)
            number.store(2)

        world.process(roll)
        world.process(roll)

    return program


def dice_of_the_lab() -> Callable[[World], None]:
    """The same, but the lab rolls them."""

    def program(world: World) -> None:
        number = underpass.AtomicInt()

        def roll() -> None:
            if world.choose(2):
                number.add(1)
            number.store(2)

        world.process(roll)
        world.process(roll)

    return program


@pytest.mark.parametrize("make", [what_is_left_over, dice])
def test_what_the_lab_does_not_decide_is_told(make: Make) -> None:
    with pytest.raises(Failure) as found:
        lab.explore(make(), schedules=100, seed=1)
    trace = found.value.trace
    assert trace.kind == "nondeterminism"
    assert "from step" in trace.summary
    assert "test_again.py:" in trace.summary
    assert "world.choose" in trace.summary


def test_what_the_lab_decides_is_not() -> None:
    assert lab.explore(dice_of_the_lab(), schedules=2_000, kills=1, faults=1, seed=1).schedules > 0


def test_refusals_that_were_not_used_make_no_difference() -> None:
    def program(world: World) -> None:
        jobs = underpass.Queue(4, 8)

        def put() -> None:
            for number in range(3):
                try:
                    jobs.put(bytes([number]), timeout=1)
                except underpass.TimedOut:
                    return

        world.process(put)
        world.process(put)

    assert lab.explore(program, schedules=300, faults=2, seed=1).schedules == 300
