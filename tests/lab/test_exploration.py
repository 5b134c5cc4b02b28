"""Explorations: what they find, how they tell it, and that they repeat."""

import pytest

import underpass

pytest.importorskip("greenlet")

from underpass import lab
from underpass.lab import Failure, World


def lost_update(world: World) -> None:
    number = underpass.AtomicInt()

    def add() -> None:
        number.store(number.load() + 1)

    world.process(add)
    world.process(add)
    world.at_end(lambda: number.load() == 2)


def test_a_lost_update_is_found_and_repeats() -> None:
    with pytest.raises(Failure) as found:
        lab.explore(lost_update, seed=1)
    assert found.value.kind == "invariant"
    with pytest.raises(Failure) as again:
        lab.replay(lost_update, found.value.token)
    assert again.value.kind == found.value.kind
    assert again.value.token == found.value.token


def test_a_wait_names_the_step_that_the_schedule_shows() -> None:
    def program(world: World) -> None:
        left, done = underpass.AtomicInt(2), underpass.Event()

        def work() -> None:
            if left.add(-1) == 0:  # never: it was 1
                done.set()

        def wait() -> None:
            done.wait()

        world.process(work)
        world.process(work)
        world.process(wait)

    with pytest.raises(Failure, match="deadlock") as found:
        lab.explore(program, seed=1)
    (sleeps,) = (moment for moment in found.value.trace.moments if moment.what == "sleeps")
    (wait,) = found.value.trace.waits
    assert wait.since == sleeps.number
    assert wait.since != found.value.trace.moments.index(sleeps)


def test_who_waits_for_a_name_is_told_without_an_object() -> None:
    def program(world: World) -> None:
        def call() -> None:
            underpass.Gate.open("desk", timeout=None)

        world.process(call)

    with pytest.raises(Failure, match="deadlock") as found:
        lab.explore(program, seed=1)
    assert "call waits for what no object tells: in open (test_exploration.py:" in str(found.value)


def test_a_standstill_is_told_with_who_waits_for_what() -> None:
    def program(world: World) -> None:
        unit = underpass.Semaphore(0)
        world.process(unit.acquire, name="first")
        world.process(unit.acquire, name="second")
        world.process(unit.release)

    with pytest.raises(Failure, match="deadlock") as found:
        lab.explore(program, seed=1)
    assert "semaphore @1" in str(found.value)


def test_a_seed_repeats() -> None:
    tokens: list[str] = []

    def program(world: World) -> None:
        lost_update(world)

    for _ in range(2):
        with pytest.raises(Failure) as found:
            lab.explore(program, seed=7)
        tokens.append(found.value.token)
    assert tokens[0] == tokens[1]


def test_what_a_process_raises_is_told() -> None:
    def program(world: World) -> None:
        def fail() -> None:
            raise RuntimeError("of its own making")

        world.process(fail)

    with pytest.raises(Failure, match="of its own making") as found:
        lab.explore(program, seed=1)
    assert found.value.kind == "exception"


def test_an_invariant_is_looked_at_always() -> None:
    def program(world: World) -> None:
        number = underpass.AtomicInt()

        def up_and_down() -> None:
            number.add(1)
            number.sub(1)

        world.process(up_and_down)
        world.process(up_and_down)
        world.invariant(always=lambda: number.load() < 2)

    with pytest.raises(Failure) as found:
        lab.explore(program, seed=1)
    assert found.value.kind == "invariant"


def test_the_dead_release_nothing() -> None:
    def program(world: World) -> None:
        unit = underpass.Semaphore(1)

        def visit() -> None:
            with unit.holding():
                pass

        world.process(visit)
        world.process(visit, mortal=False)

    with pytest.raises(Failure) as found:
        lab.explore(program, kills=1, seed=1)
    assert found.value.kind == "deadlock"


def test_who_is_not_mortal_lives() -> None:
    def program(world: World) -> None:
        unit = underpass.Semaphore(1)

        def visit() -> None:
            with unit.holding():
                pass

        world.process(visit, mortal=False)
        world.process(visit, mortal=False)

    assert lab.explore(program, kills=1, schedules=500, seed=1).schedules == 500


def test_a_servant_may_be_left_asleep() -> None:
    def program(world: World) -> None:
        jobs = underpass.Queue(1, 8)

        def serve(jobs: underpass.Queue) -> None:
            while True:
                jobs.get()

        world.process(serve, jobs, servant=True)
        world.process(jobs.put, b"job")

    lab.explore(program, schedules=100, seed=1)


def test_objects_cross_as_handles_of_their_own() -> None:
    def program(world: World) -> None:
        number = underpass.AtomicInt()

        def add(number: underpass.AtomicInt) -> None:
            number.add(1)
            number.close()

        world.process(add, number)
        world.process(add, number)
        world.at_end(lambda: number.load() == 2)

    lab.explore(program, schedules=100, seed=1)


def test_names_meet() -> None:
    def program(world: World) -> None:
        def make() -> None:
            underpass.Semaphore.create("seats", 1)

        def find() -> None:
            underpass.Semaphore.open("seats", timeout=None).acquire()

        world.process(make)
        world.process(find)

    lab.explore(program, schedules=200, seed=1)


def test_setting_up_must_not_wait() -> None:
    def program(world: World) -> None:
        underpass.Semaphore(0).acquire()
        world.process(print)

    with pytest.raises(underpass.MisuseError, match="sleep for ever"):
        lab.explore(program, seed=1)


def test_arguments_out_of_range() -> None:
    with pytest.raises(ValueError, match="no strategy is called 'guess'"):
        lab.explore(lost_update, strategy="guess")
    with pytest.raises(ValueError, match="schedules=0"):
        lab.explore(lost_update, schedules=0)
    with pytest.raises(ValueError, match="not a schedule's token"):
        lab.replay(lost_update, "not a token")


@pytest.mark.parametrize(
    ("token", "told"),
    [
        ("9x9", r"at step 0 it says 9 \(there is none\), and on offer was 0 \(add goes on\), 1"),
        ("0.P2", r"at step 1 it says P2 \(the program chooses 2\), and on offer was 0 "),
        ("0x500", r"it says 0 \(.* goes on\), and on offer was 1 \("),
        ("0x2.1x500", r"it says 1 \(.* goes on\), and the schedule was over"),
    ],
)
def test_a_token_that_does_not_fit_is_not_taken_for_a_schedule_that_passes(token: str, told: str) -> None:
    def program(world: World) -> None:
        number = underpass.AtomicInt()
        world.process(number.add, 1)
        world.process(number.add, 1)

    with pytest.raises(lab.Diverged, match=told) as strayed:
        lab.replay(program, token)
    assert "explore anew" in str(strayed.value)


def test_a_reduction_says_what_it_exhausted() -> None:
    def program(world: World) -> None:
        told = underpass.Event()
        world.process(told.wait)
        world.process(told.set)

    report = lab.explore(program, strategy="dpor", seed=1)
    assert report.exhausted
    assert report.classes is not None
    assert f"exhausted: {report.classes} classes" in str(report)


def test_a_reduction_says_how_much_it_covered() -> None:
    def program(world: World) -> None:
        door = underpass.Mutex()

        def visit() -> None:
            with door:
                pass

        for _ in range(4):
            world.process(visit)

    report = lab.explore(program, strategy="dpor", schedules=10, seed=1)
    assert not report.exhausted
    assert "of the space" in str(report)


def test_threads_of_one_process_are_told_apart() -> None:
    def program(world: World) -> None:
        done, never = underpass.Event(), underpass.Event()
        process = world.process(done.wait, name="worker")
        world.thread(process, never.wait)

    with pytest.raises(Failure, match="deadlock") as found:
        lab.explore(program, seed=1)
    sleeps = {moment.thread: moment.object for moment in found.value.trace.moments if moment.what == "sleeps"}
    assert sleeps == {"": "event @1", "thread 2": "event @2"}
    assert "‹thread 2›" in str(found.value)
