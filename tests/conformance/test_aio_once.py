"""The awaitable once: one task of one process runs it, and if that one fails, is cancelled or dies, another does."""

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.conformance.backends import Processes, Threads
from tests.conformance.loops import EventLoop, until, until_waiting
from underpass import AtomicInt, ClosedError, MisuseError, Once, Space, WaitSet, aio, wait_any

World = Threads | Processes


def test_one_of_many_tasks_runs_it_and_the_others_wait_until_it_has(loop: EventLoop) -> None:
    async def main() -> None:
        once = aio.Once()
        log: list[object] = []

        async def prepare() -> None:
            log.append("begun")
            await until_waiting(2)
            log.append("ended")

        async def task() -> None:
            log.append(await once.call(prepare))

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(task)
        assert log[:2] == ["begun", "ended"]
        assert sorted(map(str, log[2:])) == ["False", "False", "True"]
        assert once.done
        assert await once.call(prepare) is False

    loop.run(main)


def test_it_runs_plain_functions_too(loop: EventLoop) -> None:
    async def main() -> list[int]:
        once = Once().aio
        ran: list[int] = []
        assert await once.call(lambda: ran.append(1)) is True
        assert await once.call(lambda: ran.append(2)) is False
        return ran

    assert loop.run(main) == [1]


async def fail() -> None:
    await checkpoint()
    raise ZeroDivisionError


def test_an_exception_leaves_it_to_the_next(loop: EventLoop) -> None:
    async def main() -> None:
        once = aio.Once()
        ends: list[object] = []

        async def task() -> None:
            try:
                ends.append(await once.call(fail))
            except ZeroDivisionError:
                ends.append("failed")

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(task)
        assert ends == ["failed"] * 3
        assert not once.done
        async with once.running() as turn:
            assert turn is not None
            assert turn.died is None
        async with once.running() as turn:
            assert turn is None

    loop.run(main)


def test_a_runner_that_is_cancelled_leaves_it_to_the_next(loop: EventLoop) -> None:
    async def main() -> None:
        once = aio.Once()
        async with aio.finish() as block:
            call = block.start(once.call, anyio.sleep_forever)
            next_one = block.start(once.call, checkpoint)
            await until_waiting(1)
            async with aio.finish() as inner:
                waits = inner.start(aio.cancellable, once.call(checkpoint))
                await until_waiting(2)
                inner.cancel()
            assert waits.result() is aio.CANCELLED
            block.cancel()
        assert (call.state, next_one.state) == ("cancelled", "cancelled")
        assert not once.done
        async with anyio.create_task_group() as group:

            async def runs() -> None:
                with anyio.CancelScope() as scope:
                    await once.call(lambda: until_cancelled(scope))
                assert scope.cancelled_caught

            group.start_soon(runs)
            await until(lambda: once.statistics().state == "running")
            assert await once.call(checkpoint) is True

    loop.run(main)


async def until_cancelled(scope: anyio.CancelScope) -> None:
    """Be cancelled once another waits."""
    await until_waiting(1)
    scope.cancel()
    await anyio.sleep_forever()


def test_who_runs_it_may_not_call_it(loop: EventLoop) -> None:
    async def main() -> None:
        once = aio.Once()

        async def again() -> None:
            with pytest.raises(MisuseError):
                await once.call(checkpoint)

        assert await once.call(again) is True

    loop.run(main)


def test_a_task_waits_for_another_thread_or_process_that_runs_it(loop: EventLoop, world: World) -> None:
    once, begun, go = Once(), world.flag(), world.flag()

    def run() -> None:
        begun.raise_()
        go.wait()

    actor = world.start(once.call, run)
    begun.wait()

    async def main() -> None:
        ran: list[bool] = []

        async def task() -> None:
            ran.append(await once.aio.call(fail))

        async with anyio.create_task_group() as group:
            group.start_soon(task)
            group.start_soon(task)
            await until_waiting(2)
            go.raise_()
        assert ran == [False, False]

    loop.run(main)
    assert actor.result() is True


@pytest.mark.parametrize("runner", ["thread", "task"])
def test_if_the_runner_dies_a_task_runs_it_at_once_and_knows(
    loop: EventLoop, runner: str, processes: Processes
) -> None:
    once, begun, never = Once(), processes.flag(), processes.flag()

    def run() -> None:
        begun.raise_()
        never.wait()

    async def run_in_a_task() -> None:
        await once.aio.call(run)

    actor = processes.start(once.call, run) if runner == "thread" else processes.start(loop.run, run_in_a_task)
    begun.wait()
    runs = AtomicInt()

    async def main() -> list[object]:
        died: list[object] = []

        async def task() -> None:
            async with once.aio.running() as turn:
                died.append(turn and turn.died and turn.died.pid)
                runs.add(turn is not None)

        async with anyio.create_task_group() as group:
            group.start_soon(task)
            group.start_soon(task)
            await until_waiting(2)
            actor.kill()
        return died

    assert loop.run(main) == [actor.pid, None]
    assert runs.load() == 1
    assert once.done
    Space.default().sweep()


def test_a_thread_runs_it_when_the_process_of_a_task_dies(processes: Processes) -> None:
    once, begun, never = Once(), processes.flag(), processes.flag()

    def run() -> None:
        begun.raise_()
        never.wait()

    async def run_in_a_task() -> None:
        await once.aio.call(run)

    actor = processes.start(EventLoop("asyncio").run, run_in_a_task)
    begun.wait()
    threads = Threads()
    next_one = threads.start(once.call, int)
    next_one.until_asleep()
    actor.kill()
    assert next_one.result() is True
    Space.default().sweep()


def test_a_handle_that_is_closed_ends_the_wait(loop: EventLoop, threads: Threads) -> None:
    once, begun, go = Once(), threads.flag(), threads.flag()

    def run() -> None:
        begun.raise_()
        go.wait()

    actor = threads.start(once.call, run)
    begun.wait()

    async def main() -> None:
        async def task() -> None:
            with pytest.raises(ClosedError):
                await once.aio.call(checkpoint)

        async with anyio.create_task_group() as group:
            group.start_soon(task)
            await until_waiting(1)
            once.aio.close()

    loop.run(main)
    go.raise_()
    assert actor.result() is True


def test_it_is_ready_for_wait_sets_when_it_is_done_or_nobody_runs_it(world: World) -> None:
    once, begun, go = Once(), world.flag(), world.flag()

    def run() -> None:
        begun.raise_()
        go.wait()

    with WaitSet() as members:
        members.add(once)
        assert members.ready() == [once]
        actor = world.start(once.call, run)
        begun.wait()
        assert members.ready() == []
        go.raise_()
        assert members.wait(timeout=30) == [once]
        assert actor.result() is True
        assert wait_any(once, timeout=0) == [once]
