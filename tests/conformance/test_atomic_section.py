"""atomic_section: nothing waits inside a block, whether or not it would have had to."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.backends import SOON, Processes, Threads, until
from tests.conformance.loops import until as come_true
from underpass import (
    AtomicInt,
    Barrier,
    Broadcast,
    Condition,
    Event,
    Gate,
    Interface,
    MisuseError,
    Mutex,
    Notification,
    Once,
    Port,
    Queue,
    RWLock,
    Semaphore,
    TimedOut,
    WaitSet,
    WouldBlock,
    aio,
    connect,
    fail_after,
    select,
    serve,
    wait_all,
    wait_any,
)
from underpass.sync import Latch, SpinLock, atomic_section

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

World = Threads | Processes


class Desk(Interface):
    def add(self, a: int) -> int:
        return a


def flagged() -> Notification:
    it = Notification()
    it.notify(1)
    return it


def happened() -> Event:
    it = Event()
    it.set()
    return it


def filled() -> Queue:
    it = Queue(2)
    it.put(b"x")
    return it


def has_run() -> Once:
    it = Once()
    it.call(int)
    return it


def holding(it: Condition) -> Condition:
    it.acquire()
    return it


def read(it: RWLock) -> RWLock:
    it.reading().__enter__()
    return it


def opened() -> Latch:
    it = Latch(1)
    it.count_down()
    return it


# What there is, the verb that its user calls, and the call: none of these would have to wait, but those of a port.
CALLS: list[tuple[Callable[[], Any], str, Callable[[Any], object]]] = [
    (lambda: Semaphore(1), "acquire", lambda it: it.acquire()),
    (lambda: Semaphore(1), "acquire", lambda it: it.acquire(timeout=SOON)),
    (lambda: Semaphore(1), "acquire", lambda it: it.holding().__enter__()),
    (Mutex, "acquire", lambda it: it.acquire()),
    (Mutex, "acquire", lambda it: it.__enter__()),
    (Mutex, "acquire", lambda it: it.holding().__enter__()),
    (Mutex, "recovering", lambda it: it.recovering().__enter__()),
    (flagged, "wait", lambda it: it.wait(1)),
    (happened, "wait", lambda it: it.wait()),
    (AtomicInt, "wait", lambda it: it.wait(1)),
    (lambda: Barrier(1), "wait", lambda it: it.wait()),
    (opened, "wait", lambda it: it.wait()),
    (RWLock, "reading", lambda it: it.reading().__enter__()),
    (RWLock, "writing", lambda it: it.writing().__enter__()),
    (lambda: read(RWLock()), "upgrade", lambda it: it.upgrade()),
    (Condition, "acquire", lambda it: it.acquire()),
    (Condition, "acquire", lambda it: it.__enter__()),
    (Condition, "acquire", lambda it: it.holding().__enter__()),
    (Condition, "recovering", lambda it: it.recovering().__enter__()),
    (lambda: holding(Condition()), "wait", lambda it: it.wait()),
    (lambda: holding(Condition()), "wait_for", lambda it: it.wait_for(lambda: True)),
    (happened, "wait_any", wait_any),
    (happened, "wait_all", wait_all),
    (happened, "select", lambda it: select(it.wait)),
    (WaitSet, r"WaitSet\.wait", lambda it: it.wait()),
    (WaitSet, r"WaitSet\.dispatch", lambda it: it.dispatch()),
    (has_run, "call", lambda it: it.call(int)),
    (has_run, "running", lambda it: it.running().__enter__()),
    (filled, "put", lambda it: it.put(b"y")),
    (filled, "put_many", lambda it: it.put_many([b"y"])),
    (filled, "loan", lambda it: it.loan(1)),
    (filled, "get", lambda it: it.get()),
    (filled, "get", next),
    (filled, "get_many", lambda it: it.get_many()),
    (filled, "get_into", lambda it: it.get_into(bytearray(256))),
    (filled, "take", lambda it: it.take()),
    (filled, "leases", lambda it: next(it.leases())),
    (lambda: Broadcast(64, when_full="wait"), "loan", lambda it: it.loan(1)),
    (lambda: Broadcast(64).subscribe(), "take", lambda it: it.take()),
    (Queue, "join", lambda it: it.join()),
    (Port, "receive", lambda it: it.receive()),
    (Port, "receive", lambda it: it.receive_any()),
    (Port, "serve", lambda it: it.serve(repr)),
    (Port, "serve", lambda it: it.serve_bytes(bytes)),
    (Port, "serve", lambda it: serve(Desk(), at=it)),
    (Port, "call", lambda it: it.gate().call()),
    (Port, "call", lambda it: connect(Desk, it.gate()).add(1)),
    (Port, "send", lambda it: it.gate().send(b"x")),
]


@pytest.mark.parametrize(("make", "verb", "call"), CALLS)
def test_what_may_wait_is_refused_and_does_nothing(
    make: Callable[[], Any], verb: str, call: Callable[[Any], object]
) -> None:
    it = make()
    before = repr(it)
    with (
        atomic_section(),
        pytest.raises(MisuseError, match=rf"{verb} may wait, and this thread is in an atomic_section"),
    ):
        call(it)
    assert repr(it) == before


def test_what_may_wait_for_a_name_is_refused() -> None:
    with Port.create("desk"), atomic_section():
        with pytest.raises(MisuseError, match=r"port 'desk' not opened: open may wait"):
            Gate.open("desk", timeout=1)
        with pytest.raises(MisuseError, match="open may wait"):
            connect(Desk, "desk", timeout=1)
        with pytest.raises(MisuseError, match=r"semaphore 'desk' not opened: open may wait"):
            Semaphore.open("desk", timeout=1)
        Gate.open("desk").close()


def test_who_may_not_wait_for_the_next_call_does_not_reply_either(threads: Threads) -> None:
    with Port() as port:
        caller = threads.start(port.gate().call)
        request = port.receive()
        with atomic_section(), pytest.raises(MisuseError, match="reply_wait"):
            port.reply_wait(request, b"early")
        request.reply(b"late")
        assert caller.result() == b"late"


def test_what_need_not_wait_goes_on(world: World) -> None:
    semaphore, mutex, queue, flags = Semaphore(1), Mutex(), Queue(1), Notification()

    def use() -> None:
        with atomic_section():
            assert semaphore.acquire(timeout=0)
            with pytest.raises(WouldBlock):
                semaphore.acquire_nowait()
            with pytest.raises(TimedOut):
                semaphore.acquire(timeout=0)
            semaphore.release()
            assert mutex.acquire_nowait()
            mutex.release()
            queue.put_nowait(b"x")
            assert queue.get(timeout=0) == b"x"
            flags.notify(2)
            assert flags.wait_nowait(2) == 2

    world.start(use).result()
    semaphore.acquire()


def test_a_section_that_was_left_refuses_nothing(world: World) -> None:
    semaphore = Semaphore(3)

    def use() -> None:
        with atomic_section():
            pass
        semaphore.acquire()
        with pytest.raises(ZeroDivisionError), atomic_section():
            _ = 1 // 0
        semaphore.acquire()
        with atomic_section():
            with atomic_section():
                pass
            with pytest.raises(MisuseError):
                semaphore.acquire()
        semaphore.acquire()

    world.start(use).result()


def test_others_are_not_in_it(world: World) -> None:
    semaphore, seen, other = Semaphore(0), world.flag(), world.flag()

    def stay() -> None:
        with atomic_section():
            seen.raise_()
            until(lambda: semaphore.value == 1, "what another does meanwhile")
            with pytest.raises(MisuseError):
                semaphore.acquire()
        other.raise_()

    def use() -> None:
        seen.wait()
        semaphore.release(2)
        semaphore.acquire()

    actors = [world.start(stay), world.start(use)]
    for actor in actors:
        actor.result()
    other.wait()


def test_a_thread_that_ends_inside_leaves_nothing(threads: Threads) -> None:
    def enter() -> object:
        section = atomic_section()
        section.__enter__()
        return section

    section = threads.start(enter).result()
    Semaphore(1).acquire()
    del section


def test_a_forked_child_is_in_none(processes: Processes) -> None:
    with atomic_section():
        child = processes.start(lambda: Semaphore(1).acquire())
    assert child.result() is True


def test_the_time_of_a_block_around_is_no_leave_to_wait() -> None:
    with fail_after(0), atomic_section(), pytest.raises(MisuseError):
        Semaphore(1).acquire()


# ── what is awaited ─────────────────────────────────────────────────────────────────────────────────────────────────


# What there is, and what its task calls: none of these would have to wait, but those of a port and a full queue.
AWAITED: list[tuple[Callable[[], Any], Callable[[Any], Awaitable[object]]]] = [
    (lambda: Semaphore(1), lambda it: it.aio.acquire()),
    (lambda: Semaphore(1), lambda it: it.aio.holding().__aenter__()),
    (lambda: Semaphore(1, fairness="arrival"), lambda it: it.aio.acquire()),
    (lambda: Semaphore(1, leased=True), lambda it: it.aio.acquire()),
    (Mutex, lambda it: it.aio.acquire()),
    (lambda: Mutex(fairness="arrival"), lambda it: it.aio.acquire()),
    (Mutex, lambda it: it.aio.__aenter__()),
    (Mutex, lambda it: it.aio.recovering().__aenter__()),
    (Condition, lambda it: it.aio.acquire()),
    (lambda: holding(Condition()), lambda it: it.aio.wait()),
    (lambda: holding(Condition()), lambda it: it.aio.wait_for(lambda: True)),
    (flagged, lambda it: it.aio.wait(1)),
    (happened, lambda it: it.aio.wait()),
    (opened, lambda it: it.aio.wait()),
    (AtomicInt, lambda it: it.aio.wait(1)),
    (lambda: Barrier(1), lambda it: it.aio.wait()),
    (RWLock, lambda it: it.aio.reading().__aenter__()),
    (RWLock, lambda it: it.aio.writing().__aenter__()),
    (lambda: read(RWLock()), lambda it: it.aio.upgrade()),
    (has_run, lambda it: it.aio.call(int)),
    (filled, lambda it: it.aio.put(b"y")),
    (filled, lambda it: it.aio.put_many([b"y"])),
    (filled, lambda it: it.aio.loan(1)),
    (lambda: Queue(1, when_full="drop_oldest"), lambda it: it.aio.put(b"y")),
    (lambda: Queue(1, when_full="drop_newest"), lambda it: it.aio.put_many([b"y"])),
    (filled, lambda it: it.aio.get()),
    (filled, lambda it: anext(aiter(it.aio))),
    (filled, lambda it: it.aio.get_many()),
    (filled, lambda it: it.aio.take()),
    (Queue, lambda it: it.aio.join()),
    (Port, lambda it: it.aio.receive()),
    (Port, lambda it: it.gate().aio.call(b"x")),
    (Port, lambda it: it.gate().aio.send(b"x")),
    (happened, aio.wait_any),
    (happened, aio.wait_all),
    (happened, lambda it: aio.select(it.aio.wait)),
]


@pytest.mark.parametrize("section", [atomic_section, lambda: SpinLock().holding()], ids=["section", "spin lock"])
@pytest.mark.parametrize(("make", "call"), AWAITED)
def test_what_may_have_a_task_wait_is_refused_and_does_nothing(
    make: Callable[[], Any], call: Callable[[Any], Awaitable[object]], section: Callable[[], Any]
) -> None:
    it = make()
    before = repr(it)

    async def main() -> None:
        with (
            section(),
            pytest.raises(MisuseError, match=r"not awaited: .* this thread (is in an atomic|holds spinlock)"),
        ):
            await call(it)
        assert repr(it) == before

    asyncio.run(main())


def test_a_task_goes_on_that_waits_for_no_other() -> None:
    async def main() -> None:
        semaphore, mutex, queue = Semaphore(1), Mutex().aio, Queue(1)
        async with mutex:
            with atomic_section():
                assert semaphore.aio.acquire_nowait()
                semaphore.aio.release()
                queue.aio.put_nowait(b"x")
                assert queue.aio.get_nowait() == b"x"
        assert await semaphore.aio.acquire()

    asyncio.run(main())


def test_a_task_that_waits_already_goes_on_while_another_is_inside() -> None:
    async def main() -> None:
        semaphore, condition = Semaphore(0).aio, Condition().aio

        async def notified() -> None:
            async with condition:
                await condition.wait()

        async with asyncio.TaskGroup() as group:
            waiter = group.create_task(semaphore.acquire())
            sleeper = group.create_task(notified())
            await asyncio.sleep(0)
            with atomic_section():
                semaphore.release()
                await come_true(waiter.done)
                condition.acquire_nowait()
                condition.notify()
                condition.release()
                # It takes the mutex again, whatever its thread is in.
                await come_true(sleeper.done)

    asyncio.run(main())


# ── left in another way ─────────────────────────────────────────────────────────────────────────────────────────────


def held() -> Generator[None]:
    with atomic_section():
        yield


def is_refused() -> bool:
    try:
        Semaphore(1).acquire()
    except MisuseError:
        return True
    return False


def test_the_consumer_of_a_generator_that_is_suspended_inside_is_in_it() -> None:
    first, second = held(), held()
    next(first)
    next(second)
    first.close()
    assert is_refused(), "the other is still open"
    second.close()
    assert not is_refused()


def test_another_thread_may_leave_it(threads: Threads) -> None:
    generator = held()
    next(generator)
    threads.start(generator.close).result()
    assert not is_refused()


def test_one_that_is_thrown_away_is_left() -> None:
    section = atomic_section()
    section.__enter__()
    assert is_refused()
    del section
    gc.collect()
    assert not is_refused()


def test_all_tasks_of_a_thread_are_in_it() -> None:
    async def main() -> None:
        inside, seen = asyncio.Event(), asyncio.Event()

        async def stay() -> None:
            with atomic_section():
                inside.set()
                await seen.wait()

        async def block() -> None:
            await inside.wait()
            assert is_refused(), "it would block the thread that is inside"
            seen.set()

        await asyncio.gather(stay(), block())
        assert not is_refused()

    asyncio.run(main())


# ── what is told ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_is_entered_once() -> None:
    section = atomic_section()
    assert repr(section) == "<atomic_section, not entered>"
    with section:
        assert repr(section) == "<atomic_section, entered>"
        with pytest.raises(MisuseError, match="anew"), section:
            pass
    assert repr(section) == "<atomic_section, left>"
    assert not is_refused()


PROGRAM = """
import underpass
from underpass.sync import atomic_section
with atomic_section():
    with atomic_section():
        jobs = underpass.Semaphore.create("jobs", 1)
        jobs.unlink()
        try:
            jobs.acquire()
        except underpass.MisuseError as error:
            print(error)
"""


def test_the_error_tells_where_the_innermost_was_entered_if_it_was_noted() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | {"UNDERPASS_DEBUG": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == (
        "semaphore 'jobs' not acquired: acquire may wait, and this thread is in the atomic_section that it entered at "
        "<string>:5: pass timeout=0, or leave that first\n"
    )


def test_a_closed_handle_says_so_first() -> None:
    with closing(Semaphore(1)) as semaphore:
        pass
    with atomic_section(), pytest.raises(Exception, match="closed"):
        semaphore.acquire()
