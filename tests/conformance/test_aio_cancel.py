"""``cancel`` of structured calls: effect or CANCELLED, never both; what it reaches, and what it does not; on each event loop."""

# pyright: reportPossiblyUnboundVariable=false
# What is assigned in a block that raises, as it should, is there after it.

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.conformance.loops import EventLoop, until_waiting, waiting
from underpass import AtomicInt, Event, Notification, Queue, Semaphore, aio
from underpass.sync import Latch

Case = tuple[Any, Callable[[Any], Awaitable[object]], Callable[[Any], object], Callable[[Any], object]]


def full() -> Queue:
    queue = Queue(1)
    queue.put(b"a")
    return queue


async def take_and_put_back(queue: Any) -> str:
    with await queue.aio.take() as lease:
        lease.put_back()
    return "taken"


async def hold(block: Any) -> str:
    async with block:
        return "held"


# An object that is not ready, a verb, what makes it ready, and what of it tells whether the verb had its effect.
VERBS: dict[str, Callable[[], Case]] = {
    "acquire": lambda: (Semaphore(0), lambda it: it.aio.acquire(), lambda it: it.release(), lambda it: 1 - it.value),
    "acquire in turn": lambda: (
        Semaphore(0, fairness="priority"),
        lambda it: it.aio.acquire(),
        lambda it: it.release(),
        lambda it: 1 - it.value,
    ),
    "holding": lambda: (Semaphore(0), lambda it: hold(it.aio.holding()), lambda it: it.release(), lambda it: it.value),
    "event": lambda: (Event(), lambda it: it.aio.wait(), lambda it: it.set(), lambda it: it.is_set()),
    "latch": lambda: (Latch(1), lambda it: it.aio.wait(), lambda it: it.count_down(), lambda it: it.count == 0),
    "number": lambda: (AtomicInt(), lambda it: it.aio.wait(0), lambda it: it.add(1), lambda it: it.load()),
    "flag": lambda: (Notification(), lambda it: it.aio.wait(2), lambda it: it.notify(2), lambda it: it.bits == 0),
    "get": lambda: (Queue(), lambda it: it.aio.get(), lambda it: it.put(b"a"), lambda it: 1 - it.depth),
    "get_into": lambda: (
        Queue(),
        lambda it: it.aio.get_into(bytearray(8)),
        lambda it: it.put(b"a"),
        lambda it: 1 - it.depth,
    ),
    "get_many": lambda: (Queue(), lambda it: it.aio.get_many(), lambda it: it.put(b"a"), lambda it: 1 - it.depth),
    "take": lambda: (Queue(), take_and_put_back, lambda it: it.put(b"a"), lambda it: it.depth),
    "put": lambda: (full(), lambda it: it.aio.put(b"b"), lambda it: it.get(), lambda it: it.depth),
}

# Those that never wait, as those above.
AT_ONCE: dict[str, Callable[[], Case]] = {
    "put, dropping": lambda: (
        Queue(1, when_full="drop_oldest"),
        lambda it: it.aio.put(b"b"),
        repr,
        lambda it: it.depth,
    ),
    "put_many, dropping": lambda: (
        Queue(1, when_full="drop_newest"),
        lambda it: it.aio.put_many([b"b"]),
        repr,
        lambda it: it.depth,
    ),
}


@pytest.mark.parametrize("name", VERBS | AT_ONCE)
def test_a_verb_that_is_begun_after_the_cancel_has_no_effect_though_it_need_not_wait(
    loop: EventLoop, name: str
) -> None:
    thing, verb, let, effect = (VERBS | AT_ONCE)[name]()
    let(thing)
    before = effect(thing)

    async def main() -> None:
        async with aio.finish() as block:
            block.cancel()
            assert await aio.cancellable(verb(thing)) is aio.CANCELLED
            call = block.start(aio.cancellable, verb(thing))
            ended = block.start(verb, thing)
        assert call.result() is aio.CANCELLED
        assert ended.state == "cancelled"

    loop.run(main)
    assert effect(thing) == before


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_that_waits_when_it_is_cancelled_has_no_effect(loop: EventLoop, name: str) -> None:
    thing, verb, let, effect = VERBS[name]()

    async def main() -> None:
        async with aio.finish() as block:
            call = block.start(aio.cancellable, verb(thing))
            await until_waiting(1)
            block.cancel()
        assert call.result() is aio.CANCELLED
        assert waiting() == 0
        let(thing)
        before = effect(thing)
        for _ in range(5):
            await checkpoint()
        assert effect(thing) == before

    loop.run(main)


@pytest.mark.parametrize("turns", range(5))
@pytest.mark.parametrize("first", ["ready", "cancel"])
@pytest.mark.parametrize("name", VERBS)
def test_effect_or_cancelled_whenever_it_is_cancelled(loop: EventLoop, name: str, first: str, turns: int) -> None:
    thing, verb, let, effect = VERBS[name]()
    untouched, verb_2, let_2, _ = VERBS[name]()

    async def main() -> None:
        # What the effect is: of another object, on which nobody is cancelled; and of one that nobody uses.
        let_2(untouched)
        without = effect(untouched)
        await verb_2(untouched)
        effected = effect(untouched)
        async with aio.finish() as block:
            call = block.start(aio.cancellable, verb(thing))
            await until_waiting(1)
            steps: list[Callable[[], object]] = [lambda: let(thing), block.cancel]
            if first == "cancel":
                steps.reverse()
            steps[0]()
            for _ in range(turns):
                await aio.cancellable(checkpoint())
            steps[1]()
        had = effect(thing)
        assert had == (without if call.result() is aio.CANCELLED else effected)

    loop.run(main)


def test_a_mutex_is_taken_or_cancelled_and_given_back(loop: EventLoop) -> None:
    async def main() -> None:
        mutex = aio.Mutex()
        await mutex.acquire()

        async def other() -> None:
            async with mutex:
                raise AssertionError("the mutex was not free")

        async def recovers() -> None:
            async with mutex.recovering():
                raise AssertionError("the mutex was not free")

        async with aio.finish() as block:
            calls = [block.start(other), block.start(recovers)]
            block.cancel()
        assert [call.state for call in calls] == ["cancelled", "cancelled"]
        mutex.release()
        async with aio.finish() as block:
            async with mutex:
                block.cancel()
            assert mutex.owner is None
            assert await aio.cancellable(mutex.acquire()) is aio.CANCELLED
        async with mutex:
            pass

    loop.run(main)


def test_cancel_does_not_wait_and_the_end_does(loop: EventLoop) -> None:
    async def main() -> None:
        log: list[Any] = []

        async def call() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await checkpoint()
                log.append("cleaned up")

        async with aio.finish() as block:
            block.start(call)
            block.cancel()
            block.cancel()
            log.append("cancelled")
        assert log == ["cancelled", "cleaned up"]

    loop.run(main)


def test_cancel_reaches_the_block_itself_its_calls_and_blocks_in_them(loop: EventLoop) -> None:
    async def main() -> None:
        units = aio.Semaphore(0)
        log: list[Any] = []

        async def call(depth: int) -> None:
            async with aio.finish() as inner:
                inner.start(units.acquire)
                if depth:
                    inner.start(call, depth - 1)
                try:
                    await anyio.sleep_forever()
                finally:
                    log.append(depth)
            raise AssertionError("an inner block went on")

        async def canceller() -> None:
            await until_waiting(4)
            aio.cancel()

        async with aio.finish() as block:
            started = block.start(call, 3)
            block.start(canceller)
            await anyio.sleep_forever()
        assert started.state == "cancelled"
        assert sorted(log) == [0, 1, 2, 3]
        await checkpoint()

    loop.run(main)


@pytest.mark.parametrize("first", [checkpoint, anyio.sleep_forever])
def test_a_call_is_cancelled_at_its_first_wait_before_its_task_has_had_a_turn(
    loop: EventLoop, first: Callable[[], Awaitable[None]]
) -> None:
    async def main() -> list[str]:
        log: list[str] = []

        async def call() -> None:
            try:
                await first()
                await anyio.sleep_forever()
            finally:
                log.append("ended")

        async with aio.finish() as block:
            block.cancel()
            block.start(call)
        return log

    assert loop.run(main) == ["ended"]


def test_cancel_names_the_nearest_block_and_leaves_those_around_it_alone(loop: EventLoop) -> None:
    async def main() -> str:
        units = aio.Semaphore(0)
        async with aio.finish() as outer:
            waits = outer.start(units.acquire)
            async with aio.finish() as inner:
                inner.start(units.acquire)
                aio.cancel()
                await anyio.sleep_forever()
            assert (inner.cancel_requested, outer.cancel_requested) == (True, False)
            await checkpoint()
            assert waits.state == "running"
            units.release()
        return waits.state

    assert loop.run(main) == "returned"


def test_a_call_cancels_the_block_that_started_it_by_name(loop: EventLoop) -> None:
    async def main() -> None:
        units = aio.Semaphore(0)

        async def call() -> None:
            async with aio.finish():
                block.cancel()
                await units.acquire()

        async with aio.finish() as block:
            started = block.start(call)
            await anyio.sleep_forever()
        assert started.state == "cancelled"

    loop.run(main)


def test_a_shielded_block_and_everything_below_it_go_on(loop: EventLoop) -> None:
    async def main() -> Any:
        units = aio.Semaphore(0)
        log: list[Any] = []

        async def below() -> None:
            async with aio.finish() as inner:
                inner.start(units.acquire)
                await units.acquire()
            log.append("below")

        async def call() -> None:
            async with aio.finish(shield=True) as shielded:
                shielded.start(below)
                await units.acquire()
                log.append("shielded")
            log.append("its end")
            await anyio.sleep_forever()
            log.append("never")

        async with aio.finish() as block:
            started = block.start(call)
            await until_waiting(3)
            block.cancel()
            for _ in range(5):
                await aio.cancellable(checkpoint())
            assert waiting() == 3
            units.release(3)
        assert started.state == "cancelled"
        return sorted(log)

    assert loop.run(main) == ["below", "its end", "shielded"]


def test_the_same_task_in_a_shielded_block_of_a_cancelled_one(loop: EventLoop) -> None:
    async def main() -> list[object]:
        units = aio.Semaphore(1)
        log: list[object] = []
        async with aio.finish() as block:
            block.cancel()
            async with aio.finish(shield=True):
                log.append(await units.acquire())
                await checkpoint()
            log.append(await aio.cancellable(units.acquire()))
            await anyio.sleep_forever()
        return log

    assert loop.run(main) == [True, aio.CANCELLED]


def test_a_block_that_is_entered_after_the_cancel_is_cancelled(loop: EventLoop) -> None:
    async def main() -> None:
        units = aio.Semaphore(1)
        async with aio.finish() as block:
            block.cancel()
            async with aio.finish() as inner:
                assert await aio.cancellable(units.acquire()) is aio.CANCELLED
                inner.start(units.acquire)
                inner.start(anyio.sleep_forever)
        assert units.value == 1

    loop.run(main)


def test_what_was_cancelled_is_forgotten_with_its_block(loop: EventLoop) -> None:
    async def main() -> None:
        units = aio.Semaphore(3)
        async with aio.finish() as outer:
            async with aio.finish() as block:
                block.start(anyio.sleep_forever)
                block.cancel()
            await units.acquire()
            await checkpoint()
            assert outer.start(units.acquire).result()
        await units.acquire()
        for _ in range(3):
            await checkpoint()

    loop.run(main)


def test_a_cancel_of_nothing_that_waits_goes_unnoticed(loop: EventLoop) -> None:
    async def main() -> list[int]:
        log: list[Any] = []
        async with aio.finish() as block:
            block.cancel()
            log.append(1)
        for number in range(3):
            await checkpoint()
            log.append(number)
        return log

    assert loop.run(main) == [1, 0, 1, 2]


def test_a_deadline_around_a_block_cancels_it_and_is_not_absorbed(loop: EventLoop) -> None:
    async def main() -> None:
        units = aio.Semaphore(0)
        with anyio.move_on_after(0.01) as scope:
            async with aio.finish() as block:
                call = block.start(units.acquire)
                await aio.cancellable(units.acquire())
            raise AssertionError("the deadline was lost")
        assert scope.cancelled_caught
        assert call.state == "cancelled"
        await checkpoint()

    loop.run(main)


def test_a_deadline_while_the_block_waits_at_its_end(loop: EventLoop) -> None:
    async def main() -> None:
        units = aio.Semaphore(0)
        with anyio.move_on_after(0.01) as scope:
            async with aio.finish() as block:
                call = block.start(units.acquire)
        assert scope.cancelled_caught
        assert call.state == "cancelled"
        await checkpoint()

    loop.run(main)


def test_cancel_and_a_deadline_at_once(loop: EventLoop) -> None:
    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with aio.finish() as block:
                block.start(anyio.sleep_forever)
                block.cancel()
                scope.cancel()
                await anyio.sleep_forever()
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        await checkpoint()

    loop.run(main)


def test_a_cancel_does_not_take_the_word_from_a_scope_on_asyncio() -> None:
    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with aio.finish() as block:
                asyncio.get_running_loop().call_soon(scope.cancel)
                block.cancel()
                await checkpoint()
        assert scope.cancelled_caught

    asyncio.run(main())


def test_a_cancel_around_is_not_taken_for_one_from_without_where_errors_hid_it_on_asyncio() -> None:
    async def fail() -> None:
        raise LookupError

    async def slow() -> None:
        async with aio.finish(shield=True):
            for _ in range(5):
                await checkpoint()

    async def main() -> None:
        async with aio.finish() as outer:
            outer.start(slow)
            try:
                async with aio.finish() as inner:
                    inner.start(fail)
                    outer.cancel()
                    await asyncio.sleep(100)
            except* LookupError:
                pass
        await checkpoint()

    asyncio.run(main())


def test_who_is_cancelled_on_asyncio_inner_blocks_first_and_last_come_first() -> None:
    async def main() -> list[str]:
        log: list[str] = []

        async def call(name: str) -> None:
            try:
                await asyncio.sleep(100)
            finally:
                log.append(name)

        async def nested() -> None:
            async with aio.finish() as inner:
                inner.start(call, "inner 1")
                inner.start(call, "inner 2")
                await call("inner itself")

        async with aio.finish() as block:
            block.start(call, "1")
            block.start(nested)
            block.start(call, "2")
            block.cancel()
            await call("itself")
        return log

    assert asyncio.run(main()) == ["inner 2", "inner 1", "inner itself", "2", "1", "itself"]


def test_a_task_on_asyncio_is_left_with_no_cancellation_counted() -> None:
    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        async with aio.finish() as block:
            block.start(asyncio.sleep, 100)
            block.cancel()
            await asyncio.sleep(100)
        assert task.cancelling() == 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.sleep(100)

    asyncio.run(main())


def test_a_task_on_asyncio_that_is_cancelled_with_its_block_is_cancelled() -> None:
    async def main() -> None:
        block = aio.finish()

        async def work() -> None:
            async with block:
                assert await aio.cancellable(asyncio.sleep(100)) is aio.CANCELLED
            raise AssertionError("the task's own cancellation was lost")

        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        block.cancel()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
