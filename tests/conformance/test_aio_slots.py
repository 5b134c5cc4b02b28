"""Tasks that wait in slots, as threads do, for an atomic integer and at a barrier: in their turn, cancelled, and when somebody dies."""

# pyright: reportPossiblyUnboundVariable=false
# What is assigned in a block that raises nothing is there after it.

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.conformance.backends import Actor, Processes, Threads
from tests.conformance.backends import until as until_blocking
from tests.conformance.loops import EventLoop, ended, until, until_waiting, waiting
from underpass import (
    AtomicInt,
    Barrier,
    BrokenBarrierError,
    ClosedError,
    Event,
    MisuseError,
    Notification,
    ResetError,
    Space,
    TimedOut,
    WouldBlock,
    aio,
)
from underpass.sync import Latch

World = Threads | Processes
SLOTS = 4095


# ── an atomic integer ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_change_lets_go_who_wait_for_it_and_no_others(loop: EventLoop) -> None:
    async def main() -> None:
        number = aio.AtomicInt(5)
        went: list[object] = []
        async with anyio.create_task_group() as group:
            for expected in (5, 5, 6):
                group.start_soon(ended, lambda expected=expected: number.wait(expected), went, expected)
            await until(lambda: len(went) == 1)
            assert waiting() == 2
            assert went == [6]
            assert number.add(1) == 5
        assert went == [6, 5, 5]

    loop.run(main)


def test_wake_lets_tasks_and_threads_go_in_the_order_in_which_they_came(loop: EventLoop, threads: Threads) -> None:
    number = AtomicInt()

    async def main() -> None:
        went: list[object] = []
        actors: list[Actor[None]] = []

        def wait(name: str) -> None:
            number.wait(0)
            went.append(name)

        async with anyio.create_task_group() as group:
            for turn in range(3):
                group.start_soon(ended, lambda: number.aio.wait(0), went, f"task {turn}")
                await until_waiting(turn + 1)
                actors.append(threads.start(wait, f"thread {turn}"))
                await until(lambda: actors[-1].asleep)
            for turn in range(6):
                assert number.wake() == 1
                await until(lambda turn=turn: len(went) == turn + 1)
            assert number.wake() == 0
        assert went == [f"{kind} {turn}" for turn in range(3) for kind in ("task", "thread")]
        assert number.load() == 0

    loop.run(main)


def test_a_task_that_is_cancelled_after_it_was_chosen_leaves_it_to_the_next(loop: EventLoop, world: World) -> None:
    number, go = AtomicInt(), world.flag()

    def partner() -> bool:
        go.wait()
        return number.wait(0)

    actor = world.start(partner)

    async def main() -> None:
        went: list[object] = []
        scope = anyio.CancelScope()

        async def cancelled() -> None:
            with scope:
                await ended(lambda: number.aio.wait(0), went, "cancelled")

        async with anyio.create_task_group() as group:
            group.start_soon(cancelled)
            await until_waiting(1)
            go.raise_()
            await until(lambda: actor.asleep)
            assert number.wake() == 1
            scope.cancel()
        assert went == []
        assert actor.result() is True

    loop.run(main)


def test_a_process_that_dies_with_a_task_that_was_chosen_leaves_it_to_the_next(
    loop: EventLoop, processes: Processes
) -> None:
    number, ready, entered = AtomicInt(), processes.flag(), processes.flag()

    def other() -> None:
        async def wait() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(number.aio.wait, 0)
                await until_waiting(1)
                ready.raise_()
                # Its loop does not come to look: it is chosen and dies.
                entered.wait()

        loop.run(wait)

    first = processes.start(other)
    ready.wait()
    sleeper = processes.start(number.wait, 0)
    sleeper.until_asleep()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(number.aio.wait, 0)
            await until_waiting(1)
            assert number.wake() == 1
            for _ in range(3):
                await checkpoint()
            assert waiting() == 1
            first.kill()
            # Of the one that sleeps and the task the thread has come first.
            await until(lambda: sleeper.ended)
            assert waiting() == 1
            number.add(1)

    loop.run(main)
    assert sleeper.result() is True
    Space.default().sweep()


def test_a_task_goes_on_when_the_changer_dies_before_it_tells(loop: EventLoop, processes: Processes) -> None:
    number, go = AtomicInt(), processes.flag()

    def change_and_die() -> None:
        go.wait()
        number.add(1)
        os.kill(os.getpid(), signal.SIGKILL)

    actor = processes.start(change_and_die)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(number.aio.wait, 0)
            await until_waiting(1)
            go.raise_()

    loop.run(main)
    actor.die()


def test_more_tasks_than_places_wait_all_the_same() -> None:
    async def main() -> None:
        number = aio.AtomicInt()
        went: list[object] = []
        async with anyio.create_task_group() as group:
            for turn in range(SLOTS + 6):
                group.start_soon(ended, lambda: number.wait(0), went, turn)
            await until_waiting(SLOTS + 6)
            assert number.wake(2 * SLOTS) == SLOTS
            await until(lambda: len(went) == SLOTS)
            # Which tasks come first is the loop's to say.
            assert waiting() == 6
            # The others have places once their loop has looked.
            woken: list[int] = []
            await until(lambda: woken.append(number.wake(SLOTS)) or sum(woken) == 6)
        assert sorted(went, key=str) == sorted(range(SLOTS + 6), key=str)

    EventLoop("asyncio").run(main)


def test_places_are_left_by_tasks_that_are_cancelled(loop: EventLoop) -> None:
    async def main() -> None:
        number = aio.AtomicInt()
        for _ in range(SLOTS + 1):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await number.wait(0)
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(number.wait, 0)
            await until_waiting(3)
            assert number.sync.wake(1) == 1
            await until_waiting(2)
            group.cancel_scope.cancel()
        assert number.wake(SLOTS) == 0

    loop.run(main)


@pytest.mark.parametrize("kind", [AtomicInt, Barrier, Event, Notification])
def test_tasks_that_wait_are_counted(loop: EventLoop, kind: Callable[..., Any]) -> None:
    thing = kind(3) if kind is Barrier else kind()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(thing.aio.wait, *([0] if kind is AtomicInt else []))
            await until_waiting(2)
            assert thing.statistics().waiters == 2
            assert "waiters 2" in repr(thing)
            group.cancel_scope.cancel()
        assert thing.statistics().waiters == 0

    loop.run(main)


def test_a_handle_that_is_closed_ends_the_waits_of_tasks(loop: EventLoop) -> None:
    async def main() -> None:
        number, barrier = aio.AtomicInt(), aio.Barrier(2)
        ends: list[object] = []
        async with anyio.create_task_group() as group:
            group.start_soon(ended, lambda: number.wait(0), ends)
            group.start_soon(ended, barrier.wait, ends)
            await until_waiting(2)
            number.close()
            barrier.close()
        assert ends == [ClosedError, ClosedError]

    loop.run(main)


def test_a_forked_child_leaves_the_places_of_its_parents_tasks_alone() -> None:
    number = AtomicInt()
    loop = EventLoop("asyncio")

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(number.aio.wait, 0)
            await until_waiting(1)
            stay = number._stay(0)
            with suppress(WouldBlock):
                stay.attempt()
            child = os.fork()
            if not child:
                try:
                    stay.give_up()
                finally:
                    os._exit(0)
            assert os.waitpid(child, 0)[1] == 0  # noqa: ASYNC222 - it ends at once
            assert number.wake(5) == 2
            stay.give_up()

    loop.run(main)


def test_a_forked_copy_of_a_place_is_not_the_childs_own() -> None:
    world = Processes()
    ready, left, seated = Event(), world.flag(), world.flag()
    copy = ready._stay()
    with pytest.raises(WouldBlock):
        copy.attempt()

    def child() -> bool:
        left.wait()
        # The only place that was taken is free, and the child's by now.
        own = ready._stay()
        with pytest.raises(WouldBlock):
            own.attempt()
        copy.give_up()
        assert copy.leave()
        with pytest.raises(MisuseError, match="forked from"):
            copy.attempt()
        seated.raise_()
        until_blocking(ready.is_set)
        return own.attempt()

    actor = world.start(child)
    copy.give_up()
    left.raise_()
    seated.wait()
    assert ready.statistics().waiters == 1
    ready.set()
    assert actor.result() is True
    world.close()


# ── a barrier ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_tasks_threads_and_processes_meet(loop: EventLoop, world: World) -> None:
    barrier, stay = Barrier(4), Latch(1)

    def partner() -> list[int]:
        indices = [barrier.wait() for _ in range(3)]
        stay.wait()  # a process that ends breaks what others wait in
        return indices

    actors = [world.start(partner) for _ in range(2)]

    async def main() -> list[int]:
        indices: list[Any] = []
        for _ in range(3):
            async with anyio.create_task_group() as group:
                group.start_soon(ended, barrier.aio.wait, indices)
                group.start_soon(ended, barrier.aio.wait, indices)
        stay.count_down()
        return indices

    indices = loop.run(main)
    turns = [actor.result() for actor in actors]
    assert [sorted((*indices[2 * turn : 2 * turn + 2], *(mine[turn] for mine in turns))) for turn in range(3)] == [
        [0, 1, 2, 3]
    ] * 3


@pytest.mark.parametrize("last", ["task", "thread"])
def test_parties_are_numbered_as_they_came(loop: EventLoop, last: str) -> None:
    async def main() -> None:
        barrier = Barrier(3)
        indices: list[object] = []
        async with anyio.create_task_group() as group:
            for number in range(2):
                group.start_soon(ended, barrier.aio.wait, indices)
                await until(lambda number=number: barrier.n_waiting == number + 1)
            index = await barrier.aio.wait() if last == "task" else barrier.wait(timeout=1)
        assert (sorted(indices, key=str), index) == ([0, 1], 2)

    loop.run(main)


@pytest.mark.parametrize(
    ("end", "expected"), [(Barrier.abort, BrokenBarrierError), (Barrier.reset, ResetError)], ids=["abort", "reset"]
)
def test_an_abort_or_a_reset_ends_the_waits_of_tasks(
    loop: EventLoop, world: World, end: Callable[[Barrier], None], expected: type[Exception]
) -> None:
    barrier, go = Barrier(3), world.flag()

    def partner() -> None:
        go.wait()
        end(barrier)

    actor = world.start(partner)

    async def main() -> None:
        ends: list[object] = []
        async with anyio.create_task_group() as group:
            group.start_soon(ended, barrier.aio.wait, ends)
            group.start_soon(ended, barrier.aio.wait, ends)
            await until_waiting(2)
            go.raise_()
        assert ends == [expected, expected]

    loop.run(main)
    actor.result()


def test_a_thread_whose_time_runs_out_breaks_it_for_tasks(loop: EventLoop) -> None:
    async def main() -> None:
        barrier = aio.Barrier(3)
        ends: list[object] = []
        async with anyio.create_task_group() as group:
            group.start_soon(ended, barrier.wait, ends)
            await until_waiting(1)
            with pytest.raises(TimedOut):
                barrier.sync.wait(timeout=0)
        assert ends == [BrokenBarrierError]
        assert barrier.broken

    loop.run(main)


@pytest.mark.parametrize("role", ["waits", "has joined"])
def test_the_death_of_a_party_is_told_to_tasks_and_threads_at_once(
    loop: EventLoop, role: str, processes: Processes
) -> None:
    barrier, ready, never = Barrier(4), processes.flag(), processes.flag()

    def partner() -> None:
        if role == "waits":
            barrier.wait()
        barrier.join()
        ready.raise_()
        never.wait()

    actor = processes.start(partner)
    if role == "waits":
        actor.until_asleep()
    else:
        ready.wait()
    threads = Threads()

    def wait() -> object:
        try:
            return barrier.wait()
        except BrokenBarrierError as error:
            return error.args[0]

    thread = threads.start(wait)
    thread.until_asleep()

    async def main() -> None:
        ends: list[object] = []
        async with anyio.create_task_group() as group:
            group.start_soon(ended, barrier.aio.wait, ends)
            await until_waiting(1)
            actor.kill()
        assert ends == [BrokenBarrierError]

    loop.run(main)
    assert f"pid {actor.pid}" in str(thread.result())


def test_the_death_of_a_process_whose_task_waits_is_told(loop: EventLoop, processes: Processes) -> None:
    barrier = Barrier(3)

    def other() -> None:
        loop.run(barrier.aio.wait)

    actor = processes.start(other)
    until_blocking(lambda: barrier.n_waiting == 1)

    async def main() -> None:
        ends: list[object] = []
        async with anyio.create_task_group() as group:
            group.start_soon(ended, barrier.aio.wait, ends)
            await until_waiting(1)
            actor.kill()
        assert ends == [BrokenBarrierError]

    loop.run(main)
    Space.default().sweep()


def test_a_cancelled_task_has_not_come_and_breaks_nothing(loop: EventLoop) -> None:
    async def main() -> None:
        barrier = aio.Barrier(2)
        for _ in range(3):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await barrier.wait()
            assert barrier.n_waiting == 0
            async with aio.finish() as block:
                call = block.start(aio.cancellable, barrier.wait())
                await until_waiting(1)
                assert barrier.n_waiting == 1
                block.cancel()
            assert call.result() is aio.CANCELLED
            assert barrier.n_waiting == 0
        assert not barrier.broken
        indices: list[object] = []
        async with anyio.create_task_group() as group:
            group.start_soon(ended, barrier.wait, indices)
            await until_waiting(1)
            assert await barrier.wait() == 1
        assert indices == [0]

    loop.run(main)


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("first", ["passed", "cancel"])
def test_a_task_has_passed_or_was_cancelled(loop: EventLoop, first: str, turns: int) -> None:
    async def main() -> None:
        barrier = Barrier(2)
        after: list[str] = []

        async def party() -> object:
            passed = await aio.cancellable(barrier.aio.wait())
            # Whatever it waits for next is cancelled.
            if await aio.cancellable(anyio.sleep_forever()) is aio.CANCELLED:
                after.append("cancelled")
            return passed

        async with aio.finish() as block:
            call = block.start(party)
            await until_waiting(1)
            steps: list[Callable[[], object]] = [lambda: barrier_passes(barrier), block.cancel]
            if first == "cancel":
                steps.reverse()
            result = steps[0]()
            for _ in range(turns):
                await aio.cancellable(checkpoint())
            result = result if first == "passed" else steps[1]()
            if first == "passed":
                steps[1]()
        assert call.result() == (0 if result else aio.CANCELLED)
        assert after == ["cancelled"]

    loop.run(main)


def barrier_passes(barrier: Barrier) -> bool:
    """Come as the last one; whether it was."""
    try:
        return barrier.wait(timeout=0) == 1
    except TimedOut:
        return False


@pytest.mark.parametrize("turns", range(3))
def test_who_passed_as_the_loop_cancelled_it_hears_of_that_at_its_next_wait(loop: EventLoop, turns: int) -> None:
    async def main() -> None:
        barrier = Barrier(2)
        log: list[object] = []

        async def party(scope: anyio.CancelScope) -> None:
            with scope:
                log.append(await barrier.aio.wait())
                await anyio.sleep_forever()
            log.append(scope.cancelled_caught)

        async with anyio.create_task_group() as group:
            scope = anyio.CancelScope()
            group.start_soon(party, scope)
            await until_waiting(1)
            passed = barrier_passes(barrier)
            for _ in range(turns):
                await checkpoint()
            scope.cancel()
        assert passed
        assert log == [0, True]

    loop.run(main)


def test_a_hundred_tasks_are_the_parties_of_a_barrier_again_and_again(loop: EventLoop) -> None:
    async def main() -> None:
        count, barrier = 100, aio.Barrier(100)
        rounds: list[list[int]] = [[], [], []]

        async def party() -> None:
            for indices in rounds:
                indices.append(await barrier.wait())

        async with anyio.create_task_group() as group:
            for _ in range(count):
                group.start_soon(party)
        assert [sorted(indices) for indices in rounds] == [list(range(count))] * 3

    loop.run(main)
