"""Pipe in coroutines: pieces and streams, cancelled, reset, ended; beside real processes."""

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.conformance.backends import Processes, Threads
from tests.conformance.loops import EventLoop, until_waiting
from underpass import EndOfStream, Pipe, ResetError, WouldBlock, _loops

World = Threads | Processes


def test_a_stream_goes_both_ways(loop: EventLoop, machine: World) -> None:
    pipe, data = Pipe(64), bytes(range(256)) * 3
    writer = machine.start(pipe.write, data)

    async def main() -> None:
        assert await pipe.aio.read(len(data)) == data

    loop.run(main)
    writer.result()
    reader = machine.start(pipe.read, len(data))

    async def back() -> None:
        await pipe.aio.write(data)

    loop.run(back)
    assert reader.result() == data


def test_a_cancelled_task_has_read_and_written_nothing(loop: EventLoop) -> None:
    pipe = Pipe(8)

    async def main() -> None:
        pipe.write(b"abc")
        with anyio.move_on_after(0.01):
            await pipe.aio.read(4)
        assert pipe.depth == 3
        pipe.write(b"def")
        with anyio.move_on_after(0.01):
            await pipe.aio.write(b"wxyz")
        assert await pipe.aio.read_some(100) == b"abcdef"

    loop.run(main)


def test_tasks_wait_for_as_much_as_each_needs(loop: EventLoop) -> None:
    pipe, got = Pipe(64), list[bytes]()

    async def read(size: int) -> None:
        got.append(await pipe.aio.read(size))

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read, 20)
            tasks.start_soon(read, 2)
            await until_waiting(2)
            await pipe.aio.write(b"ab")
            await until_waiting(1)
            pipe.aio.write_nowait(b"x" * 20)

    loop.run(main)
    assert got == [b"ab", b"x" * 20]


def test_reset_and_shutdown_end_the_waits(loop: EventLoop) -> None:
    pipe, ends = Pipe(8), list[tuple[type, bytes]]()

    async def read() -> None:
        buffer = bytearray(50)
        try:
            await pipe.aio.read_into(buffer)
        except (ResetError, EndOfStream) as error:
            ends.append((type(error), bytes(buffer[: error.transferred]) + error.data))

    async def main() -> None:
        for end in (pipe.aio.reset, pipe.aio.shutdown):
            async with anyio.create_task_group() as tasks:
                pipe.write(b"abc")
                tasks.start_soon(read)
                await until_waiting(1)
                end()
        with pytest.raises(EndOfStream):
            await pipe.aio.write(b"x" * 100)
        with pytest.raises(EndOfStream):
            pipe.aio.read_some_nowait(1)

    loop.run(main)
    assert ends == [(ResetError, b"abcabc"), (EndOfStream, b"abcabc")]


def test_the_rest_of_the_face(loop: EventLoop) -> None:
    async def main() -> None:
        pipe = Pipe(4).aio
        with pipe.putting():
            assert (pipe.capacity, pipe.depth, pipe.statistics().writers) == (4, 0, 1)
        await pipe.write(b"")
        pipe.write_nowait(b"1234")
        with pytest.raises(WouldBlock):
            pipe.write_nowait(b"5")
        assert pipe.read_nowait(4) == b"1234"

    loop.run(main)


def test_who_came_before_a_reset_is_told_though_it_looks_after_it() -> None:
    pipe = Pipe(8)
    reading, writing = _loops.bytes_since(pipe, 1), _loops.bytes_of_room_since(pipe.room, 1)
    pipe.reset()
    pipe.write(b"new")
    with pytest.raises(ResetError):
        _loops.write_since(pipe, b"old", writing)
    for read in (_loops.read_since, _loops.read_some_since):
        with pytest.raises(ResetError):
            read(pipe, 1, reading)
    assert pipe.read_some(100) == b"new"


def swallow(*_: object) -> None:
    """Write, where there is always room."""


def supply(*_: object) -> bytes:
    """Read, where there are always two bytes."""
    return b"xy"


@pytest.mark.parametrize("verb", ["write", "read"])
def test_a_stream_that_never_waits_lets_other_tasks_run(
    loop: EventLoop, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    pipe, size, turns = Pipe(8), 2 * 100, list[int]()
    # The other side is always there in time.
    monkeypatch.setattr(_loops, "write_since", swallow)
    monkeypatch.setattr(_loops, "read_some_since", supply)

    async def stream() -> None:
        await (pipe.aio.write(bytes(size)) if verb == "write" else pipe.aio.read(size))
        turns.append(-1)

    async def other() -> None:
        while -1 not in turns:
            turns.append(1)
            await checkpoint()

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream)
            tasks.start_soon(other)

    loop.run(main)
    assert turns.index(-1) >= 5


def test_a_buffer_that_cannot_be_written_loses_nothing(loop: EventLoop) -> None:
    pipe = Pipe(16)
    pipe.write(b"abcd")

    async def main() -> None:
        with pytest.raises(TypeError, match="writable buffer"):
            await pipe.aio.read_into(b"wxyz")
        assert pipe.depth == 4
        buffer = bytearray(4)
        assert await pipe.aio.read_into(buffer) == 4
        assert buffer == b"abcd"

    loop.run(main)
