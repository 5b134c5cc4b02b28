"""Deaths and stops that a process of the program brings about: in every schedule, beside those that the exploration chooses."""

from collections.abc import Callable

import pytest

import underpass

pytest.importorskip("greenlet")

from underpass import MisuseError, OwnerDiedError, lab
from underpass.lab import World


def seen(program: Callable[[World], object], **options: object) -> int:
    return lab.explore(program, schedules=200, seed=1, **options).schedules  # type: ignore[arg-type]


def holder_and_killer(world: World, told: list[str]) -> None:
    door, held, never = underpass.Mutex(), underpass.Event(), underpass.Event()

    def hold() -> None:
        with door:
            held.set()
            never.wait()

    holder = world.process(hold)

    def kill() -> None:
        held.wait()
        world.kill(holder)
        assert world.ended(holder)
        with pytest.raises(OwnerDiedError):
            door.acquire()
        with door.recovering() as died:
            assert died is not None
            told.append("died")
        world.kill(holder)  # does nothing

    world.process(kill)


@pytest.mark.parametrize("strategy", ["portfolio", "dpor"])
def test_a_death_that_is_ordered_is_there_in_every_schedule(strategy: str) -> None:
    told: list[str] = []
    schedules = seen(lambda world: holder_and_killer(world, told), strategy=strategy)
    # Some beside those that count, too.
    assert len(told) >= schedules > 0


def test_it_wakes_who_watches_and_passes_on_what_the_dead_owed() -> None:
    def program(world: World) -> None:
        units, ready = underpass.Semaphore(0, fairness="arrival"), underpass.Event()

        def take() -> None:
            ready.set()
            units.acquire()
            ready.clear()

        first = world.process(take)

        def other() -> None:
            ready.wait()
            while not world.asleep(first):
                world.step()
            world.stop(first)
            units.release()
            world.kill(first)
            assert units.acquire()

        world.process(other)

    seen(program)


def test_one_that_is_stopped_goes_on_when_it_is_let() -> None:
    def program(world: World) -> None:
        gone, number = underpass.AtomicInt(), underpass.AtomicInt()

        def count() -> None:
            number.add(1)
            gone.store(1)

        counts = world.process(count)

        def other() -> None:
            world.stop(counts)
            before = number.load()
            for _ in range(5):
                world.step()
            assert number.load() == before
            world.resume(counts)
            gone.wait(0)

        world.process(other)

    seen(program)
    seen(program, strategy="dpor")


def test_one_that_nobody_lets_go_on_is_a_deadlock() -> None:
    def program(world: World) -> None:
        stopped = world.process(underpass.AtomicInt().add, 1)
        world.process(lambda: world.stop(stopped))

    with pytest.raises(lab.Failure) as failure:
        seen(program)
    assert failure.value.kind == "deadlock"


def test_who_kills_itself_goes_on_no_further() -> None:
    def program(world: World) -> None:
        def end() -> None:
            world.kill(me)
            raise AssertionError

        me = world.process(end)

    seen(program)


def test_what_was_done_is_drawn() -> None:
    def program(world: World) -> None:
        never = underpass.Event()
        victim = world.process(never.wait, name="victim")

        def other() -> None:
            world.stop(victim)
            world.resume(victim)
            world.kill(victim)
            never.wait()

        world.process(other, name="other")

    with pytest.raises(lab.Failure) as failure:
        seen(program)
    fates = [moment.what for moment in failure.value.trace.moments if moment.process == 0]
    assert [fate for fate in fates if fate in {"is stopped", "dies"}] == ["is stopped", "dies"]
    with pytest.raises(lab.Failure, match="deadlock"):
        lab.replay(program, failure.value.token)
    with pytest.raises(lab.Diverged, match="a process kills or stops another"):
        lab.replay(program, failure.value.token, real=True)


@pytest.mark.parametrize("order", ["kill", "stop", "resume"])
def test_the_program_itself_orders_nothing(order: str) -> None:
    def program(world: World) -> None:
        getattr(world, order)(world.process(underpass.Event().set))

    with pytest.raises(MisuseError, match=rf"world\.{order} is for the processes of a program"):
        seen(program)


@pytest.mark.parametrize("strategy", ["every", "dpor"])
def test_it_comes_before_and_after_each_step_of_the_other(strategy: str) -> None:
    ends: set[int] = set()

    def program(world: World) -> None:
        number = underpass.AtomicInt()

        def count() -> None:
            for _ in range(3):
                number.add(1)

        counts = world.process(count)
        world.process(lambda: world.kill(counts))
        world.at_end(lambda: ends.add(number.load()) is None)

    lab.explore(program, schedules=2_000, seed=1, strategy=strategy)
    assert ends == {0, 1, 2, 3}
