"""Tasks in the lab that wait in slots of their own, beside threads that do: conditions, barriers, numbers, units, flags, and a `Once`."""

import asyncio
from contextlib import suppress

import pytest

pytest.importorskip("greenlet")

from tests.lab.awaits import explore, fails
from underpass import (
    AtomicInt,
    Barrier,
    BrokenBarrierError,
    Condition,
    Event,
    Notification,
    Once,
    ResetError,
    Semaphore,
    TimedOut,
)
from underpass.lab import World

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_each_notification_is_somebodys() -> None:
    def program(world: World) -> None:
        condition, jobs = Condition(), AtomicInt()

        async def take() -> None:
            async with condition.aio:
                while jobs.load() == 0:
                    await condition.aio.wait()
                jobs.sub(1)

        def block() -> None:
            with condition:
                condition.wait_for(lambda: jobs.load() > 0)
                jobs.sub(1)

        def give() -> None:
            for _ in range(2):
                with condition:
                    jobs.add(1)
                    condition.notify()

        world.process(take)
        world.process(block)
        world.process(give)
        world.at_end(lambda: jobs.load() == 0)

    explore(program)


def test_a_condition_that_nobody_notifies_is_told_with_its_line() -> None:
    def program(world: World) -> None:
        condition = Condition()

        async def take() -> None:
            async with condition.aio:
                await condition.aio.wait()

        world.process(take, name="take")

    failure = fails(program)
    assert "deadlock" in str(failure)
    assert "take" in str(failure)
    assert "condition.aio.wait()" in str(failure)


@pytest.mark.parametrize("kills", [0, 1])
def test_a_barrier_of_tasks_and_threads_passes_or_breaks_for_all(kills: int) -> None:
    def program(world: World) -> None:
        barrier, passed, broken = Barrier(3), AtomicInt(), AtomicInt()

        async def come() -> None:
            barrier.join()
            try:
                await barrier.aio.wait()
            except BrokenBarrierError:
                broken.add(1)
            else:
                passed.add(1)

        def block() -> None:
            barrier.join()
            try:
                # Nobody misses a party that died before it joined.
                barrier.wait(timeout=5 if kills else None)
            except (BrokenBarrierError, TimedOut):
                broken.add(1)
            else:
                passed.add(1)

        world.process(come, name="mortal")
        world.process(come, mortal=False, name="task")
        world.process(block, mortal=False, name="thread")
        world.at_end(lambda: (passed.load() in (2, 3)) != (broken.load() == 2))
        world.at_end(lambda: kills or passed.load() == 3)

    explore(program, kills=kills)


@pytest.mark.parametrize("kills", [0, 1])
def test_once_runs_once_whoever_dies_over_it(kills: int) -> None:
    def program(world: World) -> None:
        once, ran = Once(), AtomicInt()

        async def task() -> None:
            await once.aio.call(lambda: ran.add(1))

        world.process(task, name="task")
        world.process(lambda: once.call(lambda: ran.add(1)) and None, name="thread")
        world.process(task, mortal=False, name="survivor")
        world.at_end(lambda: ran.load() == 1 if not kills else 1 <= ran.load() <= 2)

    explore(program, kills=kills)


def test_a_change_of_a_number_reaches_tasks_and_threads() -> None:
    def program(world: World) -> None:
        number = AtomicInt()

        async def task() -> None:
            await number.aio.wait(0)

        world.process(task, mortal=False)
        world.process(number.wait, 0, mortal=False)
        world.process(task, name="mortal")
        world.process(number.add, 1, mortal=False)

    explore(program, kills=1)


@pytest.mark.parametrize("leased", [False, True])
def test_a_unit_that_is_handed_over_is_lost_to_no_deadline(leased: bool) -> None:  # noqa: FBT001 - as it is made
    def program(world: World) -> None:
        units = Semaphore(1, fairness="arrival", leased=leased)
        inside = AtomicInt()

        async def hurry() -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(1), units.aio.holding():
                    assert inside.add(1) == 0
                    inside.sub(1)

        async def two() -> None:
            await asyncio.gather(hurry(), hurry())

        def block() -> None:
            with units.holding():
                assert inside.add(1) == 0
                inside.sub(1)

        world.process(two)
        world.process(hurry)
        world.process(block)
        world.at_end(lambda: units.value == 1)

    explore(program)


def test_the_unit_of_a_process_that_dies_is_handed_on_to_tasks_and_threads() -> None:
    def program(world: World) -> None:
        units = Semaphore(1, fairness="arrival", leased=True)

        async def task() -> None:
            async with units.aio.holding():
                await asyncio.sleep(0)

        def block() -> None:
            with units.holding():
                pass

        world.process(task, name="mortal")
        world.process(task, mortal=False, name="task")
        world.process(block, mortal=False, name="thread")
        world.at_end(lambda: units.value == 1)

    explore(program, kills=1)


def test_a_reset_ends_the_waits_of_tasks_and_threads() -> None:
    def program(world: World) -> None:
        units, ends = Semaphore(0, fairness="arrival"), AtomicInt()

        async def task() -> None:
            try:
                await units.aio.acquire()
            except ResetError:
                ends.add(1)

        def block() -> None:
            try:
                units.acquire()
            except ResetError:
                ends.add(1)

        def end() -> None:
            units.reset()
            # For those who come later.
            units.release(2)

        world.process(task)
        world.process(block)
        world.process(end)
        world.at_end(lambda: units.value == ends.load())

    explore(program)


def test_a_pulse_of_an_event_reaches_all_who_wait() -> None:
    def program(world: World) -> None:
        event, waiting, seen = Event(), AtomicInt(), AtomicInt()

        async def task() -> None:
            waits = asyncio.create_task(event.aio.wait())
            await asyncio.sleep(0)
            # It has its place by now.
            waiting.add(1)
            await waits
            seen.add(1)

        def pulse() -> None:
            while (so_far := waiting.load()) < 2:
                waiting.wait(so_far)
            event.set()
            event.clear()

        world.process(task)
        world.process(task)
        world.process(pulse)
        world.at_end(lambda: seen.load() == 2 and not event.is_set())

    explore(program)


def test_a_flag_that_is_consumed_is_lost_to_no_deadline() -> None:
    def program(world: World) -> None:
        news, taken = Notification(), AtomicInt()

        async def hurry() -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    taken.add(await news.aio.wait(1))

        def block() -> None:
            with suppress(TimedOut):
                taken.add(news.wait(1, timeout=1))

        world.process(hurry)
        world.process(hurry)
        world.process(block)
        world.process(news.notify, 1)
        # Given to all who waited, or kept for who comes; or both, if one was late who had been given it.
        world.at_end(lambda: taken.load() > 0 or news.bits == 1)

    explore(program)
