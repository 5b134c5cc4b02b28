"""The awaitable mutex: its owner is a task, and its deaths are those of threads and processes."""

import asyncio
from collections.abc import Callable
from typing import Literal

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.conformance.backends import SOON, Processes, Threads
from tests.conformance.loops import EventLoop, until, until_waiting
from underpass import MisuseError, Mutex, OwnerDiedError, WouldBlock, aio

World = Threads | Processes


def test_tasks_hold_it_one_after_the_other_in_order(loop: EventLoop) -> None:
    async def main() -> list[int]:
        ledger = aio.Mutex()
        order: list[int] = []

        async def task(number: int) -> None:
            # Another handle of the same mutex knows the same owner.
            async with aio.Mutex.over(ledger.sync):
                order.append(number)
                await checkpoint()
                order.append(number)

        async with anyio.create_task_group() as group, ledger:
            for number in range(5):
                group.start_soon(task, number)
                await until_waiting(number + 1)
        return order

    assert loop.run(main) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_a_task_that_has_it_may_not_take_it_again(loop: EventLoop) -> None:
    async def main() -> None:
        ledger = aio.Mutex()
        async with ledger:
            with pytest.raises(MisuseError):
                await ledger.acquire()
        assert ledger.statistics().state == "free"

    loop.run(main)


def test_recursion_is_of_a_task(loop: EventLoop) -> None:
    async def main() -> list[str]:
        ledger = aio.Mutex(recursive=True)
        order: list[str] = []

        async def other() -> None:
            async with ledger:
                order.append("other")

        async with anyio.create_task_group() as group, ledger:
            group.start_soon(other)
            await until_waiting(1)
            async with ledger.holding():
                order.append("inner")
                with pytest.raises(MisuseError):
                    await run_apart(ledger.release)
            order.append("outer")
            with pytest.raises(WouldBlock):
                await run_apart(ledger.acquire_nowait)
        return order

    assert loop.run(main) == ["inner", "outer", "other"]


async def run_apart(function: Callable[[], object]) -> None:
    """Call it in another task; raise what it raises."""
    raised: list[Exception] = []

    async def task() -> None:
        try:
            function()
        except Exception as error:  # noqa: BLE001 - raised in the first task
            raised.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(task)
    if raised:
        raise raised[0]


def test_another_task_does_not_release_it(loop: EventLoop) -> None:
    async def main() -> None:
        ledger = aio.Mutex()
        async with ledger:
            with pytest.raises(MisuseError, match="another task"):
                await run_apart(ledger.release)
            assert ledger.statistics().state == "held"
        with pytest.raises(MisuseError):
            ledger.release()

    loop.run(main)


def test_a_cancelled_task_leaves_it_to_the_next(loop: EventLoop) -> None:
    async def main() -> list[str]:
        ledger = aio.Mutex()
        got: list[str] = []

        async def task() -> None:
            async with ledger:
                got.append("next")

        async with anyio.create_task_group() as group:
            await ledger.acquire()
            first = anyio.CancelScope()

            async def cancelled() -> None:
                with first:
                    async with ledger:
                        got.append("first")  # the cancellation came too late

            group.start_soon(cancelled)
            await until_waiting(1)
            group.start_soon(task)
            await until_waiting(2)
            ledger.release()
            first.cancel()
        return got

    assert loop.run(main)[-1] == "next"


@pytest.mark.parametrize("inherits", [False, True], ids=["plain", "inherit"])
def test_it_waits_for_another_thread_or_process(loop: EventLoop, world: World, *, inherits: bool) -> None:
    ledger, taken, go = Mutex(inherit_priority=inherits), world.flag(), world.flag()

    def partner() -> None:
        with ledger:
            taken.raise_()
            go.wait()

    actor = world.start(partner)
    taken.wait()

    async def main() -> None:
        async with anyio.create_task_group() as group:

            async def task() -> None:
                async with ledger.aio:
                    pass

            group.start_soon(task)
            group.start_soon(task)
            await until_waiting(2)
            go.raise_()

    loop.run(main)
    actor.result()


async def fail_to_repair(ledger: Mutex) -> None:
    """Begin a repair, and end it by an exception."""
    async with ledger.aio.recovering() as died:
        assert died is not None
        raise ZeroDivisionError


def test_the_death_of_a_process_is_told_to_each_task_until_one_recovers(loop: EventLoop) -> None:
    world = Processes()
    ledger, taken, go = Mutex(), world.flag(), world.flag()

    def partner() -> None:
        ledger.acquire()
        taken.raise_()
        go.wait()

    actor = world.start(partner)
    taken.wait()

    async def main() -> list[int]:
        told: list[int] = []

        async def task() -> None:
            try:
                await ledger.aio.acquire()
            except OwnerDiedError as error:
                told.append(error.pid)

        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(task)
                await until_waiting(number + 1)
            actor.kill()
        with pytest.raises(ZeroDivisionError):
            await fail_to_repair(ledger)
        async with ledger.aio.recovering() as died:
            assert died is not None
        async with ledger.aio.recovering() as died:
            assert died is None
        return told

    try:
        assert loop.run(main) == [actor.pid] * 3
    finally:
        world.close()
    assert ledger.statistics().state == "free"


def test_a_task_waits_to_recover(loop: EventLoop) -> None:
    async def main() -> None:
        ledger = aio.Mutex()
        entered: list[object] = []

        async def task() -> None:
            async with ledger.recovering() as died:
                entered.append(died)

        async with anyio.create_task_group() as group:
            async with ledger:
                group.start_soon(task)
                await until_waiting(1)
            await until(lambda: entered)
        assert entered == [None]

    loop.run(main)


def test_loops_that_take_turns_in_one_thread_keep_their_places() -> None:
    one, other = asyncio.new_event_loop(), asyncio.new_event_loop()
    try:
        lock, units = aio.Mutex(), aio.Semaphore(1)
        leave = asyncio.Event()

        async def hold() -> None:
            async with lock:
                await leave.wait()

        async def begin() -> asyncio.Task[None]:
            holder = asyncio.create_task(hold())
            await asyncio.sleep(0)
            return holder

        async def end(holder: asyncio.Task[None]) -> None:
            # It is another task's of this loop, and not the thread's.
            with pytest.raises(WouldBlock, match="another task of this loop"):
                lock.acquire_nowait()
            leave.set()
            async with lock:
                assert holder.done()

        holder = one.run_until_complete(begin())
        other.run_until_complete(units.acquire())
        one.run_until_complete(end(holder))
    finally:
        for loop in (one, other):
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()


@pytest.mark.parametrize("fairness", ["barging", "arrival", "priority"])
def test_a_task_does_not_nest_in_what_another_loop_or_its_thread_holds(fairness: Literal["barging", "arrival"]) -> None:
    plain = Mutex(recursive=True, fairness=fairness)
    one, other = asyncio.new_event_loop(), asyncio.new_event_loop()

    async def refused() -> None:
        with pytest.raises(MisuseError, match="only whoever took it nests"):
            await plain.aio.acquire()
        with pytest.raises(MisuseError, match="only whoever took it nests"):
            plain.aio.acquire_nowait()

    async def nested() -> None:
        await plain.aio.acquire()
        plain.aio.release()

    try:
        one.run_until_complete(plain.aio.acquire())
        other.run_until_complete(refused())
        # Of the loop that took it no task is refused: that of another one waits.
        with pytest.raises(TimeoutError):
            one.run_until_complete(asyncio.wait_for(nested(), SOON))
        plain.release()
        with plain:
            other.run_until_complete(refused())
        other.run_until_complete(nested())
        assert plain.statistics().state == "free"
    finally:
        for loop in (one, other):
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
