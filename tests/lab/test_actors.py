"""The greenlets that tasks run on, schedule after schedule."""

import contextlib
import contextvars
import gc

import greenlet
import pytest

import underpass
from underpass import lab

here: contextvars.ContextVar[str] = contextvars.ContextVar("here", default="nowhere")


def greenlets() -> int:
    gc.collect()
    return sum(isinstance(thing, greenlet.greenlet) for thing in gc.get_objects())


def test_task_starts_in_a_fresh_context() -> None:
    seen: set[str] = set()

    def visit(number: underpass.AtomicInt) -> None:
        seen.add(here.get())
        here.set("visited")
        number.add(1)

    def program(world: lab.World) -> None:
        number = underpass.AtomicInt()
        world.process(visit, number)
        world.process(visit, number)

    lab.explore(program, schedules=20, seed=1)
    assert seen == {"nowhere"}


def test_greenlets_are_used_again_also_by_those_that_were_killed_or_unwound() -> None:
    used: set[int] = set()
    met: list[object] = []  # keeps them, so that no two have one id

    def visit(seats: underpass.Semaphore) -> None:
        actor = greenlet.getcurrent()
        used.add(id(actor))
        met.append(actor)
        seats.acquire()

    def program(world: lab.World) -> None:
        seats = underpass.Semaphore(1)
        world.process(visit, seats, servant=True)
        world.process(visit, seats, servant=True)

    lab.explore(program, schedules=50, kills=1, seed=1)
    assert len(used) == 2


@pytest.mark.parametrize("most", [3, 2])
def test_no_greenlet_is_left_behind(most: int) -> None:
    def visit(number: underpass.AtomicInt) -> None:
        number.add(1)
        assert number.load() <= most

    def program(world: lab.World) -> None:
        number = underpass.AtomicInt()
        for _ in range(3):
            world.process(visit, number)

    before = greenlets()
    with contextlib.suppress(lab.Failure):
        lab.explore(program, schedules=50, seed=1)
    assert greenlets() == before
