"""What is a leak at the end of a schedule, and what is none."""

import pytest

pytest.importorskip("greenlet")

from underpass import Lease, Mutex, OwnerDiedError, Queue, Semaphore, lab
from underpass.lab import Failure, World
from underpass.lab.stage import Program

SEED = 1


def found(program: Program, *, kills: int = 0) -> Failure:
    with pytest.raises(Failure) as raised:
        lab.explore(program, schedules=100, kills=kills, seed=SEED)
    assert raised.value.kind == "leak", str(raised.value)
    return raised.value


def test_a_leak_names_process_object_line_and_remedy() -> None:
    def program(world: World) -> None:
        door = Mutex.create("door")

        def visit() -> None:
            door.acquire()

        world.process(visit)

    failure = found(program)
    assert "visit ended and left mutex 'door' locked, acquired at" in failure.trace.summary
    assert "with block" in failure.trace.details


def test_every_leak_is_told() -> None:
    def program(world: World) -> None:
        first, second = Mutex(), Mutex()

        def visit() -> None:
            first.acquire()
            second.acquire()

        world.process(visit)

    failure = found(program)
    assert "mutex @1 locked" in failure.trace.summary
    assert "mutex @2 locked" in failure.trace.details


def test_the_line_is_that_of_the_last_time() -> None:
    def program(world: World) -> None:
        door = Mutex()

        def visit() -> None:
            with door:
                pass
            door.acquire()  # here

        world.process(visit)

    source = found(program).trace
    line = int(source.summary.rpartition(":")[2])
    with open(__file__, encoding="utf-8") as file:  # noqa: PTH123 - one line of this file
        assert file.read().splitlines()[line - 1].endswith("# here")


def test_units_of_a_semaphore_belong_to_nobody() -> None:
    def program(world: World) -> None:
        world.process(Semaphore(1).acquire)

    assert lab.explore(program, schedules=20, seed=SEED).schedules == 20


def test_what_the_killed_held_is_no_leak() -> None:
    def program(world: World) -> None:
        door, jobs = Mutex(), Queue(2, 8)
        jobs.put(b"job")

        def work() -> None:
            with door, jobs.take():
                pass

        world.process(work)

    assert lab.explore(program, schedules=200, kills=1, seed=SEED).schedules == 200


def test_who_ended_leaks_though_another_was_killed() -> None:
    def program(world: World) -> None:
        door = Mutex()

        def visit() -> None:
            try:
                door.acquire()
            except OwnerDiedError:
                return

        world.process(visit)
        world.process(visit)

    assert "locked" in found(program, kills=1).trace.summary


def test_what_a_survivor_has_recovered_is_no_leak() -> None:
    def program(world: World) -> None:
        door = Mutex()
        first = world.process(door.acquire)

        def repair() -> None:
            world.join(first)
            with door.recovering():
                pass

        world.process(repair)

    assert lab.explore(program, schedules=50, seed=SEED).schedules == 50


def test_what_a_servant_holds_while_it_waits_is_no_leak() -> None:
    def program(world: World) -> None:
        door, jobs = Mutex(), Queue(2, 8)

        def serve() -> None:
            with door:
                jobs.get()

        world.process(serve, servant=True)

    assert lab.explore(program, schedules=20, seed=SEED).schedules == 20


def test_what_only_garbage_holds_is_given_back() -> None:
    def program(world: World) -> None:
        jobs = Queue(2, 8)
        jobs.put(b"job")

        def work() -> None:
            circle: list[object] = [jobs.take()]
            circle.append(circle)

        world.process(work)
        world.at_end(lambda: jobs.depth == 1)

    assert lab.explore(program, schedules=5, seed=SEED).schedules == 5


def test_a_lock_is_the_threads_and_a_lease_the_processs() -> None:
    def leasing(world: World) -> None:
        jobs = Queue(2, 8)
        jobs.put(b"job")
        taken: list[Lease[memoryview]] = []
        process = world.process(lambda: taken.append(jobs.take()), name="take")

        def finish() -> None:
            while not taken:
                world.step()
            taken.pop().done()

        world.thread(process, finish)

    assert lab.explore(leasing, schedules=50, seed=SEED).schedules == 50

    def locking(world: World) -> None:
        process = world.process(Mutex().acquire, name="lock")
        world.thread(process, Semaphore(1).acquire)

    assert "lock ended" in found(locking).trace.summary


def test_a_registration_that_is_not_ended_is_a_leak() -> None:
    def program(world: World) -> None:
        putting = Queue(2, 8).putting()
        world.process(putting.__enter__, name="put")

    assert "registered as a putter" in found(program).trace.summary
