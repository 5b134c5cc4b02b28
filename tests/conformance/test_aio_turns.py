"""Tasks that are handed units of a semaphore in their turn, beside threads and processes: their order, cancellations, deaths and resets."""

# pyright: reportPossiblyUnboundVariable=false
# What is assigned in a block that raises nothing is there after it.

import os
import signal
from collections.abc import Callable
from contextlib import suppress

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.conformance.backends import Processes, Threads
from tests.conformance.backends import until as until_so
from tests.conformance.loops import EventLoop, ended, later, until, until_waiting, waiting
from underpass import AtomicInt, ClosedError, MisuseError, ResetError, Semaphore, Space, TimedOut, WouldBlock, aio
from underpass.sync import priority

World = Threads | Processes

FAIR: dict[str, Callable[[], Semaphore]] = {
    "arrival": lambda: Semaphore(0, fairness="arrival"),
    "priority": lambda: Semaphore(0, fairness="priority"),
    "leased": lambda: taken(Semaphore(1, fairness="arrival", leased=True)),
}
HANDED_OVER = pytest.mark.parametrize("kind", FAIR)


def taken(units: Semaphore) -> Semaphore:
    """One whose only unit this process holds."""
    units.acquire_nowait()
    return units


# ── order ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_tasks_threads_and_processes_are_served_in_the_order_in_which_they_came(loop: EventLoop, world: World) -> None:
    units = Semaphore(0, fairness="arrival")
    others = [later(world, units.acquire) for _ in range(3)]

    async def main() -> None:
        went: list[str] = []

        def served() -> list[str]:
            return went + [f"other {turn}" for turn, (_, actor) in enumerate(others) if actor.ended]

        async with anyio.create_task_group() as group:
            for turn, (go, actor) in enumerate(others):
                group.start_soon(ended, units.aio.acquire, went, f"task {turn}")
                await until_waiting(turn + 1)
                go.raise_()
                await until(lambda actor=actor: actor.asleep)
            order: list[str] = []
            for turn in range(6):
                units.release()
                await until(lambda turn=turn: len(served()) == turn + 1)
                order += [name for name in served() if name not in order]
        assert order == [f"{kind} {turn}" for turn in range(3) for kind in ("task", "other")]
        assert units.value == 0

    loop.run(main)


def test_the_most_urgent_goes_first_and_of_equals_the_longest(loop: EventLoop, threads: Threads) -> None:
    units = Semaphore(0, fairness="priority")

    async def main() -> None:
        went: list[str] = []

        def wait(name: str, urgency: int) -> None:
            with priority(urgency):
                units.acquire()
                went.append(name)

        async with anyio.create_task_group() as group:
            group.start_soon(ended, units.aio.acquire, went, "task")
            await until_waiting(1)
            for name, urgency in (("idle", -1), ("equal", 0), ("urgent", 1)):
                actor = threads.start(wait, name, urgency)
                await until(lambda actor=actor: actor.asleep)
            for turn in range(4):
                units.release()
                await until(lambda turn=turn: len(went) == turn + 1)
        assert went == ["urgent", "task", "equal", "idle"]

    loop.run(main)


@HANDED_OVER
def test_nobody_overtakes_a_task_that_waits(loop: EventLoop, kind: str) -> None:
    units = FAIR[kind]()

    async def main() -> None:
        went: list[str] = []
        async with anyio.create_task_group() as group:
            for turn in range(4):
                group.start_soon(ended, units.aio.acquire, went, turn)
                await until_waiting(turn + 1)
            for turn in range(4):
                units.release()
                # It is a waiter's already.
                with pytest.raises(WouldBlock):
                    units.acquire_nowait()
                with pytest.raises(WouldBlock):
                    units.aio.acquire_nowait()
                assert units.value == 0
                await until(lambda turn=turn: len(went) == turn + 1)
        assert went == [*range(4)]

    loop.run(main)


def test_one_release_serves_several_tasks_and_keeps_the_rest(loop: EventLoop) -> None:
    async def main() -> None:
        units = aio.Semaphore(0, fairness="arrival")
        went: list[object] = []
        async with anyio.create_task_group() as group:
            for turn in range(3):
                group.start_soon(ended, units.acquire, went, turn)
                await until_waiting(turn + 1)
            units.release(5)
        assert sorted(went, key=str) == [0, 1, 2]
        assert units.value == 2

    loop.run(main)


def test_what_need_not_wait_is_taken_at_once_without_a_turn_of_the_loop(loop: EventLoop) -> None:
    async def main() -> None:
        units = aio.Semaphore(1, fairness="arrival")
        turns: list[int] = []

        async def other() -> None:
            turns.append(1)

        async with anyio.create_task_group() as group:
            group.start_soon(other)
            async with units.holding():
                assert turns == []
                assert units.value == 0
        assert units.value == 1

    loop.run(main)


@HANDED_OVER
def test_tasks_and_threads_that_wait_are_counted(loop: EventLoop, kind: str, threads: Threads) -> None:
    units = FAIR[kind]()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(units.aio.acquire)
            await until_waiting(2)
            sleeper = threads.start(units.acquire)
            await until(lambda: sleeper.asleep)
            assert units.statistics().waiters == 3
            assert "waiters 3" in repr(units)
            units.release()
            await until_waiting(1)
            assert units.statistics().waiters == 2
            group.cancel_scope.cancel()
        assert units.statistics().waiters == 1
        if kind == "leased":
            units.release()
        else:
            units.release(2)
        await until(lambda: sleeper.ended)
        assert units.statistics().waiters == 0
        assert "waiters" not in repr(units)

    loop.run(main)


# ── resets, closing ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@HANDED_OVER
def test_a_reset_ends_the_waits_of_tasks(loop: EventLoop, world: World, kind: str) -> None:
    units, go = FAIR[kind](), world.flag()

    def partner() -> None:
        go.wait()
        units.reset()

    actor = world.start(partner)

    async def main() -> None:
        ends: list[object] = []
        async with anyio.create_task_group() as group:
            for turn in range(2):
                group.start_soon(ended, units.aio.acquire, ends, turn)
            await until_waiting(2)
            go.raise_()
        assert ends == [ResetError, ResetError]
        assert units.value == 0

    loop.run(main)
    actor.result()


def test_a_handle_that_is_closed_ends_the_wait_and_the_unit_goes_to_the_next(loop: EventLoop) -> None:
    async def main() -> None:
        name = f"units-{os.getpid()}"
        units = Semaphore.create(name, 0, fairness="arrival")
        other = Semaphore.open(name)
        ends: list[object] = []
        async with anyio.create_task_group() as group:
            group.start_soon(ended, units.aio.acquire, ends, "closed")
            await until_waiting(1)
            group.start_soon(ended, other.aio.acquire, ends, "next")
            await until_waiting(2)
            other.release()
            units.aio.close()
        assert ends == [ClosedError, "next"]
        assert other.value == 0
        other.unlink()

    loop.run(main)


# ── cancellation ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@HANDED_OVER
def test_a_unit_that_was_handed_to_a_task_that_is_cancelled_goes_to_the_next(
    loop: EventLoop, world: World, kind: str
) -> None:
    units = FAIR[kind]()
    go, actor = later(world, units.acquire)

    async def main() -> None:
        went: list[object] = []
        scope = anyio.CancelScope()

        async def cancelled() -> None:
            with scope:
                await ended(units.aio.acquire, went, "cancelled")

        async with anyio.create_task_group() as group:
            group.start_soon(cancelled)
            await until_waiting(1)
            go.raise_()
            await until(lambda: actor.asleep)
            units.release()
            scope.cancel()
        assert went == []
        assert actor.result() is True
        if kind != "leased":
            assert units.value == 0

    loop.run(main)


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("first", ["release", "cancel"])
@HANDED_OVER
def test_a_unit_is_the_tasks_or_is_free_whenever_it_is_cancelled(
    loop: EventLoop, kind: str, first: str, turns: int
) -> None:
    async def main() -> None:
        units = FAIR[kind]()
        async with aio.finish() as block:
            call = block.start(aio.cancellable, units.aio.acquire())
            await until_waiting(1)
            steps: list[Callable[[], object]] = [units.release, block.cancel]
            if first == "cancel":
                steps.reverse()
            steps[0]()
            for _ in range(turns):
                await aio.cancellable(checkpoint())
            steps[1]()
        assert call.result() in (True, aio.CANCELLED)
        assert units.value == (1 if call.result() is aio.CANCELLED else 0)

    loop.run(main)


def test_a_unit_that_nobody_has_come_for_is_the_next_ones_who_asks(loop: EventLoop) -> None:
    async def main() -> None:
        units = Semaphore(0, fairness="arrival")
        for _ in range(3):
            async with aio.finish() as block:
                call = block.start(aio.cancellable, units.aio.acquire())
                await until_waiting(1)
                units.release()
                block.cancel()
            assert call.result() is aio.CANCELLED
            assert units.value == 1
            assert units.acquire_nowait()
            assert units.value == 0

    loop.run(main)


# ── deaths ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────
@HANDED_OVER
@pytest.mark.parametrize("survivor", ["process", "task"])
def test_the_unit_of_a_task_whose_process_is_killed_goes_to_the_next(
    loop: EventLoop, kind: str, survivor: str, processes: Processes
) -> None:
    units, ready, entered = FAIR[kind](), processes.flag(), processes.flag()

    def other() -> None:
        async def wait() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(units.aio.acquire)
                await until_waiting(1)
                ready.raise_()
                # Its loop does not come to look: it is handed a unit and dies.
                entered.wait()

        loop.run(wait)

    first = processes.start(other)
    go, sleeper = later(processes, units.acquire)
    ready.wait()

    async def main() -> None:
        went: list[object] = []
        async with anyio.create_task_group() as group:
            if survivor == "task":
                group.start_soon(ended, units.aio.acquire, went, "task")
                await until_waiting(1)
            else:
                go.raise_()
                await until(lambda: sleeper.asleep)
            units.release()
            for _ in range(3):
                await checkpoint()
            assert waiting() == (survivor == "task")
            first.kill()
            if survivor == "process":
                await until(lambda: sleeper.ended)
                assert sleeper.result() is True
        assert went == (["task"] if survivor == "task" else [])

    loop.run(main)
    if survivor == "task":
        sleeper.abandon()
    Space.default().sweep()


def test_a_task_is_served_when_the_releaser_dies_at_once(loop: EventLoop, processes: Processes) -> None:
    units, go = Semaphore(0, fairness="arrival"), processes.flag()

    def release_and_die() -> None:
        go.wait()
        units.release()
        os.kill(os.getpid(), signal.SIGKILL)

    actor = processes.start(release_and_die)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(units.aio.acquire)
            await until_waiting(1)
            go.raise_()

    loop.run(main)
    actor.die()


def test_a_forked_child_leaves_the_places_of_its_parents_tasks_alone() -> None:
    units = Semaphore(0, fairness="arrival")

    async def main() -> None:
        stay = units._stay()
        with suppress(WouldBlock):
            stay.attempt()
        child = os.fork()
        if not child:
            try:
                stay.give_up()
            finally:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0  # noqa: ASYNC222 - it ends at once
        units.release()
        assert stay.attempt() is True
        stay.give_up()
        assert units.value == 0

    EventLoop("asyncio").run(main)


def test_no_unit_is_lost_or_made_by_tasks_that_come_go_and_are_cancelled(loop: EventLoop, processes: Processes) -> None:
    units, inside, went = Semaphore(2, fairness="arrival"), AtomicInt(), AtomicInt()

    def others() -> None:
        for _ in range(100):
            with units.holding():
                assert inside.add(1) < 2
                inside.sub(1)
            went.add(1)

    actors = [processes.start(others) for _ in range(2)]

    async def main() -> None:
        async def visit(number: int) -> None:
            for turn in range(20):
                with anyio.CancelScope() as scope:
                    if (number + turn) % 3 == 0:
                        scope.deadline = anyio.current_time()
                    async with units.aio.holding():
                        assert inside.add(1) < 2
                        try:
                            await checkpoint()
                        finally:
                            inside.sub(1)

        async with anyio.create_task_group() as group:
            for number in range(10):
                group.start_soon(visit, number)

    loop.run(main)
    for actor in actors:
        actor.result()
    assert went.load() == 200
    assert (units.value, inside.load()) == (2, 0)


# ── blocking verbs beside ───────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.filterwarnings("ignore:.* blocks this thread:RuntimeWarning")
@HANDED_OVER
def test_a_blocking_verb_does_not_wait_behind_its_own_thread_s_tasks(loop: EventLoop, kind: str) -> None:
    units = FAIR[kind]()

    async def main() -> None:
        went: list[str] = []
        async with anyio.create_task_group() as group:
            group.start_soon(ended, units.aio.acquire, went, "task")
            await until_waiting(1)
            with pytest.raises(MisuseError, match=r"await the verb of its \.aio"):
                units.acquire()
            with pytest.raises(MisuseError, match=r"await the verb of its \.aio"):
                units.acquire(timeout=5)
            units.release()
            # Handed to the task, which has not come for it.
            with pytest.raises(MisuseError, match=r"await the verb of its \.aio"):
                units.acquire()
            with pytest.raises(WouldBlock):
                units.acquire_nowait()
        assert (went, units.value, units.statistics().waiters) == (["task"], 0, 0)

    loop.run(main)


@pytest.mark.filterwarnings("ignore:.* blocks this thread:RuntimeWarning")
@HANDED_OVER
def test_a_task_that_was_only_told_of_a_reset_holds_nobody_up(loop: EventLoop, kind: str) -> None:
    units = FAIR[kind]()

    async def main() -> None:
        ends: list[object] = []
        async with anyio.create_task_group() as group:
            group.start_soon(ended, units.aio.acquire, ends, "task")
            await until_waiting(1)
            units.reset()
            # The task has not come for its news.
            with pytest.raises(TimedOut):
                units.acquire(timeout=0.01)
        assert ends == [ResetError]

    loop.run(main)


@pytest.mark.filterwarnings("ignore:.* blocks this thread:RuntimeWarning")
def test_a_blocking_verb_waits_where_it_goes_before_the_tasks_of_its_thread(loop: EventLoop, world: World) -> None:
    units = Semaphore(0, fairness="priority")
    go, giver = later(world, lambda: [until_so(lambda: units.statistics().waiters == 2), units.release()])

    async def main() -> None:
        went: list[str] = []
        async with anyio.create_task_group() as group:
            group.start_soon(ended, units.aio.acquire, went, "task")
            await until_waiting(1)
            go.raise_()
            with priority(1):
                units.acquire()
            assert not went
            units.release()
        assert went == ["task"]

    loop.run(main)
    giver.result()


# ── a task's own priority ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_priority_is_of_the_task_that_chose_it(loop: EventLoop) -> None:
    units = Semaphore(0, fairness="priority")

    async def main() -> None:
        went: list[str] = []

        async def urgent() -> None:
            with priority(2):
                await checkpoint()
                await ended(units.aio.acquire, went, "urgent")
                await ended(units.aio.acquire, went, "urgent again")
            await ended(units.aio.acquire, went, "calm")

        async with anyio.create_task_group() as group:
            group.start_soon(urgent)
            await until_waiting(1)
            # Its block is open in the same thread.
            group.start_soon(ended, units.aio.acquire, went, "other")
            await until_waiting(2)
            for turn in range(4):
                units.release()
                await until(lambda turn=turn: len(went) == turn + 1 and waiting() == min(2, 3 - turn))
        assert went == ["urgent", "urgent again", "other", "calm"]

    loop.run(main)


def test_a_task_that_is_started_in_a_block_waits_with_its_priority(loop: EventLoop, threads: Threads) -> None:
    units = Semaphore(0, fairness="priority")

    async def main() -> None:
        went: list[str] = []
        async with anyio.create_task_group() as group:
            with priority(1):
                group.start_soon(ended, units.aio.acquire, went, "inside")
            await until_waiting(1)
            group.start_soon(ended, units.aio.acquire, went, "outside")
            await until_waiting(2)
            thread = threads.start(lambda: [units.acquire(), went.append("thread")])
            await until(lambda: thread.asleep)
            with priority(3):
                group.start_soon(ended, units.aio.acquire, went, "urgent")
            await until_waiting(3)
            for turn in range(4):
                units.release()
                await until(lambda turn=turn: len(went) == turn + 1)
        assert went == ["urgent", "inside", "outside", "thread"]

    loop.run(main)
