"""RWLock in coroutines: tasks read and write beside threads and processes, in their turn, and each for itself."""

# pyright: reportPossiblyUnboundVariable=false
# What is assigned in a block that raises nothing is there after it.

import os
import pickle
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from typing import Any, cast

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.conformance.backends import Processes, Threads
from tests.conformance.loops import EventLoop, until, until_waiting
from tests.conformance.test_rwlock import PLACES, Inside, Prefer, any_preference, pass_through
from underpass import ClosedError, MisuseError, OwnerDiedError, RWLock, Space, TimedOut, WaitSet, WouldBlock, aio
from underpass.aio.running import reactor

World = Threads | Processes
Block = Callable[[], AbstractAsyncContextManager[object]]


class Tasks:
    """Tasks that go into blocks, and stay there until they are told to leave."""

    def __init__(self, group: Any) -> None:
        self._group = group
        self.went: list[str] = []

    def start(self, name: str, block: Block) -> anyio.Event:
        go = anyio.Event()
        self._group.start_soon(self._stay, name, block, go)
        return go

    async def _stay(self, name: str, block: Block, go: anyio.Event) -> None:
        async with block():
            self.went.append(name)
            await go.wait()


@asynccontextmanager
async def tasks() -> AsyncGenerator[Tasks]:
    async with anyio.create_task_group() as group:
        yield Tasks(group)


class Later:
    """Somebody outside the loop who goes into a block when it is told to, and leaves it at once: forked before the loop runs."""

    def __init__(self, world: World, block: Callable[[], AbstractContextManager[object]]) -> None:
        self._go = world.flag()
        self._actor = world.start(self._pass, block)

    def _pass(self, block: Callable[[], AbstractContextManager[object]]) -> bool:
        self._go.wait()
        return pass_through(block)

    async def sleeps(self) -> None:
        self._go.raise_()
        await until(lambda: self._actor.asleep)

    async def has_passed(self) -> None:
        await until(lambda: self._actor.ended)
        assert self._actor.result()


async def turns() -> None:
    """Give everybody the time to go in who can."""
    for _ in range(5):
        await checkpoint()


@any_preference
def test_tasks_read_together_and_write_alone(loop: EventLoop, world: World, prefer: Prefer) -> None:
    lock = RWLock(prefer=prefer)
    reader = Inside(world, lock.reading)
    others = [Later(world, lock.reading), Later(world, lock.writing)]

    async def main() -> None:
        async with tasks() as all_:
            readers = [all_.start(name, lock.aio.reading) for name in ("one", "two")]
            await until(lambda: len(all_.went) == 2)
            assert lock.statistics().readers == 3
            writer = all_.start("writer", lock.aio.writing)
            await until_waiting(1)
            reader.leave()
            readers[0].set()
            await until(lambda: lock.statistics().readers == 1)
            assert sorted(all_.went) == ["one", "two"]
            readers[1].set()
            await until(lambda: len(all_.went) == 3)
            assert lock.statistics().state == "written"
            for other in others:
                await other.sleeps()
            writer.set()
            for other in others:
                await other.has_passed()
        assert lock.statistics().state == "free"

    loop.run(main)


@pytest.mark.parametrize(
    ("prefer", "expected"),
    [("writers", ["writer", "reader"]), ("arrival", ["writer", "reader"]), ("readers", ["reader", "writer"])],
)
def test_a_task_that_waits_to_write_is_in_line_for_all(
    loop: EventLoop, world: World, prefer: Prefer, expected: list[str]
) -> None:
    lock = RWLock(prefer=prefer)
    inside = Inside(world, lock.reading)
    other = None if prefer == "readers" else Later(world, lock.reading)

    async def main() -> None:
        async with tasks() as all_:
            writer = all_.start("writer", lock.aio.writing)
            await until_waiting(1)
            reader = all_.start("reader", lock.aio.reading)
            if other is None:
                await until(lambda: all_.went == ["reader"])
                reader.set()
            else:
                # A task of the same loop and one of another process wait behind it alike.
                await until_waiting(2)
                await other.sleeps()
            inside.leave()
            await until(lambda: "writer" in all_.went)
            assert len(all_.went) == expected.index("writer") + 1
            writer.set()
            await until(lambda: len(all_.went) == 2)
            reader.set()
            if other is not None:
                await other.has_passed()
        assert all_.went == expected

    loop.run(main)


def test_tasks_and_threads_go_in_the_order_in_which_they_came(loop: EventLoop, threads: Threads) -> None:
    lock = RWLock(prefer="arrival")
    went: list[str] = []

    def write(name: str) -> None:
        with lock.writing():
            went.append(name)

    async def write_as_task(name: str) -> None:
        async with lock.aio.writing():
            went.append(name)

    async def main() -> None:
        holder = Inside(threads, lock.writing)
        async with anyio.create_task_group() as group:
            for turn in range(3):
                group.start_soon(write_as_task, f"task {turn}")
                await until_waiting(turn + 1)
                actor = threads.start(write, f"thread {turn}")
                await until(lambda actor=actor: actor.asleep)
            holder.leave()
        await until(lambda: len(went) == 6)
        assert went == [f"{kind} {turn}" for turn in range(3) for kind in ("task", "thread")]

    loop.run(main)


def test_a_task_that_is_cancelled_while_it_waits_to_write_lets_readers_in(loop: EventLoop, world: World) -> None:
    lock = RWLock()
    inside = Inside(world, lock.reading)
    other = Later(world, lock.reading)

    async def main() -> None:
        scope = anyio.CancelScope()

        async def write() -> None:
            with scope:
                async with lock.aio.writing():
                    pytest.fail("somebody reads")

        async with tasks() as all_, anyio.create_task_group() as group:
            group.start_soon(write)
            await until_waiting(1)
            reader = all_.start("reader", lock.aio.reading)
            await until_waiting(2)
            await other.sleeps()
            scope.cancel()
            await until(lambda: all_.went == ["reader"])
            await other.has_passed()
            reader.set()

    loop.run(main)
    inside.leave()
    assert lock.statistics().state == "free"


@pytest.mark.parametrize("verb", ["reading", "writing"])
def test_a_task_that_is_cancelled_when_it_was_let_in_holds_nothing(loop: EventLoop, verb: str) -> None:
    async def main() -> None:
        lock = aio.RWLock()
        scope = anyio.CancelScope()

        async def enter() -> None:
            with scope:
                async with getattr(lock, verb)():
                    pytest.fail("it was cancelled")

        async with anyio.create_task_group() as group:
            async with lock.writing():
                group.start_soon(enter)
                await until_waiting(1)
            # It stands where a holder does, and has not looked.
            assert lock.statistics().state in {"read", "written"}
            scope.cancel()
        assert lock.statistics().state == "free"
        async with lock.writing():
            pass

    loop.run(main)


def test_a_task_that_is_cancelled_while_it_upgrades_reads_on(loop: EventLoop, world: World) -> None:
    lock = RWLock()
    inside = Inside(world, lock.reading)

    async def main() -> None:
        async with lock.aio.reading():
            async with anyio.create_task_group() as group:

                async def cancel() -> None:
                    await until_waiting(1)
                    group.cancel_scope.cancel()

                group.start_soon(cancel)
                await lock.aio.upgrade()
            assert lock.statistics().readers == 2
            with pytest.raises(WouldBlock):
                lock.aio.upgrade_nowait()
            inside.leave()
            assert await lock.aio.upgrade()
            assert lock.statistics().state == "written"
            lock.aio.downgrade()
            assert lock.aio.upgrade_nowait()
            with pytest.raises(MisuseError, match="this task writes already"):
                await lock.aio.upgrade()
        assert lock.statistics().state == "free"

    loop.run(main)


def test_a_task_that_would_wait_for_itself_is_told(loop: EventLoop) -> None:
    async def main() -> None:
        lock = aio.RWLock()
        async with lock.writing():
            for verb in (lock.reading, lock.writing):
                with pytest.raises(MisuseError, match="this task writes"):
                    await verb().__aenter__()
        async with lock.reading(), lock.reading():
            with pytest.raises(MisuseError, match="upgrade"):
                await lock.writing().__aenter__()
        with pytest.raises(MisuseError, match="does not hold it so"):
            lock.downgrade()
        with pytest.raises(MisuseError, match="does not hold it so"):
            await lock.upgrade()
        assert lock.statistics().state == "free"

    loop.run(main)


def test_one_of_two_tasks_that_upgrade_is_refused(loop: EventLoop) -> None:
    async def main() -> None:
        lock = aio.RWLock()
        ends: list[str] = []

        async def upgrade() -> None:
            async with lock.reading():
                await turns()
                try:
                    await lock.upgrade()
                    ends.append("upgraded")
                except MisuseError as error:
                    ends.append("refused" if "this task reads no more" in str(error) else str(error))

        async with anyio.create_task_group() as group:
            group.start_soon(upgrade)
            group.start_soon(upgrade)
        assert ends == ["refused", "upgraded"]

    loop.run(main)


def test_a_task_reads_again_while_others_wait(loop: EventLoop) -> None:
    async def main() -> None:
        lock = aio.RWLock()
        async with tasks() as all_, lock.reading():
            writer = all_.start("writer", lock.writing)
            await until_waiting(1)
            async with lock.reading():
                assert lock.statistics().readers == 1
            writer.set()

    loop.run(main)


def test_a_blocking_verb_that_would_wait_for_a_task_of_its_thread_is_refused(loop: EventLoop) -> None:
    async def main() -> None:
        lock = aio.RWLock()
        async with lock.reading():
            with pytest.raises(MisuseError, match="a task of this thread"), lock.sync.writing():
                pass
            with lock.sync.reading(), pytest.raises(MisuseError, match="a task of this thread"):
                lock.sync.upgrade()
        async with lock.writing():
            with pytest.raises(MisuseError, match="a task of this thread"), lock.sync.reading(timeout=1):
                pass

    loop.run(main)


class Looks:
    """A loop's set that counts how often it is looked at."""

    def __init__(self, members: WaitSet) -> None:
        self._members = members
        self.count = 0

    def ready(self, *, everything: bool = False) -> list[Any]:
        self.count += 1
        return self._members.ready(everything=everything)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._members, name)


def test_a_task_that_comes_after_the_last_place_waits_for_one(loop: EventLoop) -> None:
    async def main() -> None:
        lock = aio.RWLock()
        async with tasks() as all_:
            inside = {name: all_.start(name, lock.reading) for name in map(str, range(PLACES + 2))}
            await until_waiting(2)
            assert lock.statistics().readers == PLACES
            assert lock.statistics().waiters == 2
            # Nothing is to be had, and the loop does not go round for it.
            turns = 50
            looks = Looks(reactor().members)
            reactor().members = cast("WaitSet", looks)
            for _ in range(turns):
                await checkpoint()
            assert looks.count < turns // 2
            inside[all_.went[0]].set()
            await until_waiting(1)
            for go in inside.values():
                go.set()

    loop.run(main)


# ── deaths ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────
def in_a_loop(loop: EventLoop, verb: Callable[[], Awaitable[object]]) -> Callable[[], object]:
    return lambda: loop.run(verb)


class Doomed:
    """A process with a task that is inside, or waits, until it is killed."""

    def __init__(self, world: Processes, loop: EventLoop, block: Block, *, waits: bool = False) -> None:
        ready = world.flag()

        async def main() -> None:
            async with tasks() as all_:
                all_.start("it", block)
                await (until_waiting(1) if waits else until(lambda: all_.went))
                ready.raise_()
                await anyio.sleep_forever()

        self._actor = world.start(in_a_loop(loop, main))
        ready.wait()

    def kill(self) -> None:
        self._actor.kill()


def test_a_process_that_dies_with_a_task_that_reads_reads_no_more(loop: EventLoop, processes: Processes) -> None:
    lock = RWLock()
    doomed = Doomed(processes, loop, lock.aio.reading)

    async def main() -> None:
        async with tasks() as all_:
            writer = all_.start("writer", lock.aio.writing)
            await until_waiting(1)
            doomed.kill()
            await until(lambda: all_.went)
            writer.set()

    loop.run(main)
    assert lock.statistics().state == "free"
    Space.default().sweep()


def test_who_writes_after_a_task_that_died_writing_is_told(loop: EventLoop, processes: Processes) -> None:
    lock = RWLock()
    doomed = Doomed(processes, loop, lock.aio.writing)

    async def main() -> None:
        told: list[object] = []

        async def read() -> None:
            try:
                async with lock.aio.reading():
                    pytest.fail("nobody has repaired it")
            except OwnerDiedError as died:
                told.append(died.pid)

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await until_waiting(1)
            doomed.kill()
        with pytest.raises(ValueError, match="not repaired"):
            async with lock.aio.writing() as died:
                raise ValueError("not repaired")
        async with lock.aio.writing() as again:
            assert again is not None
            with pytest.raises(MisuseError, match="this task's block that repairs"):
                lock.aio.downgrade()
        assert isinstance(died, OwnerDiedError)
        assert told == [died.pid] == [again.pid]
        async with lock.aio.reading():
            pass

    loop.run(main)
    Space.default().sweep()


@pytest.mark.filterwarnings("ignore:.* blocks this thread:RuntimeWarning")
def test_a_task_that_was_only_told_of_a_death_holds_nobody_up(
    loop: EventLoop, processes: Processes, threads: Threads
) -> None:
    lock, inside = RWLock(), processes.flag()
    dead, taken, back = threads.flag(), threads.flag(), threads.flag()

    def write() -> None:
        with lock.writing():
            inside.raise_()
            dead.wait()

    def repair() -> None:
        dead.wait()
        with lock.writing() as died:
            assert died is not None
            taken.raise_()
            back.wait()

    writer, repairer = processes.start(write), threads.start(repair)
    inside.wait()

    async def main() -> None:
        went: list[str] = []

        async def told() -> None:
            with pytest.raises(OwnerDiedError):
                await lock.aio.reading().__aenter__()
            went.append("told")

        async with anyio.create_task_group() as group:
            group.start_soon(told)
            await until_waiting(1)
            writer.kill()
            dead.raise_()
            taken.wait()
            # The task has not come for its news.
            with pytest.raises(TimedOut), lock.reading(timeout=0.01):
                pass
            back.raise_()
        assert went == ["told"]

    loop.run(main)
    repairer.result()


@pytest.mark.parametrize("other", ["task", "thread"])
def test_a_process_that_dies_with_a_task_that_waits_to_write_lets_readers_in(
    loop: EventLoop, processes: Processes, other: str
) -> None:
    lock = RWLock()
    inside = Inside(processes, lock.reading)
    doomed = Doomed(processes, loop, lock.aio.writing, waits=True)
    reader = Later(processes, lock.reading)

    async def main() -> None:
        if other == "thread":
            await reader.sleeps()
            doomed.kill()
            await reader.has_passed()
            return
        async with tasks() as all_:
            go = all_.start("reader", lock.aio.reading)
            await until_waiting(1)
            doomed.kill()
            await until(lambda: all_.went)
            go.set()

    loop.run(main)
    inside.leave()
    Space.default().sweep()


def test_a_process_that_dies_with_a_task_that_was_let_in_lets_the_next_in(
    loop: EventLoop, processes: Processes
) -> None:
    lock = RWLock(prefer="arrival")
    ready, stop = processes.flag(), processes.flag()
    inside = Inside(processes, lock.reading)

    def other() -> None:
        async def wait() -> None:
            async with tasks() as all_:
                all_.start("writer", lock.aio.writing)
                await until_waiting(1)
                ready.raise_()
                # Its loop does not come to look: it is let in and dies.
                stop.wait()

        loop.run(wait)

    doomed = processes.start(other)
    ready.wait()

    async def main() -> None:
        async with tasks() as all_:
            reader = all_.start("reader", lock.aio.reading)
            await until_waiting(1)
            inside.leave()
            await until(lambda: lock.statistics().state == "written")
            doomed.kill()
            await until(lambda: all_.went)
            reader.set()

    loop.run(main)
    Space.default().sweep()


# ── handles ────────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_handle_that_is_closed_ends_the_waits_of_tasks_and_no_block(loop: EventLoop, world: World) -> None:
    lock = RWLock.create("table")
    mine = RWLock.open("table")
    inside = Inside(world, lock.reading)

    async def main() -> None:
        ends: list[object] = []

        async def write() -> None:
            try:
                async with mine.aio.writing():
                    pytest.fail("somebody reads")
            except ClosedError:
                ends.append(ClosedError)

        async with mine.aio.reading(), anyio.create_task_group() as group:
            group.start_soon(write)
            await until_waiting(1)
            mine.aio.close()
        assert ends == [ClosedError]

    loop.run(main)
    assert lock.statistics().readers == 1
    inside.leave()
    lock.unlink()


def test_a_forked_child_holds_nothing_of_its_parents_tasks() -> None:
    async def main() -> None:
        lock = aio.RWLock()
        async with lock.reading():
            child = os.fork()
            if not child:
                refused = False
                try:
                    lock.sync._leave(1, well=True)
                except MisuseError:
                    refused = True
                finally:
                    os._exit(not refused)
            assert os.waitpid(child, 0)[1] == 0  # noqa: ASYNC222 - it ends at once
            assert lock.statistics().readers == 1

    EventLoop("asyncio").run(main)


def test_a_face_is_made_by_all_names_and_travels() -> None:
    made = aio.RWLock.create("table", prefer="arrival")
    there = aio.RWLock.open_or_create("table", prefer="arrival")
    copy = pickle.loads(pickle.dumps(aio.RWLock.open("table")))  # noqa: S301 - our own bytes
    assert isinstance(copy, aio.RWLock)
    assert [face.statistics().prefer for face in (made, there, copy)] == ["arrival"] * 3
    assert isinstance(RWLock().aio, aio.RWLock)
    made.unlink()
