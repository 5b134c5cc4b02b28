"""wait_any, wait_all and select in coroutines, on each event loop. No wake comes late: the re-check is off."""

# pyright: reportPossiblyUnboundVariable=false
# What is assigned in a block that raises nothing is there after it.

import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.conformance.backends import Processes, Threads
from tests.conformance.loops import EventLoop, until, until_waiting, waiting
from underpass import Barrier, ClosedError, Event, Queue, RWLock, Semaphore, aio, process

World = Threads | Processes


async def into(results: list[Any], verb: Callable[[], Awaitable[object]]) -> None:
    results.append(await verb())


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_all_that_are_ready_are_returned_as_they_were_given(loop: EventLoop) -> None:
    async def main() -> None:
        jobs, stop, units = aio.Queue(), Event(), aio.Semaphore(0)
        ready: list[Any] = []
        async with anyio.create_task_group() as group:
            group.start_soon(into, ready, lambda: aio.wait_any(units, jobs, stop, jobs))
            await until_waiting(1)
            stop.set()
        assert ready == [[stop]]
        await jobs.put(b"job")
        assert await aio.wait_any(units, jobs, stop, jobs) == [jobs, stop, jobs]
        assert jobs.depth == 1, "nothing is taken"

    loop.run(main)


def test_what_another_process_does_is_told(loop: EventLoop, world: World) -> None:
    jobs, stop, go = Queue(), Event(), world.flag()

    def put() -> None:
        go.wait()
        jobs.put(b"job")

    actor = world.start(put)

    async def main() -> None:
        got: list[Any] = []
        async with anyio.create_task_group() as group:
            group.start_soon(into, got, lambda: aio.select(stop.aio.wait, jobs.aio.get))
            await until_waiting(1)
            go.raise_()
        assert got == [(1, b"job")]
        assert jobs.depth == 0

    loop.run(main)
    actor.result()


def test_the_end_of_a_process_is_waited_for_beside_objects(loop: EventLoop, processes: Processes) -> None:
    stay = processes.flag()
    actor = processes.start(stay.wait)

    async def main() -> None:
        with process(actor.pid) as end:
            ready: list[Any] = []
            async with anyio.create_task_group() as group:
                group.start_soon(into, ready, lambda: aio.wait_any(Event(), end))
                await until_waiting(1)
                actor.kill()
            assert ready == [[end]]

    loop.run(main)


def test_a_descriptor_is_waited_for_by_two_tasks(loop: EventLoop) -> None:
    async def main() -> None:
        jobs, (reader, writer) = Queue(), os.pipe()
        ready: list[Any] = []
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(into, ready, lambda: aio.wait_any(jobs, reader))
            await until_waiting(2)
            os.write(writer, b"a")
        assert ready == [[reader], [reader]]
        os.close(reader)
        os.close(writer)

    loop.run(main)


def test_all_have_to_be_ready_at_one_look(loop: EventLoop) -> None:
    async def main() -> None:
        jobs, stop = aio.Queue(), aio.Event()
        ended: list[Any] = []
        async with anyio.create_task_group() as group:
            group.start_soon(into, ended, lambda: aio.wait_all(jobs, stop))
            await until_waiting(1)
            await jobs.put(b"job")
            await until_waiting(1)
            assert await jobs.get() == b"job"
            stop.set()
            await until_waiting(1)
            assert not ended
            await jobs.put(b"job")
        assert ended == [None]

    loop.run(main)


def test_a_put_is_selected_with_what_it_puts(loop: EventLoop) -> None:
    async def main() -> None:
        out, stop = aio.Queue(1), aio.Event()
        await out.put(b"first")
        done: list[Any] = []
        async with anyio.create_task_group() as group:
            group.start_soon(into, done, lambda: aio.select(stop.wait, partial(out.put, b"second")))
            await until_waiting(1)
            assert await out.get() == b"first"
        assert done == [(1, None)]
        assert await out.get() == b"second"

    loop.run(main)


def test_waits_for_something_of_their_own_are_selected(loop: EventLoop) -> None:
    async def main() -> None:
        flags, count = aio.Notification(), aio.AtomicInt(5)
        flags.notify(0b1)
        chosen: list[Any] = []

        async def choose() -> object:
            return await aio.select(partial(flags.wait, 0b11, all=True), partial(count.wait, 5))

        async with anyio.create_task_group() as group:
            group.start_soon(into, chosen, choose)
            await until_waiting(1)
            flags.notify(0b10)
        async with anyio.create_task_group() as group:
            group.start_soon(into, chosen, choose)
            await until_waiting(1)
            count.add(1)
        assert chosen == [(0, 0b11), (1, True)]

    loop.run(main)


def test_each_unit_goes_to_one_task_that_selects(loop: EventLoop) -> None:
    async def main() -> None:
        units, stop = aio.Semaphore(0), aio.Event()
        done: list[Any] = []
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(into, done, lambda: aio.select(units.acquire, stop.wait))
            await until_waiting(4)
            units.release(2)
            await until(lambda: len(done) == 2)
            assert (waiting(), units.value) == (2, 0)
            stop.set()
        assert [place for place, _ in done] == [0, 0, 1, 1]

    loop.run(main)


def test_a_task_that_is_cancelled_has_taken_nothing_and_keeps_no_descriptor(loop: EventLoop) -> None:
    async def main() -> None:
        jobs, stop = aio.Queue(), aio.Event()
        with anyio.move_on_after(0):
            await stop.wait()
        before = 0
        for turn in range(3):
            async with anyio.create_task_group() as group:
                group.start_soon(aio.select, jobs.get, stop.wait)
                await until_waiting(1)
                await jobs.put(b"job")
                group.cancel_scope.cancel()
            assert await jobs.get() == b"job"
            # The first has told the process whom to ring, for good.
            if turn == 0:
                await anyio.lowlevel.checkpoint()
                before = descriptors()
        await until(lambda: descriptors() == before)

    loop.run(main)


def test_a_handle_that_is_closed_ends_the_wait(loop: EventLoop) -> None:
    async def main() -> None:
        jobs, stop = aio.Queue(), aio.Event()
        ends: list[type[BaseException]] = []

        async def select() -> None:
            try:
                await aio.select(jobs.get, stop.wait)
            except ClosedError as error:
                ends.append(type(error))

        async with anyio.create_task_group() as group:
            group.start_soon(select)
            await until_waiting(1)
            jobs.close()
        assert ends == [ClosedError]

    loop.run(main)


@pytest.mark.parametrize("verb", [aio.wait_any, aio.wait_all])
def test_in_a_cancelled_block_nothing_is_waited_for_though_it_is_ready(
    loop: EventLoop, verb: Callable[[aio.Event], Awaitable[object]]
) -> None:
    async def main() -> object:
        stop = aio.Event()
        stop.set()
        async with aio.finish() as block:
            block.cancel()
            return await aio.cancellable(verb(stop))

    assert loop.run(main) is aio.CANCELLED


def test_what_cannot_be_waited_for_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="Barrier cannot be waited for"):
            await aio.wait_any(Barrier(2))
        with pytest.raises(ValueError, match="of nothing"):
            await aio.wait_any()
        for verb in (
            RWLock().aio.reading,
            Semaphore(1).acquire,
            aio.Once().call,
            len,
        ):
            with pytest.raises(TypeError, match="select"):
                await aio.select(verb)  # type: ignore[arg-type]

    EventLoop("asyncio").run(main)
