"""A cancelled wait has taken nothing, at whichever step it is cancelled; and what it was woken for wakes the next."""

import asyncio
import os
import random
import warnings
from contextlib import suppress

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.conformance.backends import Processes, Threads
from tests.conformance.loops import EventLoop, until, until_waiting
from underpass import EndOfStream, NotFoundError, PeerDiedError, Queue, Semaphore, WaitSet, aio

World = Threads | Processes


@pytest.mark.parametrize("turns", range(5))
def test_a_unit_is_conserved_whenever_the_task_is_cancelled(loop: EventLoop, turns: int) -> None:
    async def main() -> None:
        units = aio.Semaphore(0)
        taken = 0
        scope = anyio.CancelScope()

        async def task() -> None:
            nonlocal taken
            with scope:
                await units.acquire()
                taken += 1

        async with anyio.create_task_group() as group:
            group.start_soon(task)
            await until_waiting(1)
            units.release()
            for _ in range(turns):
                await checkpoint()
            scope.cancel()
        assert units.value + taken == 1

    loop.run(main)


@pytest.mark.parametrize("turns", range(5))
def test_what_a_cancelled_task_was_woken_for_wakes_the_next(loop: EventLoop, turns: int) -> None:
    async def main() -> None:
        units = aio.Semaphore(0)
        scopes = [anyio.CancelScope(), anyio.CancelScope()]
        taken: list[int] = []

        async def task(number: int) -> None:
            with scopes[number]:
                await units.acquire()
                taken.append(number)

        async with anyio.create_task_group() as group:
            for number in range(2):
                group.start_soon(task, number)
                await until_waiting(number + 1)
            units.release()
            for _ in range(turns):
                await checkpoint()
            scopes[0].cancel()
            await until(lambda: taken)
            scopes[1].cancel()
        assert taken in ([0], [1])
        assert units.value == 0

    loop.run(main)


def test_no_message_is_lost_or_doubled_under_many_cancellations(
    loop: EventLoop, world: World, dice: random.Random
) -> None:
    jobs, count = Queue(4), 400

    def partner() -> None:
        for number in range(count):
            jobs.put(b"%d" % number)
        jobs.shutdown()

    actor = world.start(partner)
    waits = [dice.choice([0, 0, 0, 0.0001, 0.001]) for _ in range(count)]

    async def main() -> list[int]:
        got: list[int] = []

        async def getter() -> None:
            with suppress(EndOfStream):
                while True:
                    with anyio.move_on_after(dice.choice(waits)):
                        message = await jobs.aio.get()
                        got.append(int(message))
                    await checkpoint()

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(getter)
        return got

    assert sorted(loop.run(main)) == list(range(count))
    actor.result()


def test_a_forked_child_is_in_no_loop_of_its_parents(loop: EventLoop) -> None:
    units, jobs = Semaphore(0), Queue()

    async def take() -> bytes:
        return await jobs.aio.get()

    def work() -> bool:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            units.acquire()
        return not caught and asyncio.run(take()) == b"job"

    async def main() -> None:
        with anyio.move_on_after(0):
            await jobs.aio.get()
        child = os.fork()
        if not child:
            try:
                os._exit(0 if work() else 1)
            finally:
                os._exit(2)
        await until(lambda: units.statistics().waiters)
        units.release()
        await jobs.aio.put(b"job")
        assert os.waitpid(child, 0)[1] == 0  # noqa: ASYNC222 - it ends at once

    loop.run(main)


async def acquire_soon(units: aio.Semaphore) -> None:
    """Acquire within a moment."""
    with anyio.fail_after(0.01):
        await units.acquire()


def test_a_deadline_is_the_loops(loop: EventLoop) -> None:
    async def main() -> None:
        units = aio.Semaphore(0)
        with pytest.raises(TimeoutError):
            await acquire_soon(units)
        units.release()
        await units.acquire()

    loop.run(main)


def test_a_blocking_verb_in_a_loop_warns_and_names_the_line(loop: EventLoop) -> None:
    units = Semaphore(0)

    async def main() -> None:
        units.release()
        units.acquire()  # it need not sleep
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            for _ in range(2):
                with pytest.raises(TimeoutError):
                    units.acquire(timeout=0.001)
        (warning,) = caught
        assert warning.filename == __file__
        assert warning.category is RuntimeWarning
        assert "blocks this thread, and the event loop" in str(warning.message)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            for _ in range(2):
                with pytest.raises(NotFoundError):
                    Semaphore.open("nowhere", timeout=0.001)
        (warning,) = caught
        assert warning.filename == __file__
        assert str(warning.message).startswith("open of 'nowhere' in")
        assert "open_when_there" in str(warning.message)
        with WaitSet() as members, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            members.add(units)
            for _ in range(2):
                with pytest.raises(TimeoutError):
                    members.wait(timeout=0.001)
        (warning,) = caught
        assert warning.filename == __file__
        assert "fileno()" in str(warning.message)

    loop.run(main)
    with pytest.raises(TimeoutError):
        units.acquire(timeout=0.001)


def test_a_putter_that_is_killed_while_a_task_waits(loop: EventLoop) -> None:
    world = Processes()
    jobs, ready, go = Queue(), world.flag(), world.flag()

    def partner() -> None:
        with jobs.putting():
            ready.raise_()
            go.wait()

    actor = world.start(partner)
    ready.wait()

    async def main() -> type[BaseException]:
        raised: list[type[BaseException]] = []

        async def task() -> None:
            try:
                await jobs.aio.get()
            except PeerDiedError as error:
                raised.append(type(error))

        async with anyio.create_task_group() as group:
            group.start_soon(task)
            await until_waiting(1)
            actor.kill()
        return raised[0]

    try:
        assert loop.run(main) is PeerDiedError
    finally:
        world.close()
