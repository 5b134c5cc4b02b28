"""The awaitable condition: notified in turn, cancelled with the mutex held, and never a notification lost."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.conformance.backends import Actor, Processes, Threads
from tests.conformance.backends import until as until_blocking
from tests.conformance.loops import EventLoop, until, until_waiting, waiting
from underpass import ClosedError, Condition, MisuseError, Mutex, OwnerDiedError, Space, aio

World = Threads | Processes


async def wait_under(condition: Condition, log: list[object], name: object) -> None:
    """Wait once, and say so with the mutex held."""
    async with condition.aio:
        assert await condition.aio.wait() is True
        assert condition.statistics().held
        log.append(name)


def wait_as_thread(condition: Condition, then: Callable[[], object]) -> None:
    """Wait once, as a thread."""
    with condition:
        condition.wait()
        then()


@pytest.mark.parametrize("given", [False, True], ids=["its own", "given"])
def test_tasks_are_notified_in_the_order_in_which_they_came(loop: EventLoop, *, given: bool) -> None:
    async def main() -> None:
        mutex = Mutex()
        condition = Condition(mutex) if given else Condition()
        log: list[object] = []
        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(wait_under, condition, log, number)
                await until_waiting(number + 1)
            assert condition.statistics().n_waiting == 5
            assert condition.notify() == 1
            await until(lambda: log == [0])
            async with condition.aio:
                assert condition.aio.notify(2) == 2
                await checkpoint()
                assert log == [0]
            await until(lambda: len(log) == 3)
            assert condition.aio.notify_all() == 2
        assert log == list(range(5))
        assert condition.notify() == 0

    loop.run(main)


def test_tasks_and_threads_are_notified_in_turn(loop: EventLoop, threads: Threads) -> None:
    condition = Condition()

    async def main() -> None:
        log: list[object] = []
        actors: list[Actor[None]] = []
        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(wait_under, condition, log, f"task {number}")
                await until(lambda number=number: condition.statistics().n_waiting == 2 * number + 1)
                name = f"thread {number}"
                actors.append(threads.start(wait_as_thread, condition, lambda name=name: log.append(name)))
                await until(lambda number=number: condition.statistics().n_waiting == 2 * number + 2)
            assert condition.notify_all() == 6
        await until(lambda: len(log) == 6)
        assert log == [f"{kind} {number}" for number in range(3) for kind in ("task", "thread")]

    loop.run(main)


def test_another_thread_or_process_notifies_under_the_mutex(loop: EventLoop, world: World) -> None:
    condition, go = Condition(), world.flag()

    def partner() -> None:
        go.wait()
        with condition:
            condition.notify_all()

    actor = world.start(partner)

    async def main() -> None:
        log: list[object] = []
        async with anyio.create_task_group() as group:
            group.start_soon(wait_under, condition, log, "task")
            group.start_soon(wait_under, condition, log, "task")
            await until_waiting(2)
            go.raise_()
        assert log == ["task", "task"]

    loop.run(main)
    actor.result()


def test_wait_for_asks_with_the_mutex_held(loop: EventLoop) -> None:
    async def main() -> None:
        condition = aio.Condition()
        jobs: list[str] = []

        def asked() -> bool:
            assert condition.statistics().held
            return bool(jobs)

        async def consume() -> None:
            async with condition:
                await condition.wait_for(asked)
                jobs.pop()

        async with anyio.create_task_group() as group:
            group.start_soon(consume)
            await until_waiting(1)
            condition.notify()
            await until_waiting(1)
            async with condition:
                jobs.append("job")
                condition.notify()
        assert jobs == []

    loop.run(main)


def test_who_does_not_hold_the_mutex_may_not_wait(loop: EventLoop) -> None:
    async def main() -> None:
        condition = aio.Condition()
        with pytest.raises(MisuseError):
            await condition.wait()
        held = Mutex(recursive=True)
        twice = aio.Condition(held)
        async with twice, held.aio:
            with pytest.raises(MisuseError, match="2 times"):
                await twice.wait()
        assert held.statistics().state == "free"

        async def other() -> None:
            with pytest.raises(MisuseError, match="another task"):
                await condition.wait()

        async with condition, anyio.create_task_group() as group:
            group.start_soon(other)

    loop.run(main)


def test_who_is_cancelled_holds_the_mutex_again_and_leaves_its_notification_to_the_next(loop: EventLoop) -> None:
    async def main() -> None:
        condition = Condition()
        log: list[object] = []
        scope = anyio.CancelScope()

        async def cancelled() -> None:
            with scope:
                async with condition.aio:
                    try:
                        await condition.aio.wait()
                    finally:
                        log.append(("ended", condition.statistics().held))
                log.append("went on")

        async with anyio.create_task_group() as group:
            group.start_soon(cancelled)
            await until_waiting(1)
            group.start_soon(wait_under, condition, log, "next")
            await until_waiting(2)
            async with condition.aio:
                assert condition.notify() == 1
                scope.cancel()
                for _ in range(5):
                    await checkpoint()
                assert log == []
        assert sorted(log, key=str) == [("ended", True), "next"]
        assert condition.statistics().n_waiting == 0

    loop.run(main)


def test_a_block_that_is_cancelled_ends_its_waits_and_loses_no_notification(loop: EventLoop) -> None:
    async def main() -> None:
        condition = aio.Condition()
        log: list[object] = []

        async def waits() -> object:
            async with condition:
                return await aio.cancellable(condition.wait())

        async with aio.finish() as block:
            calls = [block.start(waits) for _ in range(3)]
            await until_waiting(3)
            block.cancel()
        assert [call.result() for call in calls] == [aio.CANCELLED] * 3
        assert not condition.statistics().held
        async with anyio.create_task_group() as group:
            group.start_soon(wait_under, condition.sync, log, "next")
            await until_waiting(1)
            assert condition.notify(9) == 1
        assert log == ["next"]

    loop.run(main)


@pytest.mark.parametrize("turns", range(5))
@pytest.mark.parametrize("first", ["notify", "cancel"])
def test_notified_or_cancelled_and_then_another_is_notified(loop: EventLoop, first: str, turns: int) -> None:
    async def main() -> None:
        condition = Condition()
        log: list[object] = []

        async def waits() -> object:
            async with condition.aio:
                return await aio.cancellable(condition.aio.wait())

        async with anyio.create_task_group() as group:
            async with aio.finish() as block:
                call = block.start(waits)
                await until_waiting(1)
                group.start_soon(wait_under, condition, log, "next")
                await until_waiting(2)
                steps: list[Callable[[], object]] = [condition.notify, block.cancel]
                if first == "cancel":
                    steps.reverse()
                steps[0]()
                for _ in range(turns):
                    await aio.cancellable(checkpoint())
                steps[1]()
            if call.result() is aio.CANCELLED:
                await until(lambda: log == ["next"])
            else:
                assert call.result() is True
                for _ in range(5):
                    await checkpoint()
                assert log == []
                assert condition.notify() == 1
        assert log == ["next"]

    loop.run(main)


def test_a_process_that_dies_with_the_turn_leaves_it_to_the_next(
    loop: EventLoop, processes: Processes, threads: Threads
) -> None:
    condition, ready, never = Condition(), processes.flag(), processes.flag()

    def other() -> None:
        async def wait() -> None:
            nobody_reads: list[object] = []
            async with anyio.create_task_group() as group:
                group.start_soon(wait_under, condition, nobody_reads, "other")
                await until_waiting(1)
                ready.raise_()
                never.wait()

        loop.run(wait)

    first = processes.start(other)
    ready.wait()
    log: list[object] = []
    sleeper = threads.start(wait_as_thread, condition, lambda: log.append("thread"))
    until_blocking(lambda: condition.statistics().n_waiting == 2)
    sleeper.until_asleep()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(wait_under, condition, log, "task")
            await until_waiting(1)
            assert condition.notify(2) == 2
            for _ in range(3):
                await checkpoint()
            assert log == []
            first.kill()
            await until(lambda: len(log) == 2)
            assert log == ["thread", "task"]

    loop.run(main)
    assert sleeper.result() is None
    Space.default().sweep()


def test_the_death_of_an_owner_is_told_to_tasks_that_wait(loop: EventLoop, processes: Processes) -> None:
    condition, go, held, never = Condition(), processes.flag(), processes.flag(), processes.flag()

    def partner() -> None:
        go.wait()
        condition.acquire()
        held.raise_()
        never.wait()

    actor = processes.start(partner)

    async def main() -> None:
        told: list[int] = []

        async def task() -> None:
            try:
                async with condition.aio:
                    await condition.aio.wait()
            except OwnerDiedError as error:
                told.append(error.pid)

        async with anyio.create_task_group() as group:
            group.start_soon(task)
            group.start_soon(task)
            await until_waiting(2)
            go.raise_()
            await until(lambda: condition.statistics().held)
            actor.kill()
        assert told == [actor.pid] * 2
        async with condition.aio.recovering() as died:
            assert died is not None
        assert waiting() == 0

    loop.run(main)
    Space.default().sweep()


BLOCKS = ("the condition itself", "holding", "recovering")


def block_of(condition: aio.Condition, kind: str) -> AbstractAsyncContextManager[object]:
    return condition if kind == BLOCKS[0] else getattr(condition, kind)()


@pytest.mark.parametrize("kind", BLOCKS)
def test_after_a_wait_in_a_block_the_mutex_is_anybody_s(loop: EventLoop, kind: str) -> None:
    async def main() -> None:
        condition, inside = aio.Condition(), list[int]()

        async def task(number: int) -> None:
            async with block_of(condition, kind):
                inside.append(number)
                await condition.wait()
            async with block_of(condition, kind):
                inside.append(number)

        async with anyio.create_task_group() as group:
            group.start_soon(task, 1)
            group.start_soon(task, 2)
            await until_waiting(2)
            async with condition:
                condition.notify_all()
        assert sorted(inside) == [1, 1, 2, 2]
        assert condition.owner is None

    loop.run(main)


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_block_whose_wait_a_death_ended_leaves_the_mutex_to_who_holds_it(
    loop: EventLoop, processes: Processes, kind: str
) -> None:
    condition, go, never = Condition(), processes.flag(), processes.flag()

    def partner() -> None:
        go.wait()
        condition.acquire()
        never.wait()

    actor = processes.start(partner)

    async def main() -> None:
        told, repaired = anyio.Event(), anyio.Event()

        async def task() -> None:
            async with block_of(condition.aio, kind):
                try:
                    await condition.aio.wait()
                except OwnerDiedError:
                    told.set()
                    await repaired.wait()
                    raise

        async def told_task() -> None:
            with pytest.raises(OwnerDiedError):
                await task()

        async with anyio.create_task_group() as group:
            group.start_soon(told_task)
            await until_waiting(1)
            go.raise_()
            await until(lambda: condition.statistics().held)
            actor.kill()
            await told.wait()
            async with condition.aio.recovering() as died:
                assert died is not None
                repaired.set()
                await checkpoint()
                await checkpoint()
                assert condition.owner is not None
        async with condition.aio:
            pass
        assert condition.owner is None

    loop.run(main)
    Space.default().sweep()


@pytest.mark.parametrize("kind", ["the mutex itself", "holding", "recovering"])
def test_a_generator_that_another_task_closes_does_not_hide_that_the_mutex_stays_held(kind: str) -> None:
    async def main() -> None:
        mutex, told = Mutex(), list[object]()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context.get("exception")))

        async def rows() -> AsyncGenerator[int]:
            async with mutex.aio if kind == "the mutex itself" else getattr(mutex.aio, kind)():
                yield 1
                yield 2

        async for _ in rows():
            break
        await until(lambda: bool(told))
        (error,) = told
        assert isinstance(error, MisuseError)
        assert "another task of this loop holds it" in str(error)
        assert mutex.owner is not None

    asyncio.run(main())


def test_a_handle_that_is_closed_ends_the_wait(loop: EventLoop) -> None:
    async def main() -> None:
        mutex = Mutex()
        condition = aio.Condition(mutex)

        async def task() -> None:
            async with mutex.aio:
                with pytest.raises(ClosedError):
                    await condition.wait()
                assert mutex.statistics().state == "held"

        async with anyio.create_task_group() as group:
            group.start_soon(task)
            await until_waiting(1)
            condition.close()
        assert mutex.statistics().state == "free"

    loop.run(main)


def test_more_tasks_than_a_row_has_places_for_are_all_notified(loop: EventLoop) -> None:
    async def main() -> None:
        condition = Condition()
        log: list[object] = []
        async with anyio.create_task_group() as group:
            for number in range(70):
                group.start_soon(wait_under, condition, log, number)
            await until_waiting(70)
            assert condition.notify_all() == 70
        assert len(log) == 70

    loop.run(main)
