"""What a process can do wrong with the bytes of a slot is told."""

from contextlib import suppress

import pytest

pytest.importorskip("greenlet")

from underpass import Lease, MisuseError, Queue, lab
from underpass.lab import Failure, World
from underpass.lab.stage import Program

SEED = 1


def found(program: Program, *, kills: int = 0) -> Failure:
    with pytest.raises(Failure) as raised:
        lab.explore(program, schedules=100, kills=kills, seed=SEED)
    return raised.value


def test_a_view_after_the_end_raises() -> None:
    def program(world: World) -> None:
        jobs = Queue(2, 8)
        jobs.put(b"job")

        def work() -> None:
            with jobs.take() as lease:
                view = lease.value
            assert bytes(view)

        world.process(work)

    assert "released memoryview" in found(program).trace.summary


def test_a_new_view_after_the_end_raises() -> None:
    def program(world: World) -> None:
        jobs = Queue(2, 8)

        def work() -> None:
            loan = jobs.loan(4)
            loan.commit()
            loan[:1] = b"x"

        world.process(work)

    assert "has ended" in found(program).trace.summary


def test_a_view_that_is_in_use_keeps_the_slot() -> None:
    def program(world: World) -> None:
        jobs = Queue(2, 8)

        def work() -> None:
            loan = jobs.loan(4)
            view = memoryview(loan)
            with suppress(MisuseError):
                loan.commit()
            assert jobs.depth == 0
            view.release()
            loan.commit()

        world.process(work)

    assert lab.explore(program, schedules=20, seed=SEED).schedules == 20


def test_a_child_that_looks_after_the_end_is_a_race() -> None:
    def program(world: World) -> None:
        jobs = Queue(2, 8)
        jobs.put(b"job")
        inherited: list[Lease[memoryview]] = []

        def work() -> None:
            inherited.append(jobs.take())
            inherited[0].done()

        first = world.process(work)

        def look() -> None:
            world.join(first)
            assert inherited[0].value

        world.process(look)

    failure = found(program)
    assert failure.kind == "race"
    assert "after it has ended" in failure.trace.summary


def test_a_dead_childs_view_is_no_race() -> None:
    def program(world: World) -> None:
        jobs = Queue(2, 8)
        jobs.put(b"job")
        inherited: list[Lease[memoryview]] = []

        def look() -> None:
            while not inherited:
                world.step()
            with inherited[0].value:
                world.step()

        child = world.process(look)

        def work() -> None:
            inherited.append(jobs.take())
            world.join(child)
            inherited[0].done()

        world.process(work, mortal=False)

    assert lab.explore(program, schedules=200, kills=1, seed=SEED).schedules == 200
