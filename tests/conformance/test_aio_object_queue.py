"""`ObjectQueue.aio`: objects, blocks and room are awaited."""

from typing import Any

import anyio
import numpy as np
import pytest

from tests.conformance.backends import Processes, Threads
from tests.conformance.loops import EventLoop, until_waiting
from underpass import EndOfStream, ObjectQueue, TimedOut, WouldBlock, aio

World = Threads | Processes

LONG = 4096
Sizes = dict[str, Any]
SMALL: Sizes = {"inline_size": 256, "blocks": 2, "block_size": 2 * LONG}


def long(start: int) -> bytes:
    return bytes([start]) * LONG


def test_tasks_put_and_get_in_order(loop: EventLoop) -> None:
    async def main() -> tuple[list[Any], int]:
        queue, got = aio.ObjectQueue[Any](capacity=2, **SMALL), list[Any]()

        async def put() -> None:
            await queue.put_many([1, long(2), {"a": long(3)}])
            await queue.put(long(4))
            await queue.put("last")
            queue.shutdown()

        async with anyio.create_task_group() as group:
            group.start_soon(put)
            got += [obj async for obj in queue]
        return got, queue.pool.free

    assert loop.run(main) == ([1, long(2), {"a": long(3)}, long(4), "last"], 2)


def test_another_takes_what_a_task_waits_to_put(loop: EventLoop, world: World) -> None:
    queue = ObjectQueue[Any](**SMALL)
    queue.put_many([np.full(LONG, 1, np.uint8), long(2)])
    go = world.flag()

    def get() -> list[int]:
        go.wait()
        return [int(queue.get()[0]) for _ in range(3)]

    getter = world.start(get)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(queue.aio.put, long(3))
            await until_waiting(1)
            go.raise_()

    loop.run(main)
    assert getter.result() == [1, 2, 3]
    assert (queue.depth, queue.pool.free) == (0, 2)


def test_a_cancelled_task_has_put_and_taken_nothing(loop: EventLoop) -> None:
    async def main() -> None:
        queue = aio.ObjectQueue[Any](capacity=1, **SMALL)
        with anyio.move_on_after(0):
            await queue.get()
        await queue.put(long(1))
        with anyio.move_on_after(0):
            await queue.put(long(2))
        assert (queue.depth, queue.pool.free) == (1, 1)
        assert await queue.get() == long(1)
        with pytest.raises(WouldBlock):
            queue.get_nowait()
        assert queue.pool.free == 2

    loop.run(main)


def test_leases_and_the_rest(loop: EventLoop) -> None:
    async def main() -> None:
        queue = aio.ObjectQueue[Any](max_deliveries=1, **SMALL)
        await queue.put(long(1))
        (await queue.take()).put_back()
        assert await queue.dead_letters.get() == long(1)
        queue.put_nowait(7, front=True)
        await queue.put(8)
        assert (queue.peek(1), queue.depth, queue.capacity, queue.inline_size) == (8, 2, 64, 256)
        assert await queue.get_many(5) == [7, 8]
        await queue.join()
        await queue.put(9)
        assert queue.purge() == 1
        with queue.putting():
            await queue.put(long(1))
        with await queue.take() as lease:
            assert lease.value == long(1)
        with pytest.raises(EndOfStream):
            await queue.get()
        with pytest.raises(ValueError, match="limit=0"):
            await queue.get_many(0)
        assert queue.statistics().depth == 0

    loop.run(main)


def test_a_bad_object_among_many_leaves_none(loop: EventLoop) -> None:
    async def main() -> None:
        queue = aio.ObjectQueue[Any](**SMALL)
        with pytest.raises(TypeError, match="cannot be pickled"):
            await queue.put_many([1, lambda: None])
        assert queue.depth == 0

    loop.run(main)
    queue = ObjectQueue[Any]()
    with pytest.raises(TimedOut):
        queue.get(timeout=0)
