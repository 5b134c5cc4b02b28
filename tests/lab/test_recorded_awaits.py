"""Histories of what coroutines do: what they await is noted for the task that awaits, whoever is cancelled or dies meanwhile."""

import asyncio
from contextlib import suppress

import pytest

pytest.importorskip("greenlet")

import underpass
from underpass import MisuseError, WouldBlock, lab
from underpass.lab import Failure, World, linearizable, models

SCHEDULES = 100


def test_what_is_awaited_is_linearizable_with_what_blocks() -> None:
    def program(world: World) -> None:
        seat = linearizable(underpass.Semaphore(1), models.Semaphore(1))
        jobs = linearizable(underpass.Queue(2, 8), models.Queue(2))

        async def visit() -> None:
            async with seat.aio.holding():
                await jobs.aio.put(b"a")
            with suppress(WouldBlock):
                jobs.aio.get_nowait()

        async def two() -> None:
            await asyncio.gather(visit(), visit())

        def block() -> None:
            with seat.holding():
                jobs.put(b"b")
            jobs.get()

        world.process(two)
        world.process(block, servant=True, mortal=False)

    lab.explore(program, schedules=SCHEDULES, kills=1, seed=1)


def test_a_mutex_is_its_tasks() -> None:
    def program(world: World) -> None:
        door = linearizable(underpass.Mutex(), models.Mutex())

        async def visit(other: asyncio.Event) -> None:
            async with door.aio:
                other.set()
                with pytest.raises(MisuseError):
                    await door.aio.acquire()

        async def intrude(other: asyncio.Event) -> None:
            await other.wait()
            with suppress(WouldBlock):
                door.aio.acquire_nowait()
                door.aio.release()

        async def both() -> None:
            other = asyncio.Event()
            await asyncio.gather(visit(other), intrude(other))

        world.process(both)
        world.process(both)

    lab.explore(program, schedules=SCHEDULES, seed=1)


def test_one_that_is_cancelled_has_done_nothing() -> None:
    def program(world: World) -> None:
        units = linearizable(underpass.Semaphore(0), models.Semaphore(0))

        async def patient_for_a_moment() -> None:
            try:
                async with asyncio.timeout(1):
                    await units.aio.acquire()
            except TimeoutError:
                return
            units.aio.release()

        world.process(patient_for_a_moment)
        world.process(patient_for_a_moment)
        world.process(units.release)
        world.at_end(lambda: units.value == 1)

    lab.explore(program, schedules=SCHEDULES, seed=1)


def test_messages_are_iterated_over_and_leased() -> None:
    def program(world: World) -> None:
        jobs = linearizable(underpass.Queue(2, 8), models.Queue(2))

        async def read() -> None:
            lease = await jobs.aio.take()
            lease.done()
            assert [message async for message in jobs.aio] == [b"b"]

        def write() -> None:
            jobs.put(b"a")
            jobs.put(b"b")
            jobs.shutdown()

        world.process(read)
        world.process(write)

    lab.explore(program, schedules=SCHEDULES, seed=1)


class Forgetful(models.Semaphore):
    """A model in which nobody has a unit for longer than a moment: what no semaphore does."""

    def _take(self, busy: type[Exception]) -> models.Step:
        yield (True, self) if self.value else (busy, self)


def test_a_history_that_no_order_explains_names_the_task() -> None:
    def program(world: World) -> None:
        units = linearizable(underpass.Semaphore(1), Forgetful(1))

        async def take() -> None:
            await units.aio.acquire()
            with suppress(WouldBlock):
                units.aio.acquire_nowait()

        world.process(take, name="taker")

    with pytest.raises(Failure, match="not linearizable") as failure:
        lab.explore(program, schedules=SCHEDULES, seed=1)
    assert "taker, task 1: acquire_nowait() -> WouldBlock" in str(failure.value)
