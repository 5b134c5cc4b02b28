"""What type checkers see of the awaitable faces: mypy and pyright read this file in `make check`, and nothing in it waits."""

from collections.abc import Awaitable, Callable
from typing import Any, Literal, assert_type

import pytest

import underpass
from underpass import aio, data, sync
from underpass.data import Lease, Loan
from underpass.errors import OwnerDiedError
from underpass.ports import Peer, Request


def test_faces_of_objects_are_known_by_their_classes() -> None:
    """As ``x.aio``, and as ``aio.X(...)``; each gives its object back."""
    pairs: list[tuple[object, type]] = [
        (assert_type(sync.Semaphore(1).aio, aio.Semaphore), aio.Semaphore),
        (assert_type(sync.Mutex().aio, aio.Mutex), aio.Mutex),
        (assert_type(sync.Notification().aio, aio.Notification), aio.Notification),
        (assert_type(sync.Event().aio, aio.Event), aio.Event),
        (assert_type(sync.Latch(1).aio, aio.Latch), aio.Latch),
        (assert_type(sync.Once().aio, aio.Once), aio.Once),
        (assert_type(sync.Barrier(1).aio, aio.Barrier), aio.Barrier),
        (assert_type(sync.AtomicInt().aio, aio.AtomicInt), aio.AtomicInt),
        (assert_type(sync.RWLock().aio, aio.RWLock), aio.RWLock),
        (assert_type(sync.Condition().aio, aio.Condition), aio.Condition),
        (assert_type(underpass.Queue().aio, aio.Queue), aio.Queue),
        (assert_type(underpass.ObjectQueue[int]().aio, aio.ObjectQueue[int]), aio.ObjectQueue),
        (assert_type(underpass.Pipe().aio, aio.Pipe), aio.Pipe),
        (assert_type(underpass.Pool(1, 64).aio, aio.Pool), aio.Pool),
        (assert_type(data.Stack(1).aio, aio.Stack), aio.Stack),
        (assert_type(data.SpscRing(64).aio, aio.SpscRing), aio.SpscRing),
        (assert_type(data.MpscRing(64).aio, aio.MpscRing), aio.MpscRing),
        (assert_type(underpass.Port().aio, aio.Port), aio.Port),
    ]
    assert all(type(face) is known for face, known in pairs)
    assert_type(aio.Semaphore(1, limit=2, fairness="arrival").sync, sync.Semaphore)
    assert_type(aio.Mutex(recursive=True).sync, sync.Mutex)
    assert_type(aio.Condition(aio.Mutex()).sync, sync.Condition)
    assert_type(aio.Condition(sync.Mutex()).sync, sync.Condition)
    assert_type(aio.Barrier(2).sync, sync.Barrier)
    assert_type(aio.Once().sync, sync.Once)
    assert_type(aio.RWLock(prefer="arrival").sync, sync.RWLock)
    assert_type(aio.AtomicInt(7).sync, sync.AtomicInt)
    assert_type(aio.Queue(4, 8).sync, underpass.Queue)
    assert_type(aio.Queue(order="priority").sync, underpass.Queue)


async def verbs(
    queue: aio.Queue, semaphore: aio.Semaphore, number: aio.AtomicInt, barrier: aio.Barrier, condition: aio.Condition
) -> None:
    """What verbs return once they are awaited, and what blocks and loops get."""
    assert_type(await semaphore.acquire(), Literal[True])
    assert_type(await queue.put(b"", priority=7, front=True), None)
    assert_type(await queue.get(), bytes)
    assert_type(await queue.get_many(2), list[bytes])
    assert_type(await queue.take(), Lease)
    assert_type(await queue.loan(8), Loan)
    assert_type(await number.wait(0), Literal[True])
    assert_type(number.add(1), int)
    assert_type(await barrier.wait(), int)
    assert_type(await condition.wait(), Literal[True])
    assert_type(await condition.wait_for(lambda: queue.depth), Literal[True])
    assert_type(condition.notify(2), int)
    assert_type(await aio.select(queue.get, queue.take), tuple[Literal[0], bytes] | tuple[Literal[1], Lease])
    assert_type(await aio.select(queue.get, semaphore.acquire, queue.take), tuple[int, Any])
    assert_type(await aio.wait_any(queue), list[aio.Queue])
    assert_type(await aio.RWLock.open_when_there("table"), aio.RWLock)
    assert_type(await aio.Gate.open_when_there("served"), aio.Gate)
    assert_type(aio.Mutex.open("ledger"), aio.Mutex)
    async for message in queue:
        assert_type(message, bytes)
    async for lease in queue.leases():
        assert_type(lease, Lease)


async def blocks(mutex: aio.Mutex, condition: aio.Condition, once: aio.Once, port: aio.Port, table: aio.RWLock) -> None:
    """What ``async with`` gives."""
    async with mutex as held:
        assert_type(held, aio.Mutex)
    async with mutex.recovering() as died:
        assert_type(died, OwnerDiedError | None)
    async with condition as also_held:
        assert_type(also_held, aio.Condition)
    async with condition.recovering() as died_too:
        assert_type(died_too, OwnerDiedError | None)
    async with table.reading() as nothing:
        assert_type(nothing, None)
        assert_type(await table.upgrade(), Literal[True])
    async with table.writing() as died_writing:
        assert_type(died_writing, OwnerDiedError | None)
    async with once.running() as turn:
        assert_type(turn, sync.OnceTurn | None)
    async for request in port:
        assert_type(request, Request)
    assert_type(mutex.owner, Peer | None)


async def prepare(times: int, *, name: str) -> float:
    """Stand for any async function."""
    return times / len(name)


async def structured(queue: aio.Queue, once: aio.Once) -> None:
    """``start`` has the function's arguments and gives its result; ``cancellable`` adds CANCELLED."""
    assert_type(await once.call(lambda: prepare(1, name="a")), bool)
    assert_type(await once.call(int), bool)
    async with aio.finish() as block:
        assert_type(block, aio.Finish)
        call = block.start(prepare, 3, name="a")
        assert_type(call, aio.Call[float])
        assert_type(call.result(), float)
        assert_type(block.start(queue.get), aio.Call[bytes])
        assert_type(await aio.cancellable(queue.get()), bytes | aio.Cancelled)
    got = await aio.cancellable(queue.get())
    if got is not aio.CANCELLED:
        assert_type(got, bytes)


async def wrong(queue: aio.Queue, number: aio.AtomicInt) -> None:
    """What is refused: a checker that let it pass would call the remark needless."""
    async with aio.finish() as block:
        block.start(prepare, "three", name="a")  # type: ignore[arg-type]
        block.start(prepare, 3)  # type: ignore[call-arg]
        block.start(queue.put_nowait, b"a")  # type: ignore[arg-type]
    await number.wait(0, timeout=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("function", [verbs, blocks, structured, wrong])
def test_what_is_only_read_by_checkers_is_async(function: Callable[..., Awaitable[Any]]) -> None:
    """Nobody has made it a plain function, in which `assert_type` would see coroutines."""
    assert function.__code__.co_flags & 0x80


def test_regions_are_buffers() -> None:
    """For whoever takes buffers, as `bytes` and `memoryview` do."""
    region = underpass.Region(8)
    assert_type(region[0], int)
    assert_type(region[0:2], bytes)
    assert_type(region.sealed, bool)
    region[0:2] = b"ab"
    with memoryview(region) as view:
        assert view.nbytes == assert_type(len(region), int) == assert_type(region.statistics().size, int)
    queue = underpass.Queue(1, 8)
    queue.put(region)
    assert queue.get()[:2] == b"ab"
