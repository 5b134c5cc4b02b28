"""Tasks that select a mutex, or the block of one, beside other things: exactly one has it, and nobody is forgotten."""

# pyright: reportPossiblyUnboundVariable=false
# What is assigned in a block that raises nothing is there after it.

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.conformance.backends import Actor, Processes, Threads
from tests.conformance.loops import EventLoop, until, until_waiting
from underpass import MisuseError, Mutex, OwnerDiedError, Semaphore, aio
from underpass.aio import running

World = Threads | Processes

KINDS: dict[str, Callable[[], Mutex]] = {
    "barging": Mutex,
    "arrival": lambda: Mutex(fairness="arrival"),
    "priority": lambda: Mutex(fairness="priority"),
    "lending": lambda: Mutex(inherit_priority=True),
    "recursive": lambda: Mutex(recursive=True),
}
OF_EACH_KIND = pytest.mark.parametrize("kind", KINDS)


def holder(world: World, mutex: Mutex) -> tuple[Any, Any, Actor[bool]]:
    """One that takes it when it is told to, started before the loop, and gives it back when it is told to."""
    go, back = world.flag(), world.flag()

    def hold() -> bool:
        go.wait()
        with mutex:
            back.wait()
        return True

    return go, back, world.start(hold)


async def into(results: list[Any], verb: Callable[[], Awaitable[object]]) -> None:
    results.append(await verb())


def nobody_looks_on() -> bool:
    """No task of this loop has a mutex, waits for one, or looks on at one."""
    return not running.reactor().seats


@OF_EACH_KIND
def test_a_free_mutex_is_selected_at_once_and_is_the_task_s(loop: EventLoop, kind: str) -> None:
    async def main() -> None:
        mutex, stop = KINDS[kind]().aio, aio.Event()
        assert await aio.select(stop.wait, mutex.acquire) == (1, True)
        assert mutex.owner is not None

        async def another() -> None:
            with pytest.raises(MisuseError, match="another task"):
                mutex.release()
            with anyio.move_on_after(0):
                await mutex.acquire()
                raise AssertionError("it has two owners")

        async with anyio.create_task_group() as group:
            group.start_soon(another)
        mutex.release()
        assert mutex.owner is None
        assert nobody_looks_on()

    loop.run(main)


@OF_EACH_KIND
def test_what_another_task_of_the_loop_has_is_selected_once_it_is_given_back(loop: EventLoop, kind: str) -> None:
    async def main() -> None:
        mutex, stop, done = KINDS[kind]().aio, aio.Event(), list[Any]()
        await mutex.acquire()
        async with anyio.create_task_group() as group:

            async def select() -> None:
                done.append(await aio.select(stop.wait, mutex.acquire))
                mutex.release()

            for _ in range(3):
                group.start_soon(select)
            await until_waiting(3)
            for _ in range(3):
                await checkpoint()
            assert not done
            mutex.release()
        assert done == [(1, True)] * 3
        assert mutex.owner is None
        assert nobody_looks_on()

    loop.run(main)


@OF_EACH_KIND
def test_what_another_process_has_is_selected_once_it_is_given_back(loop: EventLoop, world: World, kind: str) -> None:
    mutex, stop = KINDS[kind](), aio.Event()
    go, back, owner = holder(world, mutex)

    async def main() -> None:
        done: list[Any] = []
        go.raise_()
        await until(lambda: mutex.owner is not None)
        async with anyio.create_task_group() as group:
            group.start_soon(into, done, lambda: aio.select(mutex.aio.acquire, stop.wait))
            await until_waiting(1)
            back.raise_()
        assert done == [(0, True)]
        assert mutex.owner is not None

    loop.run(main)
    assert owner.result()


def test_another_process_takes_it_between_two_tasks_of_the_loop(loop: EventLoop, world: World) -> None:
    mutex, stop = Mutex(fairness="arrival"), aio.Event()
    go, back, owner = holder(world, mutex)

    async def main() -> None:
        done: list[Any] = []
        await mutex.aio.acquire()
        async with anyio.create_task_group() as group:
            group.start_soon(into, done, lambda: aio.select(mutex.aio.acquire, stop.wait))
            await until_waiting(1)
            go.raise_()
            await until(lambda: owner.asleep)
            # Handed to who waits for it alone: it is in reach now, and taken.
            mutex.aio.release()
            await until(lambda: (mutex.owner is not None and mutex.owner.pid is not None and not owner.asleep) or done)
            for _ in range(3):
                await checkpoint()
            assert not done
            back.raise_()
        assert done == [(0, True)]

    loop.run(main)
    assert owner.result()


@OF_EACH_KIND
def test_exactly_one_of_two_mutexes_and_a_queue_takes_effect(loop: EventLoop, kind: str) -> None:
    async def main() -> None:
        left, right, jobs = KINDS[kind]().aio, KINDS[kind]().aio, aio.Queue(64)
        taken = [0, 0, 0]

        async def work() -> None:
            for _ in range(20):
                place, _ = await aio.select(left.acquire, right.acquire, jobs.get)
                taken[place] += 1
                if place < 2:
                    await checkpoint()
                    (left, right)[place].release()

        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(work)
            for _ in range(10):
                await jobs.put(b"job")
                await checkpoint()
        assert sum(taken) == 80
        assert min(taken) > 0, "each has its turn"
        assert taken[2] + jobs.depth == 10
        assert (left.owner, right.owner) == (None, None)
        assert nobody_looks_on()

    loop.run(main)


@OF_EACH_KIND
def test_a_task_that_is_cancelled_as_it_is_told_leaves_it_to_the_others(loop: EventLoop, kind: str) -> None:
    async def main() -> None:
        mutex, stop, done = KINDS[kind]().aio, aio.Event(), list[Any]()

        async def select(name: str) -> None:
            place, _ = await aio.select(mutex.acquire, stop.wait)
            done.append((name, place))
            mutex.release()

        await mutex.acquire()
        async with anyio.create_task_group() as group, anyio.create_task_group() as cancelled:
            for _ in range(2):
                cancelled.start_soon(select, "cancelled")
            await until_waiting(2)
            group.start_soon(select, "other")
            await until_waiting(3)
            # They are told, and cancelled before they go on: those whom the loop lets go on all the same have it.
            mutex.release()
            cancelled.cancel_scope.cancel()
        assert ("other", 0) in done
        assert mutex.owner is None
        assert nobody_looks_on()

    loop.run(main)


def test_a_task_that_is_cancelled_has_taken_nothing(loop: EventLoop) -> None:
    async def main() -> None:
        mutex, stop = aio.Mutex(), aio.Event()
        await mutex.acquire()
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(aio.select, mutex.acquire, stop.wait)
            await until_waiting(2)
            group.cancel_scope.cancel()
        mutex.release()
        assert mutex.owner is None
        assert nobody_looks_on()

    loop.run(main)


def test_who_waits_for_the_mutex_alone_goes_first(loop: EventLoop) -> None:
    async def main() -> None:
        mutex, stop, went = aio.Mutex(), aio.Event(), list[str]()

        async def alone() -> None:
            async with mutex:
                went.append("alone")

        async def select() -> None:
            await aio.select(mutex.acquire, stop.wait)
            went.append("select")
            mutex.release()

        await mutex.acquire()
        async with anyio.create_task_group() as group:
            group.start_soon(select)
            await until_waiting(1)
            group.start_soon(alone)
            await until_waiting(2)
            mutex.release()
        assert went == ["alone", "select"]

    loop.run(main)


def test_a_task_nests_in_a_recursive_one_and_is_refused_by_another(loop: EventLoop) -> None:
    async def main() -> None:
        recursive, plain, stop = aio.Mutex(recursive=True), aio.Mutex(), aio.Event()
        await recursive.acquire()
        assert await aio.select(stop.wait, recursive.acquire) == (1, True)
        recursive.release()
        assert recursive.owner is not None
        recursive.release()
        assert recursive.owner is None
        await plain.acquire()
        with pytest.raises(MisuseError, match="holds it already"):
            await aio.select(stop.wait, plain.acquire)
        plain.release()

    loop.run(main)


@OF_EACH_KIND
def test_a_block_is_returned_held(loop: EventLoop, kind: str) -> None:
    async def main() -> None:
        mutex, stop = KINDS[kind]().aio, aio.Event()
        place, block = await aio.select(stop.wait, mutex.holding)
        assert (place, mutex.owner is not None) == (1, True)
        async with block as held:
            assert held is None
        assert mutex.owner is None
        with pytest.raises(KeyError):
            async with (await aio.select(mutex.holding, stop.wait))[1]:
                raise KeyError
        assert mutex.owner is None
        assert nobody_looks_on()

    loop.run(main)


def test_the_block_of_a_semaphore_is_returned_held(loop: EventLoop) -> None:
    async def main() -> None:
        units, stop = Semaphore(1).aio, aio.Event()
        _, block = await aio.select(units.holding, stop.wait)
        assert units.value == 0
        async with block:
            pass
        assert units.value == 1

    loop.run(main)


@pytest.mark.parametrize("fairness", ["barging", "arrival"])
def test_a_death_is_told_and_repaired(loop: EventLoop, processes: Processes, fairness: Any) -> None:
    mutex, stop = Mutex(fairness=fairness), aio.Event()
    go, _, owner = holder(processes, mutex)

    async def main() -> None:
        ends: list[Any] = []

        async def told() -> None:
            try:
                await aio.select(mutex.aio.acquire, stop.wait)
            except OwnerDiedError as died:
                ends.append(died.pid)

        go.raise_()
        await until(lambda: mutex.owner is not None)
        async with anyio.create_task_group() as group:
            group.start_soon(told)
            await until_waiting(1)
            owner.kill()
        assert ends == [owner.pid]
        place, block = await aio.select(stop.wait, mutex.aio.recovering)
        assert place == 1
        async with block as died:
            assert died.pid == owner.pid
        assert await aio.select(stop.wait, mutex.aio.acquire) == (1, True)

    loop.run(main)


def test_what_another_task_has_is_not_ready(loop: EventLoop) -> None:
    async def main() -> None:
        mutex, stop, ready = aio.Mutex(), aio.Event(), list[Any]()
        await mutex.acquire()
        async with anyio.create_task_group() as group:
            group.start_soon(into, ready, lambda: aio.wait_any(mutex, stop))
            group.start_soon(into, ready, lambda: aio.wait_all(mutex))
            await until_waiting(2)
            mutex.release()
        assert sorted(ready, key=str) == [None, [mutex]] or sorted(ready, key=str) == [[mutex], None]
        await mutex.acquire()
        stop.set()
        assert await aio.wait_any(mutex, stop) == [mutex, stop], "it is the task's own"

    loop.run(main)


def test_a_lock_of_readers_and_a_condition_are_refused() -> None:
    async def main() -> None:
        for verb in (aio.RWLock().reading, aio.Condition().wait, partial(aio.Mutex().acquire, 1)):
            with pytest.raises(TypeError, match="select"):
                await aio.select(verb)  # type: ignore[arg-type]

    EventLoop("asyncio").run(main)
