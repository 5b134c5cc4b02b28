"""Structured calls: what runs when, who ends before whom, where errors go; on each event loop."""

# pyright: reportPossiblyUnboundVariable=false
# What is assigned in a block that raises, as it should, is there after it.

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from typing import Any, cast

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.conformance.backends import Processes, Threads
from tests.conformance.loops import EventLoop, until, until_waiting, waiting
from underpass import MisuseError, Queue, aio

World = Threads | Processes
Log = list[object]


def test_a_call_that_does_not_wait_runs_in_plain_order(loop: EventLoop) -> None:
    async def main() -> Log:
        log: Log = []
        units, jobs = aio.Semaphore(1), aio.Queue()

        async def call(what: str) -> None:
            await units.acquire()
            await jobs.put(what.encode())
            log.append((what, await jobs.get()))
            units.release()

        async def other() -> None:
            log.append("another task of the loop")

        async with anyio.create_task_group() as group:
            group.start_soon(other)
            async with aio.finish() as block:
                block.start(call, "first")
                log.append("between")
                block.start(call, "second")
            log.append("after")
        return log

    assert loop.run(main) == [
        ("first", b"first"),
        "between",
        ("second", b"second"),
        "after",
        "another task of the loop",
    ]


def test_blocks_in_calls_that_do_not_wait_run_in_plain_order_too(loop: EventLoop) -> None:
    async def main() -> Log:
        log: Log = []

        async def call(depth: int) -> None:
            async with aio.finish() as block:
                if depth:
                    block.start(call, depth - 1)
                log.append(depth)
            log.append(-depth)

        async with aio.finish() as block:
            block.start(call, 3)
            log.append("here")
        return log

    assert loop.run(main) == [0, 0, 1, -1, 2, -2, 3, -3, "here"]


def test_a_call_that_waits_lets_its_caller_go_on(loop: EventLoop) -> None:
    async def main() -> Log:
        log: Log = []
        units = aio.Semaphore(0)

        async def call() -> None:
            log.append("begins")
            await units.acquire()
            log.append("ends")

        async with aio.finish() as block:
            block.start(call)
            log.append("caller")
            units.release()
        log.append("after")
        return log

    assert loop.run(main) == ["begins", "caller", "ends", "after"]


def test_nobody_passes_the_end_before_all_calls_have_ended(loop: EventLoop) -> None:
    async def main() -> None:
        units = aio.Semaphore(0)
        ended: list[int] = []

        async def call(number: int) -> None:
            await units.acquire()
            ended.append(number)

        async def outer() -> None:
            async with aio.finish() as inner:
                for number in range(3):
                    inner.start(call, number)
            assert sorted(ended) == [0, 1, 2], "the inner block first"
            ended.append(9)

        async def releaser() -> None:
            for taken in range(3):
                await until_waiting(3 - taken)
                assert len(ended) == taken
                units.release()

        async with aio.finish() as block:
            block.start(outer)
            block.start(releaser)
        assert ended[3:] == [9]

    loop.run(main)


def test_a_call_starts_others_in_the_same_block_also_while_the_block_waits_at_its_end(loop: EventLoop) -> None:
    async def main() -> int:
        count = 0

        async def call(more: int) -> None:
            nonlocal count
            await checkpoint()
            count += 1
            if more:
                block.start(call, more - 1)
                block.start(call, more - 1)

        async with aio.finish() as block:
            block.start(call, 4)
        return count

    assert loop.run(main) == 31


def test_a_result_and_what_has_none(loop: EventLoop) -> None:
    async def main() -> None:
        jobs = aio.Queue()

        async def fails() -> None:
            raise KeyError("axle")

        with pytest.raises(ExceptionGroup) as raised:  # noqa: PT012 - the block is what raises
            async with aio.finish() as block:
                got = block.start(jobs.get)
                assert (got.state, got.name) == ("running", "Queue.get")
                with pytest.raises(MisuseError, match="has not ended"):
                    got.result()
                failed = block.start(fails)
                assert failed.state == "raised"
                await jobs.put(b"wheel")
        assert got.result() == b"wheel"
        assert (got.state, repr(got)) == ("returned", "<Call Queue.get returned>")
        with pytest.raises(KeyError):
            failed.result()
        assert [type(error) for error in raised.value.exceptions] == [KeyError]

    loop.run(main)


def test_an_error_waits_for_the_end_and_cancels_nobody_whether_its_call_waited_or_not(loop: EventLoop) -> None:
    async def main() -> None:
        log: Log = []

        async def fails(turns: int) -> None:
            for _ in range(turns):
                await checkpoint()
            raise ValueError(turns)

        async def works() -> None:
            for _ in range(5):
                await checkpoint()
            log.append("worked")

        with pytest.raises(ExceptionGroup) as raised:  # noqa: PT012 - the block is what raises
            async with aio.finish() as block:
                block.start(works)
                for turns in (0, 1, 2):
                    block.start(fails, turns)
                log.append("caller")
        assert log == ["caller", "worked"]
        assert [error.args for error in raised.value.exceptions] == [(0,), (1,), (2,)]
        assert not block.cancel_requested

    loop.run(main)


def test_a_block_that_is_left_by_an_exception_is_cancelled_and_waits(loop: EventLoop) -> None:
    async def main() -> None:
        units = aio.Semaphore(0)
        log: Log = []

        async def call() -> None:
            try:
                await units.acquire()
            finally:
                log.append("ended")

        with pytest.raises(ExceptionGroup) as raised:  # noqa: PT012 - the block is what raises
            async with aio.finish() as block:
                started = block.start(call)
                raise LookupError
        assert [type(error) for error in raised.value.exceptions] == [LookupError]
        assert (log, started.state, waiting()) == (["ended"], "cancelled", 0)
        units.release()
        assert units.value == 1

    loop.run(main)


def test_errors_of_a_block_that_is_left_by_an_exception_come_together(loop: EventLoop) -> None:
    async def main() -> None:
        async def fails_when_cancelled() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                raise ValueError

        with pytest.raises(ExceptionGroup) as raised:  # noqa: PT012 - the block is what raises
            async with aio.finish() as block:
                block.start(fails_when_cancelled)
                raise LookupError
        assert {type(error) for error in raised.value.exceptions} == {LookupError, ValueError}

    loop.run(main)


def test_a_block_in_the_exception_path_of_a_block(loop: EventLoop) -> None:
    async def main() -> Log:
        log: Log = []
        units = aio.Semaphore(0)

        async def undo() -> None:
            await units.acquire()
            log.append("undone")

        with pytest.raises(ExceptionGroup):  # noqa: PT012 - the block is what raises
            async with aio.finish():
                try:
                    raise LookupError
                finally:
                    async with aio.finish() as repair:
                        repair.start(undo)
                        units.release()
                    log.append("repaired")
        return log

    assert loop.run(main) == ["undone", "repaired"]


def test_a_call_is_a_task_of_its_own_from_its_first_instruction(loop: EventLoop) -> None:
    async def main() -> None:
        mutex = aio.Mutex()
        scopes: list[anyio.CancelScope] = []
        mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="caller's")

        async def call() -> None:
            mark.set("call's")
            async with mutex:
                with anyio.move_on_after(0) as scope:
                    scopes.append(scope)
                    await anyio.sleep_forever()
                await checkpoint()
                with pytest.raises(MisuseError):
                    mutex.acquire_nowait()
                assert mark.get() == "call's"

        async with aio.finish() as block:
            started = block.start(call)
            assert mark.get() == "caller's"
            await mutex.acquire()
            mutex.release()
        assert scopes[0].cancelled_caught
        assert started.state == "returned"

    loop.run(main)


def test_calls_are_one_thread(loop: EventLoop) -> None:
    async def main() -> None:
        threads: set[int] = set()
        before = threading.active_count()

        async def call() -> None:
            threads.add(threading.get_ident())
            await checkpoint()
            threads.add(threading.get_ident())

        async with aio.finish() as block:
            for _ in range(10):
                block.start(call)
            assert threading.active_count() == before
        assert threads == {threading.get_ident()}

    loop.run(main)


def test_what_start_refuses(loop: EventLoop) -> None:
    async def main() -> None:
        async def call(number: int = 0) -> int:
            return number

        unused: Any = call()
        block = aio.finish()
        with pytest.raises(MisuseError, match="not entered yet"):
            block.start(call)
        async with block:
            with pytest.raises(TypeError, match=r"not start\(f\(x\)\)"):
                block.start(unused)
            plain: Any = len
            with pytest.raises(TypeError, match="no async function"):
                block.start(plain, "abc")
            with pytest.raises(TypeError):
                block.start(cast("Any", call), 1, 2)
        with pytest.raises(MisuseError, match="is over"):
            block.start(call)
        with pytest.raises(MisuseError, match="entered once"):
            async with block:
                pass
        with pytest.raises(MisuseError, match="no finish block"):
            aio.cancel()

    loop.run(main)


def test_two_lookups_of_two_servers_side_by_side(loop: EventLoop, world: World) -> None:
    asked, answers = [Queue(), Queue()], [Queue(), Queue()]

    def servers() -> None:
        # Neither answers before both were asked: calls one after the other would never end.
        names = [queue.get() for queue in asked]
        for queue, name in zip(reversed(answers), reversed(names), strict=True):
            queue.put(name.upper())

    actor = world.start(servers)

    async def lookup(server: int, name: bytes) -> bytes:
        await asked[server].aio.put(name)
        return await answers[server].aio.get()

    async def main() -> tuple[bytes, bytes]:
        async with aio.finish() as both:
            first = both.start(lookup, 0, b"alpha")
            second = both.start(lookup, 1, b"beta")
        return first.result(), second.result()

    assert loop.run(main) == (b"ALPHA", b"BETA")
    actor.result()


def test_many_calls_and_a_deep_chain(loop: EventLoop) -> None:
    async def main() -> int:
        units, done = aio.Semaphore(0), 0

        async def call() -> None:
            nonlocal done
            await units.acquire()
            done += 1

        async def deeper(depth: int, then: Callable[[], Coroutine[Any, Any, None]]) -> None:
            if not depth:
                await then()
                return
            async with aio.finish() as block:
                block.start(deeper, depth - 1, then)

        async with aio.finish() as block:
            for _ in range(500):
                block.start(call)
            block.start(deeper, 40, call)
            assert waiting() == 501
            units.release(501)
        await until(lambda: waiting() == 0)
        return done

    assert loop.run(main) == 501


@pytest.mark.parametrize("turns", [0, 1])
@pytest.mark.parametrize("ending", [SystemExit, KeyboardInterrupt])
def test_what_ends_the_program_ends_it_whether_its_call_waited_or_not(ending: type[BaseException], turns: int) -> None:
    async def leave() -> None:
        for _ in range(turns):
            await checkpoint()
        raise ending(3)

    async def main() -> None:
        async with aio.finish() as block:
            block.start(leave)

    with pytest.raises(ending) as left:
        asyncio.run(main())
    assert left.value.args == (3,)
