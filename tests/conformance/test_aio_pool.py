"""`Pool.aio`: blocks are awaited."""

import anyio
import pytest

from tests.conformance.backends import Processes, Threads
from tests.conformance.loops import EventLoop, until_waiting
from underpass import ClosedError, Pool, WouldBlock, aio

World = Threads | Processes


def test_tasks_get_blocks_in_their_order(loop: EventLoop) -> None:
    async def main() -> list[int]:
        pool, got = aio.Pool(1, 64), list[int]()
        held = await pool.alloc()

        async def take(number: int) -> None:
            with await pool.alloc(8):
                got.append(number)

        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(take, number)
                await until_waiting(number + 1)
            assert pool.free == 0
            held.release()
        assert (pool.free, pool.sizes) == (1, {64: 1})
        return got

    assert loop.run(main) == [0, 1, 2]


def test_another_gives_it_back(loop: EventLoop, world: World) -> None:
    pool, has, go = Pool(1, 64, more={1000: 1}), world.flag(), world.flag()

    def hold() -> None:
        with pool.alloc(1000):
            has.raise_()
            go.wait()

    holder = world.start(hold)
    has.wait()

    async def main() -> list[int]:
        got = list[int]()

        async def take() -> None:
            with await pool.aio.alloc(500) as block:
                got.append(len(block))

        async with anyio.create_task_group() as group:
            group.start_soon(take)
            await until_waiting(1)
            go.raise_()
        return got

    assert loop.run(main) == [500]
    holder.result()


def test_a_death_gives_it_back(loop: EventLoop, processes: Processes) -> None:
    pool, has, never = Pool(1, 64), processes.flag(), processes.flag()

    def hold() -> None:
        block = pool.alloc()
        has.raise_()
        never.wait()
        del block

    holder = processes.start(hold)
    has.wait()

    async def main() -> list[int]:
        got = list[int]()

        async def take() -> None:
            with await pool.aio.alloc() as block:
                got.append(len(block))

        async with anyio.create_task_group() as group:
            group.start_soon(take)
            await until_waiting(1)
            holder.kill()
        return got

    assert loop.run(main) == [64]


def test_who_is_cancelled_has_taken_none(loop: EventLoop) -> None:
    async def main() -> int:
        pool = aio.Pool(1, 64)
        held = pool.alloc_nowait()
        async with anyio.create_task_group() as group:
            group.start_soon(pool.alloc)
            await until_waiting(1)
            group.cancel_scope.cancel()
        held.release()
        return pool.free

    assert loop.run(main) == 1


def test_named_and_closed(loop: EventLoop) -> None:
    async def main() -> None:
        pool = aio.Pool.create("frames", 1, 64)
        same = aio.Pool.open_or_create("frames", 1, 64)
        with await same.alloc():
            with pytest.raises(WouldBlock):
                aio.Pool.open("frames").alloc_nowait()
            assert pool.statistics().sizes[0].free == 0
        pool.unlink()
        pool.close()
        with pytest.raises(ClosedError):
            await pool.alloc()

    loop.run(main)
