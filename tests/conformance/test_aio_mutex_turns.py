"""Tasks that are handed a mutex in their turn, beside threads and processes: their order, cancellations, deaths and recoveries."""

# pyright: reportPossiblyUnboundVariable=false
# What is assigned in a block that raises nothing is there after it.

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.conformance.backends import Actor, Processes, Threads
from tests.conformance.backends import until as until_so
from tests.conformance.loops import EventLoop, until, until_waiting, waiting
from underpass import Condition, MisuseError, Mutex, OwnerDiedError, Space, TimedOut, WouldBlock, aio
from underpass.aio import running
from underpass.aio.seat import Seat
from underpass.sync import priority

World = Threads | Processes

FAIRNESS = pytest.mark.parametrize("fairness", ["arrival", "priority"])


def holder(world: World, mutex: Mutex) -> tuple[Any, Any, Actor[bool]]:
    """One that takes it when it is told to, started before the loop, and gives it back when it is told to."""
    go, back = world.flag(), world.flag()

    def hold() -> bool:
        go.wait()
        with mutex:
            back.wait()
        return True

    return go, back, world.start(hold)


async def hold(mutex: Mutex, went: list[object], name: object) -> None:
    """Take it, say so, and give it back at another turn of the loop."""
    async with mutex.aio:
        went.append(name)
        await checkpoint()


# ── order ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────
@FAIRNESS
def test_tasks_threads_and_processes_have_it_in_the_order_in_which_they_came(
    loop: EventLoop, world: World, fairness: Any
) -> None:
    mutex = Mutex(fairness=fairness)
    others = [holder(world, mutex) for _ in range(2)]

    async def main() -> None:
        went: list[object] = []
        first = Threads()
        taken, back, owner = holder(first, mutex)
        taken.raise_()
        await until(lambda: mutex.owner is not None)
        async with anyio.create_task_group() as group:
            for turn, (go, _, actor) in enumerate(others):
                group.start_soon(hold, mutex, went, turn)
                await until_waiting(turn + 1)
                go.raise_()
                await until(lambda actor=actor: actor.asleep)
            back.raise_()
            for turn, (_, over, actor) in enumerate(others):
                await until(lambda turn=turn: len(went) == turn + 1, "a task's turn")
                # The next task waits for the one behind this.
                for _ in range(5):
                    await checkpoint()
                assert went == [*range(turn + 1)]
                assert waiting() == len(others) - turn - 1
                over.raise_()
                await until(lambda actor=actor: actor.ended)
        assert went == [0, 1]
        assert owner.result() is True
        assert mutex.owner is None
        first.close()

    loop.run(main)


@FAIRNESS
def test_tasks_of_one_loop_have_it_in_order_and_nobody_overtakes(loop: EventLoop, fairness: Any) -> None:
    async def main() -> None:
        mutex, went, world = Mutex(fairness=fairness), list[object](), Threads()
        async with anyio.create_task_group() as group:
            await mutex.aio.acquire()
            for turn in range(4):
                group.start_soon(hold, mutex, went, turn)
                await until_waiting(turn + 1)
            mutex.aio.release()
            # It is the first one's already, which has not come.
            with pytest.raises(WouldBlock):
                mutex.aio.acquire_nowait()
            with pytest.raises(WouldBlock):
                world.start(mutex.acquire_nowait).result()
        assert went == [*range(4)]
        assert mutex.owner is None
        world.close()

    loop.run(main)


def test_the_most_urgent_has_it_first(loop: EventLoop) -> None:
    async def main() -> None:
        mutex, went, world = Mutex(fairness="priority"), list[object](), Threads()

        def wait(name: str, urgency: int) -> None:
            with priority(urgency), mutex:
                went.append(name)

        async with anyio.create_task_group() as group:
            await mutex.aio.acquire()
            group.start_soon(hold, mutex, went, "task")
            await until_waiting(1)
            for name, urgency in (("idle", -1), ("urgent", 1)):
                actor = world.start(wait, name, urgency)
                await until(lambda actor=actor: actor.asleep)
            mutex.aio.release()
        await until(lambda: len(went) == 3)
        assert went == ["urgent", "task", "idle"]
        world.close()

    loop.run(main)


def test_tasks_of_several_loops_and_processes_exclude_each_other(loop: EventLoop, world: World) -> None:
    mutex = Mutex(fairness="arrival")
    count = aio.AtomicInt()

    async def visit() -> None:
        for _ in range(10):
            async with mutex.aio:
                assert count.add(1) == 0
                await checkpoint()
                assert count.sub(1) == 1

    async def crowd() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(visit)

    actors = [world.start(loop.run, crowd) for _ in range(2)]
    for actor in actors:
        actor.result()
    assert mutex.owner is None


# ── whose it is ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_it_is_a_tasks_and_no_other_ones(loop: EventLoop) -> None:
    async def main() -> None:
        mutex, went = Mutex(fairness="arrival"), list[object]()
        async with anyio.create_task_group() as group:
            async with mutex.aio:
                with pytest.raises(MisuseError, match="holds it already"):
                    await mutex.aio.acquire()
                group.start_soon(hold, mutex, went, "other")
                await until_waiting(1)
                assert went == []
            with pytest.raises(MisuseError):
                mutex.aio.release()
        assert went == ["other"]
        assert not running.reactor().seats

    loop.run(main)


def test_recursion_is_of_a_task(loop: EventLoop) -> None:
    async def main() -> None:
        mutex, went = Mutex(recursive=True, fairness="arrival"), list[object]()
        async with anyio.create_task_group() as group, mutex.aio:
            group.start_soon(hold, mutex, went, "other")
            await until_waiting(1)
            async with mutex.aio:
                await checkpoint()
            await checkpoint()
            assert went == []
        assert went == ["other"]

    loop.run(main)


def test_tasks_and_threads_that_wait_are_counted(loop: EventLoop) -> None:
    async def main() -> None:
        mutex, went, world = Mutex(fairness="arrival"), list[object](), Threads()
        async with anyio.create_task_group() as group:
            await mutex.aio.acquire()
            for turn in range(2):
                group.start_soon(hold, mutex, went, turn)
                await until_waiting(turn + 1)
            sleeper = world.start(lambda: mutex.__enter__().release())
            await until(lambda: sleeper.asleep)
            assert mutex.statistics().waiters == 3
            assert "waiters 3" in repr(mutex)
            mutex.aio.release()
        await until(lambda: sleeper.ended)
        assert mutex.statistics().waiters == 0
        world.close()

    loop.run(main)


def test_a_condition_comes_back_in_its_turn(loop: EventLoop) -> None:
    async def main() -> None:
        mutex, went = Mutex(fairness="arrival"), list[object]()
        changed = Condition(mutex).aio

        async def wait() -> None:
            async with changed:
                await changed.wait()
                went.append("notified")
                await checkpoint()

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await until_waiting(1)
            async with changed:
                group.start_soon(hold, mutex, went, "before")
                await until_waiting(2)
                changed.notify()
                await checkpoint()
        assert went == ["before", "notified"]
        assert mutex.owner is None

    loop.run(main)


# ── cancellation ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("next_one", ["task", "other"])
def test_what_was_handed_to_a_task_that_is_cancelled_goes_to_the_next(
    loop: EventLoop, world: World, next_one: str
) -> None:
    mutex = Mutex(fairness="arrival")
    go, back, actor = holder(world, mutex)

    async def main() -> None:
        went: list[object] = []
        scope = anyio.CancelScope()

        async def cancelled() -> None:
            with scope:
                await hold(mutex, went, "cancelled")

        async with anyio.create_task_group() as group:
            await mutex.aio.acquire()
            group.start_soon(cancelled)
            await until_waiting(1)
            if next_one == "task":
                group.start_soon(hold, mutex, went, "next")
                await until_waiting(2)
            else:
                go.raise_()
                await until(lambda: actor.asleep)
            mutex.aio.release()
            scope.cancel()
        go.raise_()
        back.raise_()
        assert went == (["next"] if next_one == "task" else [])
        assert actor.result() is True
        assert mutex.owner is None

    loop.run(main)


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("first", ["release", "cancel"])
def test_it_is_the_tasks_or_free_whenever_it_is_cancelled(loop: EventLoop, first: str, turns: int) -> None:
    async def main() -> None:
        mutex = Mutex(fairness="arrival")
        await mutex.aio.acquire()
        async with aio.finish() as block:
            call = block.start(aio.cancellable, mutex.aio.acquire())
            await until_waiting(1)
            steps: list[Callable[[], object]] = [mutex.aio.release, block.cancel]
            if first == "cancel":
                steps.reverse()
            steps[0]()
            for _ in range(turns):
                await aio.cancellable(checkpoint())
            steps[1]()
        assert call.result() in (True, aio.CANCELLED)
        # The task that had it has ended with it.
        assert (mutex.owner is None) == (call.result() is aio.CANCELLED)

    loop.run(main)


# ── deaths ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("survivor", ["process", "task"])
def test_a_task_that_was_handed_it_and_whose_process_is_killed_has_held_nothing(loop: EventLoop, survivor: str) -> None:
    world = Processes()
    mutex, ready, entered = Mutex(fairness="arrival"), world.flag(), world.flag()

    def other() -> None:
        async def wait() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(mutex.aio.acquire)
                await until_waiting(1)
                ready.raise_()
                # Its loop does not come to look: it is handed the mutex and dies.
                entered.wait()

        loop.run(wait)

    # Forks come before threads.
    taken, over, owner = holder(world, mutex)
    taken.raise_()
    until_so(lambda: mutex.owner is not None, "an owner")
    first = world.start(other)
    go, back, sleeper = holder(world, mutex)
    ready.wait()

    async def main() -> None:
        went: list[object] = []
        async with anyio.create_task_group() as group:
            if survivor == "task":
                group.start_soon(hold, mutex, went, "task")
                await until_waiting(1)
            else:
                go.raise_()
                await until(lambda: sleeper.asleep)
            over.raise_()
            await until(lambda: owner.ended)
            assert waiting() == (survivor == "task")
            first.kill()
            if survivor == "process":
                back.raise_()
                await until(lambda: sleeper.ended)
                assert sleeper.result() is True
        assert went == (["task"] if survivor == "task" else [])

    loop.run(main)
    if survivor == "task":
        sleeper.abandon()
    world.close()
    Space.default().sweep()


def test_the_death_of_an_owner_is_told_in_line_until_one_recovers(loop: EventLoop) -> None:
    world = Processes()
    mutex, taken = Mutex(fairness="arrival"), world.flag()

    def own() -> None:
        async def main() -> None:
            await mutex.aio.acquire()
            taken.raise_()
            await anyio.sleep_forever()

        loop.run(main)

    owner = world.start(own)
    taken.wait()

    async def main() -> None:
        went: list[object] = []

        async def come(name: str) -> None:
            try:
                await hold(mutex, went, name)
            except OwnerDiedError as died:
                went.append((name, died.pid))

        async def repair() -> None:
            async with mutex.aio.recovering() as died:
                assert died is not None
                went.append(("repaired", died.pid))
                await checkpoint()

        async with anyio.create_task_group() as group:
            for turn, start in enumerate([lambda: come("told"), repair, lambda: come("after")]):
                group.start_soon(start)
                await until_waiting(turn + 1)
            owner.kill()
        # The news and the mutex come at once, and trio lets its tasks go in any order.
        assert went.pop() == "after"
        assert sorted(went, key=str) == [("repaired", owner.pid), ("told", owner.pid)]
        assert mutex.owner is None

    loop.run(main)
    world.close()


# ── blocking verbs beside ───────────────────────────────────────────────────────────────────────────────────────────────────
@FAIRNESS
@pytest.mark.filterwarnings("ignore:.* blocks this thread:RuntimeWarning")
def test_a_blocking_verb_does_not_wait_behind_its_own_thread_s_tasks(
    loop: EventLoop, world: World, fairness: Any
) -> None:
    mutex = Mutex(fairness=fairness)
    go, back, owner = holder(world, mutex)

    async def main() -> None:
        went: list[object] = []
        go.raise_()
        await until(lambda: mutex.owner is not None)
        async with anyio.create_task_group() as group:
            group.start_soon(hold, mutex, went, "task")
            await until(lambda: mutex.statistics().waiters == 1)
            with pytest.raises(MisuseError, match=r"await the verb of its \.aio"):
                mutex.acquire()
            with pytest.raises(WouldBlock):
                mutex.acquire_nowait()
            back.raise_()
        assert went == ["task"]

    loop.run(main)
    assert owner.result()
    assert mutex.owner is None


@FAIRNESS
@pytest.mark.filterwarnings("ignore:.* blocks this thread:RuntimeWarning")
def test_a_task_that_was_only_told_of_a_death_holds_nobody_up(
    loop: EventLoop, processes: Processes, threads: Threads, fairness: Any
) -> None:
    mutex = Mutex(fairness=fairness)
    inside, dead, taken, back = processes.flag(), threads.flag(), threads.flag(), threads.flag()

    def own() -> None:
        with mutex:
            inside.raise_()
            dead.wait()

    def repair() -> None:
        dead.wait()
        with mutex.recovering() as died:
            assert died is not None
            taken.raise_()
            back.wait()

    owner, repairer = processes.start(own), threads.start(repair)
    inside.wait()

    async def told(went: list[object]) -> None:
        with pytest.raises(OwnerDiedError):
            await mutex.aio.acquire()
        went.append("told")

    async def main() -> None:
        went: list[object] = []
        async with anyio.create_task_group() as group:
            group.start_soon(told, went)
            await until_waiting(1)
            owner.kill()
            dead.raise_()
            taken.wait()
            # The task has not come for its news.
            with pytest.raises(TimedOut):
                mutex.acquire(timeout=0.01)
            back.raise_()
        assert went == ["told"]

    loop.run(main)
    repairer.result()
    assert mutex.owner is None


def test_what_a_signals_handler_raises_in_a_release_is_no_refusal(loop: EventLoop) -> None:
    """Whatever it raises: the mutex is given back by then, and the next task has it."""
    mutex = Mutex(fairness="arrival")

    def interrupted(given: Callable[[], None]) -> None:
        given()
        raise TimedOut("by a handler")

    async def main() -> None:
        went: list[object] = []
        await mutex.aio.acquire()
        seat = Seat.of(mutex)
        async with anyio.create_task_group() as group:
            group.start_soon(hold, mutex, went, "task")
            await until_waiting(1)
            with pytest.raises(TimedOut):
                seat.give(lambda: interrupted(mutex.release))
            assert (seat.depth, seat.is_mine()) == (0, False)
        assert went == ["task"]
        # What was refused is its still.
        await mutex.aio.acquire()
        with pytest.raises(TimedOut):
            Seat.of(mutex).give(lambda: interrupted(lambda: None))
        assert Seat.of(mutex).is_mine()
        mutex.aio.release()

    loop.run(main)


@FAIRNESS
@pytest.mark.filterwarnings("ignore:.* blocks this thread:RuntimeWarning")
def test_a_blocking_wait_for_a_condition_does_not_give_its_mutex_to_its_own_thread_s_tasks(
    loop: EventLoop, fairness: Any
) -> None:
    async def main() -> None:
        mutex, went = Mutex(fairness=fairness), list[object]()
        condition = Condition(mutex)
        async with anyio.create_task_group() as group:
            await mutex.aio.acquire()
            group.start_soon(hold, mutex, went, "task")
            await until_waiting(1)
            with pytest.raises(MisuseError, match=r"await the verb of its \.aio"):
                condition.wait(timeout=5)
            # It holds the mutex still, and waits no more.
            assert mutex.owner is not None
            assert (went, condition.statistics().n_waiting) == ([], 0)
            mutex.aio.release()
        assert went == ["task"]

    loop.run(main)


@FAIRNESS
@pytest.mark.filterwarnings("ignore:.* blocks this thread:RuntimeWarning")
def test_a_blocking_wait_for_a_condition_takes_a_mutex_back_for_which_no_task_waits(
    loop: EventLoop, world: World, fairness: Any
) -> None:
    mutex = Mutex(fairness=fairness)
    condition = Condition(mutex)
    go = world.flag()

    def notify() -> bool:
        go.wait()
        with mutex:
            return condition.notify() == 1

    notifier = world.start(notify)

    async def main() -> None:
        with mutex:
            go.raise_()
            condition.wait()

    loop.run(main)
    assert notifier.result()
