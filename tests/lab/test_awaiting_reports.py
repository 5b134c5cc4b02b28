"""What is told of processes that await: who waits for what, what failed, what the lab has not."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

pytest.importorskip("greenlet")

from tests.lab.awaits import explore, fails
from underpass import (
    Barrier,
    Event,
    MisuseError,
    Mutex,
    Notification,
    Queue,
    RWLock,
    Semaphore,
    aio,
    lab,
)
from underpass.lab import Diverged, Failure, World

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_a_deadlock_names_the_coroutines_the_objects_and_the_lines() -> None:
    def program(world: World) -> None:
        one, other = Mutex.create("one"), Mutex.create("other")

        async def fetch(first: Mutex, second: Mutex, fetched: asyncio.Event) -> None:
            async with first.aio:
                await second.aio.acquire()
                second.aio.release()
            fetched.set()

        async def idle(fetched: asyncio.Event) -> None:
            await fetched.wait()

        async def main(first: Mutex, second: Mutex) -> None:
            fetched = asyncio.Event()
            await asyncio.gather(fetch(first, second, fetched), idle(fetched))

        world.process(main, one, other, name="left")
        world.process(main, other, one, name="right")

    failure = fails(program)
    assert failure.kind == "deadlock"
    waits = {
        (wait.who, wait.task, wait.object, wait.operation, wait.holders, wait.cycle) for wait in failure.trace.waits
    }
    assert ("left", "fetch", "mutex 'other'", "Mutex.acquire", ("right",), True) in waits
    assert ("right", "fetch", "mutex 'one'", "Mutex.acquire", ("left",), True) in waits
    assert {task for _, task, *_ in waits} == {"main", "fetch", "idle"}
    told = " ".join(str(failure).split())
    assert "fetch() of left waits for mutex 'other', held by right: in Mutex.acquire (test_awaiting_reports.py:" in told
    assert "await second.aio.acquire()" in failure.trace.details
    assert "base_events.py" not in told


@pytest.mark.parametrize(
    ("make", "verb", "told"),
    [
        (Event, "wait", "event @1: in Event.wait"),
        (Notification, "wait", "notification @1: in Notification.wait"),
        (partial(Barrier, 2), "wait", "barrier @1: in Barrier.wait"),
        (partial(Semaphore, 0, fairness="arrival"), "acquire", "semaphore @1: in Semaphore.acquire"),
        (partial(Queue, 1), "get", "queue @1: in Queue.get"),
    ],
    ids=lambda what: what if isinstance(what, str) else "",
)
def test_who_waits_in_a_place_of_its_own_is_told_at_the_object(make: Callable[[], Any], verb: str, told: str) -> None:
    def program(world: World) -> None:
        thing = make()

        async def wait() -> None:
            if verb == "get":
                await thing.aio.get()
            elif verb == "acquire":
                await thing.aio.acquire()
            else:
                await thing.aio.wait()

        world.process(wait)

    assert f"wait() of wait waits for {told} (" in " ".join(str(fails(program)).split())


def test_a_block_is_told_as_it_stands_and_a_wait_for_a_task_as_that() -> None:
    def program(world: World) -> None:
        table = RWLock()

        async def write() -> None:
            async with table.aio.writing():
                pass

        async def main() -> None:
            async with table.aio.reading():
                await asyncio.create_task(write())

        world.process(main)

    told = " ".join(str(fails(program)).split())
    assert "main() of main waits for another task, or a time: in create_task (" in told
    assert "write() of main waits for rwlock @1: in async with table.aio.writing() (" in told


def test_a_task_that_is_cancelled_is_told_as_that() -> None:
    def program(world: World) -> None:
        jobs = Queue.create("jobs", 1, 8)

        async def fetch() -> None:
            await jobs.aio.get()

        async def main() -> None:
            async with aio.finish() as block:
                block.start(fetch)
                await asyncio.sleep(0)
                block.cancel()
            task = asyncio.create_task(fetch())
            await asyncio.sleep(0)
            task.cancel()
            # It knows by now.
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await fetch()
            raise LookupError("all are told")

        world.process(main)

    failure = fails(program)
    told = [(one.value, one.object, one.source) for one in failure.trace.moments if one.what == "is cancelled"]
    line = "await jobs.aio.get()"
    assert [(value, where) for value, where, _ in told if value != "main"] == [("fetch", "queue 'jobs'")] * 2
    # At the deadline it is the one that called.
    assert told[-1] == ("main", "queue 'jobs'", line)
    text = " ".join(str(failure).split())
    assert "× fetch() is cancelled, waiting for queue 'jobs'" in text
    assert "× main() is cancelled, waiting for queue 'jobs'" in text


def test_steps_of_one_line_that_change_nothing_are_one_row() -> None:
    def program(world: World) -> None:
        jobs = Queue.create("jobs", 1, 8)

        async def fetch() -> None:
            await jobs.aio.get()

        world.process(fetch)

    failure = fails(program)
    rows = [line for line in str(failure).splitlines() if "await jobs.aio.get()" in line and "●" in line]
    steps = [moment for moment in failure.trace.moments if moment.what == "runs" and moment.where]
    assert len(rows) == 1 < len(steps)
    assert f"× {len(steps)}" in str(failure)


def test_what_asyncio_would_only_log_fails_the_schedule() -> None:
    async def raise_unseen() -> None:
        async def fail() -> None:
            raise LookupError("nobody asks")

        task = asyncio.create_task(fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task

    def program(world: World) -> None:
        world.process(raise_unseen)

    failure = fails(program)
    assert failure.kind == "exception"
    assert "LookupError: nobody asks" in failure.trace.summary

    def call(world: World) -> None:
        async def main() -> None:
            asyncio.get_running_loop().call_soon(partial(int, "x"))
            await asyncio.sleep(0)

        world.process(main)

    assert "ValueError" in fails(call).trace.summary


@pytest.mark.parametrize(
    "what",
    [
        ("run_in_executor", None, print),
        ("add_reader", 0, print),
        ("add_signal_handler", signal.SIGTERM, print),
        ("create_server", asyncio.Protocol),
        ("subprocess_exec", asyncio.SubprocessProtocol, "true"),
    ],
    ids=lambda what: what[0],
)
def test_what_the_lab_has_not_is_refused(what: tuple[str, object]) -> None:
    def program(world: World) -> None:
        async def main() -> None:
            with pytest.raises(MisuseError, match="no descriptors, signals, children or threads"):
                getattr(asyncio.get_running_loop(), what[0])(*what[1:])

        world.process(main)

    explore(program, schedules=1)


def test_elsewhere_there_is_no_such_loop() -> None:
    async def nothing() -> None: ...

    with pytest.raises(MisuseError, match=r"elsewhere asyncio\.run\(\) does"):
        lab.run(nothing())


def test_a_real_loop_is_refused_in_the_lab() -> None:
    def program(world: World) -> None:
        units = Semaphore(0)
        world.process(lambda: asyncio.run(units.aio.acquire()))

    assert "by lab.run()" in fails(program).trace.summary


def test_a_failure_is_replayed_by_its_token_and_not_tried_on_real_processes() -> None:
    def program(world: World) -> None:
        number = Semaphore(1)

        async def take() -> None:
            assert number.aio.value
            await number.aio.acquire()

        world.process(take)
        world.process(take)

    failure = fails(program)
    with pytest.raises(Failure) as again:
        lab.replay(program, failure.token)
    assert again.value.trace.summary == failure.trace.summary
    with pytest.raises(Diverged, match="event loops of real processes are not conducted"):
        lab.replay(program, failure.token, real=True)
