"""Which tasks wait, and for what, from the space alone: what `Space.waits` tells of event loops, here and in other processes."""

import json
import os
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.conformance.backends import Processes, Threads
from tests.conformance.backends import until as until_blocking
from tests.conformance.loops import EventLoop, until, until_waiting, waiting
from underpass import (
    AtomicInt,
    Broadcast,
    Event,
    Gate,
    Mutex,
    Once,
    Pipe,
    Pool,
    Port,
    Queue,
    RWLock,
    Semaphore,
    Space,
    WouldBlock,
    _loops,
    aio,
)
from underpass.aio import running
from underpass.data import Stack
from underpass.sync import Latch
from underpass.tools.spaces import show_waits
from underpass.waiting import Waiter

# Those of a thread that have a record each.
RECORDS = 64

World = Threads | Processes


def waits() -> list[Waiter]:
    """Who waits in the default space."""
    return Space.default().waits()


def told() -> set[tuple[str, str, str | None]]:
    """What each that waits waits for: the class, the verb, the object's name."""
    return {(waiter.kind, waiter.operation, waiter.name) for waiter in waits()}


async def done(verb: Callable[[], Awaitable[object]]) -> None:
    """Await a verb."""
    await verb()


async def while_waiting(verb: Callable[[], Awaitable[object]], look: Callable[[], None]) -> None:
    """Look while a task of this loop waits in ``verb``, which is cancelled then."""
    async with anyio.create_task_group() as group:
        group.start_soon(done, verb, name="the one that waits")
        await until_waiting(1)
        look()
        group.cancel_scope.cancel()


def test_a_task_is_told_with_its_name_its_line_and_the_time(loop: EventLoop) -> None:
    jobs = Queue.create("jobs")

    async def get() -> None:
        await jobs.aio.get()  # here

    def look() -> None:
        (waiter,) = waits()
        here = next(
            number for number, line in enumerate(Path(__file__).read_text().splitlines(), 1) if line.endswith("# here")
        )
        assert (waiter.pid, waiter.tid, waiter.task) == (os.getpid(), os.getpid(), "the one that waits")
        assert waiter.line == f"{Path(__file__).name}:{here}"
        assert (waiter.kind, waiter.operation, waiter.name, waiter.file) == ("Queue", "get", "jobs", "jobs")
        assert (waiter.holders, waiter.cycle, waiter.more, waiter.members) == ([], None, 0, [])
        assert repr(waiter) == (
            f"<Waiter pid {os.getpid()} task 'the one that waits' ({waiter.line}) in get of Queue 'jobs' "
            f"for {waiter.waited_for:.1f} s>"
        )
        first = waiter.waited_for
        until_blocking(lambda: waits()[0].waited_for > first, "the passing of time")

    loop.run(partial(while_waiting, get, look))
    assert waits() == []
    jobs.unlink()


def test_each_verb_has_its_name(loop: EventLoop) -> None:
    full = Queue(1)
    full.put(b"there is no room")
    narrow, empty = Pipe(16), Pipe(16)
    narrow.write(bytes(16))
    lock, once, held = RWLock(), Once(), Mutex()
    pool, told = Pool(1, 64), Broadcast(64, when_full="wait")
    reader, block = told.subscribe(), pool.alloc()
    with suppress(WouldBlock):
        while True:
            told.publish_nowait(bytes(16))
    verbs: dict[tuple[str, str], Callable[[], Awaitable[object]]] = {
        ("Queue", "get"): Queue(1).aio.get,
        ("Queue", "put"): partial(full.aio.put, b"more"),
        ("Queue", "join"): full.aio.join,
        ("Pipe", "read"): partial(empty.aio.read, 1),
        ("Pipe", "write"): partial(narrow.aio.write, b"more"),
        ("Semaphore", "acquire"): Semaphore(0).aio.acquire,
        ("Mutex", "acquire"): held.aio.acquire,
        ("Once", "call"): partial(once.aio.call, print),
        ("RWLock", "write"): lambda: enter(lock.aio.writing()),
        ("Event", "wait"): Event().aio.wait,
        ("Latch", "wait"): Latch(1).aio.wait,
        ("AtomicInt", "wait"): partial(AtomicInt(0).aio.wait, 0),
        ("Pool", "alloc"): pool.aio.alloc,
        ("Stack", "pop"): Stack(1).aio.pop,
        ("Broadcast", "publish"): partial(told.aio.publish, bytes(16)),
        ("Broadcast", "get"): Broadcast().subscribe().aio.get,
        ("Semaphore", "wait_any"): partial(aio.wait_any, Semaphore(0), Queue(1)),
        ("Queue", "select"): partial(aio.select, Queue(1).aio.get, Semaphore(0).aio.acquire),
    }

    async def enter(manager: Any) -> None:
        async with manager:
            pass

    async def main() -> None:
        async with once.aio.running(), held.aio, lock.aio.reading(), anyio.create_task_group() as group:
            for verb in verbs.values():
                group.start_soon(done, verb)
            await until_waiting(len(verbs))
            assert {(waiter.kind, waiter.operation) for waiter in waits()} == set(verbs)
            assert len(waits()) == len(verbs)
            group.cancel_scope.cancel()

    loop.run(main)
    assert waits() == []
    reader.close()
    block.release()


def test_a_task_may_have_a_name_and_a_file_that_are_no_text(loop: EventLoop) -> None:
    # As os.fsdecode() returns for bytes that are not UTF-8.
    strange, jobs = os.fsdecode(b"\xff"), Queue(1)
    written = dict[str, Any]()
    exec(compile("async def get(jobs):\n    return await jobs.aio.get()", f"/{strange}.py", "exec"), written)  # noqa: S102

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(written["get"], jobs, name=strange)
            await until_waiting(1)
            (waiter,) = waits()
            assert (waiter.task or "").strip("\ufffd") == ""
            assert re.fullmatch("\ufffd+.py:2", waiter.line or "")
            jobs.put(b"x")

    loop.run(main)
    assert waits() == []


def test_a_wait_that_cannot_be_told_leaves_nothing_behind(loop: EventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Queue(1)

    def refuse(*_: object) -> None:
        raise ZeroDivisionError

    async def main() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(_loops, "task_waits", refuse)
            with pytest.raises(ZeroDivisionError):
                await jobs.aio.get()
        # What is ready and nobody waits for would keep the loop from sleeping.
        jobs.put(b"x")
        await until(lambda: len(running.reactor().members) == 0, "that nothing is waited for")
        assert await jobs.aio.get() == b"x"

    loop.run(main)


def test_a_call_and_its_server_are_told(loop: EventLoop) -> None:
    async def main() -> None:
        async with anyio.create_task_group() as group:
            with aio.Port() as port:
                group.start_soon(port.receive)
                await until_waiting(1)
                assert told() == {("Port", "receive", None)}
                group.cancel_scope.cancel()
        with Port() as silent:
            async with anyio.create_task_group() as group:
                group.start_soon(silent.gate().aio.call)
                await until_waiting(1)
                assert told() == {("Port", "call", None)}
                group.cancel_scope.cancel()

    loop.run(main)
    assert waits() == []


def test_who_has_what_a_task_waits_for_elsewhere_is_told(processes: Processes, loop: EventLoop) -> None:
    lock, told, pool = RWLock(), Broadcast(64, when_full="wait"), Pool(1, 64)
    ready, done = processes.flag(), processes.flag()
    for _ in range(2):
        told.publish(bytes(16))

    def have() -> None:
        with Port.create("desk"), lock.reading(), told.subscribe(start="oldest"), pool.alloc():
            ready.raise_()
            done.wait()

    other = processes.start(have)
    ready.wait()

    def look() -> None:
        (waiter,) = waits()
        assert [holder.pid for holder in waiter.holders] == [other.pid], waiter

    async def upgrade() -> None:
        async with lock.aio.reading():
            await lock.aio.upgrade()

    verbs: list[Callable[[], Awaitable[object]]] = [
        upgrade,
        partial(told.aio.publish, bytes(16)),
        pool.aio.alloc,
        partial(Gate.open("desk").aio.call, b"x"),
    ]
    for verb in verbs:
        loop.run(partial(while_waiting, verb, look))
    done.raise_()
    other.result()


def test_who_holds_what_a_task_waits_for_is_told(world: World, loop: EventLoop) -> None:
    ledger, held, done = Mutex(), world.flag(), world.flag()

    def hold() -> None:
        with ledger:
            held.raise_()
            done.wait()

    holder = world.start(hold)
    held.wait()

    def look() -> None:
        (waiter,) = waits()
        assert [(its.pid, its.tid) for its in waiter.holders] == [(holder.pid, holder.tid)]
        # Its loop goes on, whatever the task waits for.
        assert waiter.cycle is None

    loop.run(partial(while_waiting, ledger.aio.acquire, look))
    done.raise_()
    holder.result()


def test_two_tasks_for_one_mutex_are_both_told(loop: EventLoop) -> None:
    ledger = Mutex()

    async def main() -> None:
        async with ledger.aio, anyio.create_task_group() as group:
            for name in ("first", "second"):
                group.start_soon(ledger.aio.acquire, name=name)
            await until_waiting(2)
            assert {waiter.task for waiter in waits()} == {"first", "second"}
            group.cancel_scope.cancel()

    loop.run(main)
    assert waits() == []


def test_a_task_that_was_served_waits_no_more(loop: EventLoop) -> None:
    jobs = Queue(4)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(jobs.aio.get)
            group.start_soon(jobs.aio.get)
            await until_waiting(2)
            assert len(waits()) == 2
            jobs.put(b"for one")
            await until(lambda: waiting() == 1)
            assert len(waits()) == 1
            jobs.put(b"for the other")
        assert waits() == []

    loop.run(main)


def test_more_tasks_than_records_are_counted(loop: EventLoop, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = Queue.create("jobs")

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(RECORDS + 3):
                group.start_soon(jobs.aio.get)
            await until_waiting(RECORDS + 3)
            *rows, rest = waits()
            assert {(row.kind, row.more) for row in rows} == {("Queue", 0)}
            assert len(rows) == RECORDS
            assert (rest.pid, rest.tid, rest.more, rest.task) == (os.getpid(), os.getpid(), 3, None)
            assert (rest.kind, rest.operation, rest.name, rest.holders) == ("", "await", None, [])
            assert repr(rest) == f"<Waiter pid {os.getpid()}: 3 more tasks, for up to {rest.waited_for:.1f} s>"
            assert show_waits(None, as_json=False) == 0
            printed = capsys.readouterr().out
            assert printed.splitlines()[0].endswith(f": {RECORDS + 3} tasks waiting")
            assert "3 more" in printed
            # A record that is free again is the next one's.
            jobs.put(b"for one")
            await until(lambda: waiting() == RECORDS + 2)
            group.start_soon(jobs.aio.get)
            await until_waiting(RECORDS + 3)
            assert [row.more for row in waits() if row.more] == [3]
            group.cancel_scope.cancel()
        assert waits() == []

    loop.run(main)
    jobs.unlink()


def test_the_tasks_of_another_process_are_told_and_those_of_a_killed_one_are_not(
    processes: Processes, loop: EventLoop
) -> None:
    jobs = Queue.create("jobs")

    def work() -> None:
        async def main() -> None:
            async with anyio.create_task_group() as group:
                for number in range(RECORDS + 1):
                    group.start_soon(jobs.aio.get, name=f"worker {number}")

        loop.run(main)

    def rows(pid: int) -> list[Waiter]:
        return [waiter for waiter in waits() if waiter.pid == pid]

    first = processes.start(work)
    until_blocking(lambda: [row.more for row in rows(first.pid)] == [0] * RECORDS + [1], "all of its tasks")
    told = [row.task for row in rows(first.pid) if not row.more]
    assert len(set(told)) == RECORDS
    assert set(told) < {f"worker {number}" for number in range(RECORDS + 1)}
    first.kill()
    assert waits() == []
    # The next one has its records.
    second = processes.start(work)
    until_blocking(lambda: [row.more for row in rows(second.pid)] == [0] * RECORDS + [1], "all of its tasks")
    assert {waiter.pid for waiter in waits()} == {second.pid}
    second.kill()
    Space.default().sweep()
    jobs.unlink()


def test_a_forked_child_has_none_of_its_parents_tasks_and_ends_none(processes: Processes) -> None:
    jobs = Queue(1)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(jobs.aio.get)
            await until_waiting(1)
            before = [(waiter.pid, waiter.tid) for waiter in waits()]
            # It ends with a copy of the task.
            assert processes.start(lambda: len(waits())).result() == 1
            assert [(waiter.pid, waiter.tid) for waiter in waits()] == before == [(os.getpid(), os.getpid())]
            group.cancel_scope.cancel()

    anyio.run(main)


def test_threads_and_tasks_are_told_side_by_side(
    threads: Threads, loop: EventLoop, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = Queue.create("jobs")
    actor = threads.start(jobs.get)
    actor.until_asleep()

    async def get() -> None:
        await jobs.aio.get()

    def look() -> None:
        assert [waiter.task for waiter in waits()] == [None, "the one that waits"]
        assert [waiter.line is None for waiter in waits()] == [True, False]
        assert show_waits(None, as_json=False) == 0
        first, headings, thread, task = capsys.readouterr().out.splitlines()
        assert first.endswith(": 1 thread and 1 task waiting")
        assert headings.split()[:3] == ["PID", "TID", "TASK"]
        assert thread.split()[2] == "-"
        assert f"the one that waits ({Path(__file__).name}:" in task
        show_waits(None, as_json=True)
        rows = json.loads(capsys.readouterr().out)["waits"]
        assert [(row["task"], row["more"]) for row in rows] == [(None, 0), ("the one that waits", 0)]

    loop.run(partial(while_waiting, get, look))
    jobs.put(b"done")
    actor.result()
    jobs.unlink()
