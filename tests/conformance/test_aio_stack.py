"""`Stack.aio`: tasks take what threads and processes push."""

import anyio
import pytest

from tests.conformance.backends import Processes, Threads
from tests.conformance.loops import EventLoop, ended, later, until_waiting
from underpass import ClosedError, WouldBlock, aio
from underpass.data import Stack

World = Threads | Processes


def test_a_task_pops_what_another_pushes(loop: EventLoop, world: World) -> None:
    stack = Stack(4)
    go, pusher = later(world, lambda: stack.push(7))

    async def main() -> int:
        with pytest.raises(WouldBlock):
            stack.aio.pop_nowait()
        got = list[object]()
        async with anyio.create_task_group() as group:
            group.start_soon(ended, stack.aio.pop, got)
            await until_waiting(1)
            go.raise_()
        [word] = got
        assert isinstance(word, int)
        return word

    assert loop.run(main) == 7
    pusher.result()


def test_tasks_come_in_their_order(loop: EventLoop) -> None:
    async def main() -> list[object]:
        stack, got = aio.Stack(4), list[object]()
        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(ended, stack.pop, got)
                await until_waiting(number + 1)
            for word in (1, 2, 3):
                stack.push(word)
                while len(got) < word:
                    await anyio.lowlevel.checkpoint()
        return got

    assert loop.run(main) == [1, 2, 3]


def test_a_cancelled_task_has_taken_none(loop: EventLoop) -> None:
    async def main() -> tuple[int, int]:
        stack = aio.Stack(4)
        async with anyio.create_task_group() as group:
            group.start_soon(stack.pop)
            await until_waiting(1)
            stack.push(1)
            group.cancel_scope.cancel()
        return stack.depth, stack.pop_nowait()

    assert loop.run(main) == (1, 1)


def test_verbs_that_never_wait(loop: EventLoop) -> None:
    async def main() -> None:
        stack = aio.Stack.create("stack", 2)
        try:
            stack.push(1)
            stack.push(2)
            with pytest.raises(WouldBlock):
                stack.push(3)
            again = aio.Stack.open_or_create("stack", 2)
            assert (again.depth, again.capacity, again.statistics().depth) == (2, 2, 2)
            assert await aio.Stack.open("stack").pop() == 2
            assert again.purge() == 1
            again.sync.close()
            with pytest.raises(ClosedError):
                await again.pop()
        finally:
            stack.sync.unlink()

    loop.run(main)
