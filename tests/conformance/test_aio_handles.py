"""Tasks of one loop that come with several handles of one object: one line, in the order in which they came."""

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import anyio
import pytest

from tests.conformance.loops import EventLoop, ended, until, until_waiting
from underpass import ClosedError, Pipe, Queue, ResetError, Semaphore

TASKS = 6


class Case:
    """An object, two handles of it, and what its tasks wait for."""

    def __init__(self, cls: Any, *arguments: Any) -> None:
        self.handles: list[Any] = [cls.create("it", *arguments), cls.open("it")]
        self.handles[0].unlink()


def getting(case: Case) -> tuple[Callable[[], object], Callable[[int], Awaitable[object]]]:
    return partial(case.handles[0].put, b"a"), lambda turn: case.handles[turn % 2].aio.get()


def putting(case: Case) -> tuple[Callable[[], object], Callable[[int], Awaitable[object]]]:
    case.handles[0].put(b"a")
    return case.handles[1].get, lambda turn: case.handles[turn % 2].aio.put(b"b")


def acquiring(case: Case) -> tuple[Callable[[], object], Callable[[int], Awaitable[object]]]:
    return case.handles[0].release, lambda turn: case.handles[turn % 2].aio.acquire()


def reading(case: Case) -> tuple[Callable[[], object], Callable[[int], Awaitable[object]]]:
    return partial(case.handles[0].write, b"abcd"), lambda turn: case.handles[turn % 2].aio.read(4)


def writing(case: Case) -> tuple[Callable[[], object], Callable[[int], Awaitable[object]]]:
    case.handles[0].write(b"abcdefgh")
    return partial(case.handles[1].read, 4), lambda turn: case.handles[turn % 2].aio.write(b"abcd")


CASES = {
    "get": (getting, Queue, 1, 1),
    "put": (putting, Queue, 1, 1),
    "acquire": (acquiring, Semaphore, 0),
    "read": (reading, Pipe, 8),
    "write": (writing, Pipe, 8),
}


@pytest.mark.parametrize("name", CASES)
def test_tasks_are_served_in_the_order_in_which_they_came(loop: EventLoop, name: str) -> None:
    prepare, *made = CASES[name]
    case = Case(*made)
    serve, come = prepare(case)
    went = list[int]()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for turn in range(TASKS):
                group.start_soon(ended, partial(come, turn), went, turn)
                await until_waiting(turn + 1)
            for turn in range(TASKS):
                serve()
                await until(lambda turn=turn: len(went) == turn + 1)
        assert went == list(range(TASKS))

    loop.run(main)


@pytest.mark.parametrize("name", CASES)
def test_a_handle_that_is_closed_ends_the_waits_of_its_own_tasks(loop: EventLoop, name: str) -> None:
    prepare, *made = CASES[name]
    for closed in range(2):
        case = Case(*made)
        _, come = prepare(case)
        with ExitStack() as rest:
            rest.callback(case.handles[1 - closed].close)
            ends: dict[int, list[object]] = {turn: [] for turn in range(TASKS)}

            async def main(
                case: Case = case,
                ends: dict[int, list[object]] = ends,
                closed: int = closed,
                come: Callable[[int], Awaitable[object]] = come,
            ) -> None:
                async with anyio.create_task_group() as group:
                    for turn in range(TASKS):
                        group.start_soon(ended, partial(come, turn), ends[turn], turn)
                        await until_waiting(turn + 1)
                    case.handles[closed].aio.close()
                    await until(lambda: all(ends[turn] == [ClosedError] for turn in range(closed, TASKS, 2)))
                    group.cancel_scope.cancel()
                assert all(ends[turn] == [] for turn in range(1 - closed, TASKS, 2))

            loop.run(main)


def test_a_cancelled_one_leaves_its_turn_to_the_next_of_another_handle(loop: EventLoop) -> None:
    case = Case(Semaphore, 0)
    went = list[int]()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            scopes = list[anyio.CancelScope]()

            async def come(turn: int) -> None:
                with anyio.CancelScope() as scope:
                    scopes.append(scope)
                    await ended(case.handles[turn % 2].aio.acquire, went, turn)

            for turn in range(4):
                group.start_soon(come, turn)
                await until_waiting(turn + 1)
            # Woken, and cancelled in the same turn.
            case.handles[1].release()
            scopes[0].cancel()
            await until(lambda: went == [1])
            case.handles[1].release()
            await until(lambda: went == [1, 2])
            group.cancel_scope.cancel()

    loop.run(main)
    assert case.handles[0].value == 0


def test_a_reset_ends_the_waits_of_all_handles(loop: EventLoop) -> None:
    case = Case(Semaphore, 0)
    ends: list[object] = []

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for turn in range(4):
                group.start_soon(ended, case.handles[turn % 2].aio.acquire, ends, turn)
                await until_waiting(turn + 1)
            case.handles[1].reset()

    loop.run(main)
    assert ends == [ResetError] * 4
