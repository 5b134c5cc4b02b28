"""The awaitable faces: what they wait for, in which order, on each event loop, for threads and for processes."""

import asyncio
import gc
import inspect
import pickle
import select
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.conformance.backends import Processes, Threads
from tests.conformance.loops import EventLoop, until, until_waiting
from underpass import (
    AtomicInt,
    Barrier,
    ClosedError,
    EndOfStream,
    Event,
    MessageTooLongError,
    Mutex,
    Notification,
    Once,
    Port,
    Queue,
    Semaphore,
    WaitSet,
    WouldBlock,
    aio,
    wait_any,
)
from underpass.aio import running
from underpass.data import MpscRing, SpscRing, Stack
from underpass.sync import Latch, SpinLock

World = Threads | Processes
Case = tuple[Any, Callable[[Any], Awaitable[object]], Callable[[Any], object], object]

# An object on which a task has to wait, how it waits, what ends that, and what the wait returns.
WAITS: dict[str, Callable[[], Case]] = {
    "acquire": lambda: (Semaphore(0), lambda it: it.aio.acquire(), lambda it: it.release(), True),
    "acquire in turn": lambda: (
        Semaphore(0, fairness="arrival"),
        lambda it: it.aio.acquire(),
        lambda it: it.release(),
        True,
    ),
    "event": lambda: (Event(), lambda it: it.aio.wait(), lambda it: it.set(), True),
    "latch": lambda: (Latch(1), lambda it: it.aio.wait(), lambda it: it.count_down(), True),
    "number": lambda: (AtomicInt(), lambda it: it.aio.wait(0), lambda it: it.store(7), True),
    "barrier": lambda: (Barrier(2), lambda it: it.aio.wait(), lambda it: it.wait(), 0),
    "any flag": lambda: (Notification(), lambda it: it.aio.wait(6), lambda it: it.notify(3), 2),
    "all flags": lambda: (Notification(), lambda it: it.aio.wait(6, all=True), lambda it: it.notify(7), 6),
    "pop": lambda: (Stack(2), lambda it: it.aio.pop(), lambda it: it.push(7), 7),
    "read": lambda: (MpscRing(64), lambda it: it.aio.read(), lambda it: it.write(b"a"), b"a"),
    "get": lambda: (Queue(), lambda it: it.aio.get(), lambda it: it.put(b"a"), b"a"),
    "get_many": lambda: (Queue(), lambda it: it.aio.get_many(), lambda it: it.put(b"a"), [b"a"]),
    "get_into": lambda: (Queue(), lambda it: it.aio.get_into(bytearray(8)), lambda it: it.put(b"abc"), 3),
    "join": lambda: (full(), lambda it: it.aio.join(), lambda it: it.get(), None),
    "put_many": lambda: (full(), lambda it: it.aio.put_many([b"b"]), lambda it: it.get(), None),
    "put": lambda: (full(), lambda it: it.aio.put(b"b"), lambda it: it.get(), None),
}


def full() -> Queue:
    queue = Queue(1)
    queue.put(b"a")
    return queue


@pytest.mark.parametrize("name", WAITS)
def test_a_task_goes_on_when_another_thread_or_process_lets_it(loop: EventLoop, world: World, name: str) -> None:
    thing, wait, let, expected = WAITS[name]()
    go = world.flag()

    def partner() -> None:
        go.wait()
        let(thing)

    actor = world.start(partner)

    async def main() -> object:
        got: list[object] = []

        async def task() -> None:
            got.append(await wait(thing))

        async with anyio.create_task_group() as group:
            group.start_soon(task)
            await until_waiting(1)
            go.raise_()
        return got[0]

    assert loop.run(main) == expected
    actor.result()


def test_put_many_fills_what_room_there_is_and_says_how_far_it_came(loop: EventLoop) -> None:
    async def main() -> int:
        jobs = aio.Queue(2)
        raised: list[EndOfStream] = []

        async def task() -> None:
            try:
                await jobs.put_many([b"%d" % number for number in range(9)])
            except EndOfStream as error:
                raised.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(task)
            await until_waiting(1)
            assert [await jobs.get(), await jobs.get()] == [b"0", b"1"]
            await until(lambda: jobs.depth == 2)
            jobs.shutdown()
        assert [job async for job in jobs] == [b"2", b"3"]
        return raised[0].transferred

    assert loop.run(main) == 4


def test_join_ends_with_the_last_lease(loop: EventLoop) -> None:
    async def main() -> None:
        jobs = aio.Queue()
        jobs.put_nowait(b"a")
        async with anyio.create_task_group() as group:
            group.start_soon(jobs.join)
            group.start_soon(jobs.join)
            await until_waiting(2)
            with jobs.take_nowait():
                await checkpoint()
                assert jobs.depth == 0
        await jobs.join()

    loop.run(main)


def test_a_queue_is_drained_for_wait_sets_too() -> None:
    jobs = Queue()
    with WaitSet() as members:
        members.add(drained := jobs.drained)
        assert members.ready() == [drained]
        jobs.put(b"a")
        assert members.ready() == []
        lease = jobs.take()
        assert members.ready() == []
        lease.done()
        assert members.ready() == [drained]
        assert wait_any(drained, timeout=1) == [drained]


def test_what_need_not_wait_does_not_yield(loop: EventLoop) -> None:
    async def main() -> list[str]:
        order: list[str] = []
        units, jobs, ready = aio.Semaphore(1), aio.Queue(), aio.Event()
        ready.set()

        async def other() -> None:
            order.append("other")

        async with anyio.create_task_group() as group:
            group.start_soon(other)
            await units.acquire()
            await jobs.put(b"a")
            await jobs.get()
            await ready.wait()
            order.append("first")
        return order

    assert loop.run(main) == ["first", "other"]


def test_tasks_are_served_in_order_of_arrival(loop: EventLoop) -> None:
    async def main() -> list[tuple[int, bytes]]:
        jobs = aio.Queue()
        got: list[tuple[int, bytes]] = []

        async def getter(number: int) -> None:
            got.append((number, await jobs.get()))

        async with anyio.create_task_group() as group:
            for number in range(10):
                group.start_soon(getter, number)
                await until_waiting(number + 1)
            for number in range(10):
                jobs.put_nowait(b"%d" % number)
            # One who comes later stands behind them, though a message is there.
            group.start_soon(getter, 10)
            jobs.put_nowait(b"10")
        return got

    assert loop.run(main) == [(number, b"%d" % number) for number in range(11)]


def test_one_unit_wakes_one_task(loop: EventLoop) -> None:
    async def main() -> None:
        units = aio.Semaphore(0)
        attempts: list[int] = []
        plain = units.sync
        here = running.reactor()

        async def task() -> None:
            def attempt() -> bool:
                attempts.append(1)
                return plain.acquire_nowait()

            await here.wait(plain, lambda: plain, attempt)

        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(task)
            await until_waiting(20)
            attempts.clear()
            for left in range(19, -1, -1):
                units.release()
                await until_waiting(left)
        assert len(attempts) == 20

    loop.run(main)


def test_an_event_lets_all_tasks_go(loop: EventLoop) -> None:
    async def main() -> None:
        ready = aio.Event()
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(ready.wait)
            await until_waiting(20)
            ready.set()

    loop.run(main)


class Counted:
    """A wait set that counts how often it is looked at."""

    def __init__(self, members: WaitSet) -> None:
        self._members = members
        self.looks = 0

    def ready(self, *, everything: bool = False) -> list[Any]:
        self.looks += 1
        return self._members.ready(everything=everything)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._members, name)


def test_flags_that_nobody_waits_for_wake_nobody(loop: EventLoop) -> None:
    async def main() -> int:
        news = aio.Notification()
        news.notify(1)
        got: list[int] = []

        async def task() -> None:
            got.append(await news.wait(0b100))

        async with anyio.create_task_group() as group:
            group.start_soon(task)
            await until_waiting(1)
            here = running.reactor()
            counted = Counted(here.members)
            here.members = cast("Any", counted)
            news.notify(2)
            for _ in range(20):
                await checkpoint()
            assert counted.looks <= 2
            news.notify(4)
        return got[0]

    assert loop.run(main) == 4


def test_a_loop_in_which_nobody_waits_goes_quiet(loop: EventLoop) -> None:
    world = Processes()

    async def main() -> None:
        units = aio.Semaphore(0)
        scope = anyio.CancelScope()

        async def task() -> None:
            with scope:
                await units.acquire()

        async with anyio.create_task_group() as group:
            group.start_soon(task)
            await until_waiting(1)
            units.release()
            scope.cancel()
        # Whoever is new in the space rings all bells, also those of loops that wait for nothing.
        world.start(units.sync.release).result()
        here = running.reactor()
        poll = select.poll()
        for descriptor in here.members.filenos():
            poll.register(descriptor, select.POLLIN)
        await until(lambda: not poll.poll(0), "a quiet descriptor")

    try:
        loop.run(main)
    finally:
        world.close()


def test_async_for_gets_until_the_end(loop: EventLoop, world: World) -> None:
    jobs = Queue(4)

    def partner() -> None:
        for number in range(500):
            jobs.put(b"%d" % number)
        jobs.shutdown()

    actor = world.start(partner)

    async def main() -> list[bytes]:
        return [job async for job in jobs.aio]

    assert loop.run(main) == [b"%d" % number for number in range(500)]
    actor.result()


def test_async_for_over_a_full_queue_lets_others_run(loop: EventLoop) -> None:
    async def main() -> list[str]:
        jobs = aio.Queue(256)
        for _ in range(200):
            await jobs.put(b"a")
        jobs.shutdown()
        order: list[str] = []

        async def other() -> None:
            order.append("other")

        async with anyio.create_task_group() as group:
            group.start_soon(other)
            async for _ in jobs:
                pass
            order.append("end")
        return order

    assert loop.run(main) == ["other", "end"]


def test_leases_and_loans(loop: EventLoop) -> None:
    async def main() -> list[bytes]:
        jobs = aio.Queue(2)
        with await jobs.loan(3) as loan:
            loan[:] = b"abc"
        await jobs.put(b"b")
        jobs.shutdown()
        got: list[bytes] = []
        async for job in jobs.leases():
            with job:
                got.append(bytes(job))
        return got

    assert loop.run(main) == [b"abc", b"b"]


def test_errors_are_those_of_the_blocking_verbs(loop: EventLoop) -> None:
    async def main() -> None:
        jobs = aio.Queue(message_size=4)
        with pytest.raises(MessageTooLongError):
            await jobs.put(b"too long")
        with pytest.raises(WouldBlock):
            jobs.get_nowait()
        caught: list[type[Exception]] = []

        async def task() -> None:
            try:
                await jobs.get()
            except (EndOfStream, ClosedError) as error:
                caught.append(type(error))

        async with anyio.create_task_group() as group:
            group.start_soon(task)
            await until_waiting(1)
            jobs.shutdown()
        units = aio.Semaphore(0)

        async def acquire() -> None:
            try:
                await units.acquire()
            except ClosedError as error:
                caught.append(type(error))

        async with anyio.create_task_group() as group:
            group.start_soon(acquire)
            group.start_soon(acquire)
            await until_waiting(2)
            units.close()
        assert caught == [EndOfStream, ClosedError, ClosedError]

    loop.run(main)


def test_two_loops_pass_messages_to_each_other(loop: EventLoop, world: World) -> None:
    there, back = Queue(1), Queue(1)

    def partner() -> int:
        async def echo() -> int:
            count = 0
            async for message in there.aio:
                await back.aio.put(message)
                count += 1
            return count

        return loop.run(echo)

    actor = world.start(partner)

    async def main() -> None:
        for number in range(200):
            await there.aio.put(b"%d" % number)
            assert await back.aio.get() == b"%d" % number
        there.shutdown()

    loop.run(main)
    assert actor.result() == 200


def test_one_loop_after_the_other(loop: EventLoop) -> None:
    units = Semaphore(0)

    async def main() -> None:
        with anyio.move_on_after(0.01):
            await units.aio.acquire()

    before = set(Path("/proc/self/fd").iterdir())
    for _ in range(5):
        loop.run(main)
        gc.collect()
        assert len(set(Path("/proc/self/fd").iterdir()) - before) <= 4  # the space and its lives, at first
    units.release()
    units.acquire()


def test_a_loop_that_is_closed_without_shutting_down_leaves_nothing() -> None:
    units = Semaphore(0)
    loop = asyncio.new_event_loop()

    async def main() -> None:
        with anyio.move_on_after(0.01):
            await units.aio.acquire()

    loop.run_until_complete(main())
    loop.close()


def test_faces_pickle_compare_and_say_what_they_are() -> None:
    units = aio.Semaphore.create("units", 3)
    again = pickle.loads(pickle.dumps(units))  # noqa: S301 - our own
    assert isinstance(again, aio.Semaphore)
    assert again.acquire_nowait()
    assert units.value == 2
    assert repr(units).startswith("<aio Semaphore")
    units.unlink()
    named = aio.Queue.open_or_create("jobs", 4)
    assert aio.Queue.open("jobs").capacity == 4
    named.unlink()
    assert named.sync.aio.name == named.name


def test_what_cannot_be_awaited_says_so() -> None:
    lock: Any = SpinLock()
    with pytest.raises(AttributeError, match="a SpinLock cannot be awaited"):
        lock.aio  # noqa: B018
    assert not hasattr(lock, "aio")


@pytest.mark.parametrize(
    ("face", "plain"),
    [
        (aio.Semaphore, Semaphore),
        (aio.Mutex, Mutex),
        (aio.Notification, Notification),
        (aio.Event, Event),
        (aio.Latch, Latch),
        (aio.Once, Once),
        (aio.Barrier, Barrier),
        (aio.AtomicInt, AtomicInt),
        (aio.Queue, Queue),
        (aio.Stack, Stack),
        (aio.SpscRing, SpscRing),
        (aio.MpscRing, MpscRing),
        (aio.Port, Port),
    ],
)
def test_a_face_is_made_as_its_object_is(face: type, plain: type) -> None:
    for maker in ("__new__", "create", "open_or_create"):
        if not hasattr(plain, maker):
            continue
        wanted, found = (
            set(inspect.signature(cls if maker == "__new__" else getattr(cls, maker)).parameters)
            for cls in (plain, face)
        )
        assert wanted == found


def test_without_a_loop_there_is_nothing_to_wait_in() -> None:
    coroutine = Semaphore(0).aio.acquire()
    with pytest.raises(RuntimeError, match="no running event loop"):
        coroutine.send(None)
