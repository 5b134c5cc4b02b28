"""Tasks that barge for what is reset or purged: each that waits is told, whoever did it, and who comes later is not."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.conformance.backends import Processes, Threads
from tests.conformance.loops import EventLoop, until, until_waiting
from underpass import ClosedError, Queue, ResetError, Semaphore
from underpass.aio import running

World = Threads | Processes
Verb = Callable[[], Awaitable[object]]


def taken(units: Semaphore) -> Semaphore:
    """One whose only unit this process holds."""
    units.acquire_nowait()
    return units


def full() -> Queue:
    it = Queue(1)
    it.put_nowait(b"first")
    return it


# What is reset, how a task waits for it, how it is reset, and how one of those who wait then is let go.
BARGING: dict[
    str, tuple[Callable[[], Any], Callable[[Any], Verb], Callable[[Any], object], Callable[[Any], object]]
] = {
    "semaphore": (lambda: Semaphore(0), lambda it: it.aio.acquire, lambda it: it.reset(), lambda it: it.release()),
    "leased": (
        lambda: taken(Semaphore(1, leased=True)),
        lambda it: it.aio.acquire,
        lambda it: it.reset(),
        lambda it: it.release(),
    ),
    "put": (full, lambda it: lambda: it.aio.put(b"x"), lambda it: it.purge(), lambda it: it.get_nowait()),
    "put_many": (full, lambda it: lambda: it.aio.put_many([b"x"]), lambda it: it.purge(), lambda it: it.get_nowait()),
    "loan": (full, lambda it: lambda: it.aio.loan(1), lambda it: it.purge(), lambda it: it.get_nowait()),
}
EACH = pytest.mark.parametrize("kind", BARGING)


async def ended(verb: Verb, into: list[object]) -> None:
    """Note that a verb returned, or how it ended."""
    try:
        await verb()
        into.append("served")
    except (ResetError, ClosedError) as error:
        into.append(type(error))


@EACH
def test_a_reset_elsewhere_ends_the_waits_of_all_tasks(loop: EventLoop, world: World, kind: str) -> None:
    make, verb, reset, _ = BARGING[kind]
    it, go = make(), world.flag()

    def partner() -> None:
        go.wait()
        reset(it)

    actor = world.start(partner)

    async def main() -> None:
        ends: list[object] = []
        async with anyio.create_task_group() as group:
            for turn in range(3):
                group.start_soon(ended, verb(it), ends)
                await until_waiting(turn + 1)
            go.raise_()
        assert ends == [ResetError] * 3
        assert running.reactor().waiting == 0

    loop.run(main)
    actor.result()
    if isinstance(it, Queue):
        assert it.depth == 0


@EACH
def test_who_comes_after_a_reset_is_served(loop: EventLoop, kind: str) -> None:
    make, verb, reset, let_go = BARGING[kind]
    it = make()

    async def main() -> None:
        before: list[object] = []
        after: list[object] = []
        async with anyio.create_task_group() as group:
            for turn in range(2):
                group.start_soon(ended, verb(it), before)
                await until_waiting(turn + 1)
            reset(it)
            if isinstance(it, Queue):
                it.put_nowait(b"second")
            # None of those before has had a turn of the loop since.
            group.start_soon(ended, verb(it), after)
            await until_waiting(1)
            assert before == [ResetError] * 2
            for _ in range(5):
                await checkpoint()
            assert after == []
            let_go(it)
        assert after == ["served"]

    loop.run(main)


def test_put_many_says_how_many_were_put_before_the_purge(loop: EventLoop) -> None:
    jobs = Queue(2)

    async def main() -> None:
        raised: list[ResetError] = []

        async def task() -> None:
            try:
                await jobs.aio.put_many([b"%d" % number for number in range(9)])
            except ResetError as error:
                raised.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(task)
            await until_waiting(1)
            assert jobs.purge() == 2
        assert [error.transferred for error in raised] == [2]
        assert jobs.depth == 0

    loop.run(main)


def test_tasks_of_several_resets_are_told_of_their_own(loop: EventLoop) -> None:
    units = Semaphore(0)

    async def main() -> None:
        ends: list[list[object]] = [[], [], []]
        async with anyio.create_task_group() as group:
            for turn, into in enumerate(ends):
                group.start_soon(ended, units.aio.acquire, into)
                await until_waiting(1)
                if turn < 2:
                    units.reset()
                    await until(lambda into=into: into)
            units.release()
        assert ends == [[ResetError], [ResetError], ["served"]]
        assert units.value == 0

    loop.run(main)


def test_a_handle_that_is_closed_ends_the_waits(loop: EventLoop) -> None:
    async def main() -> None:
        units = Semaphore(0)
        ends: list[object] = []
        async with anyio.create_task_group() as group:
            for turn in range(2):
                group.start_soon(ended, units.aio.acquire, ends)
                await until_waiting(turn + 1)
            units.aio.close()
        assert ends == [ClosedError] * 2

    loop.run(main)
