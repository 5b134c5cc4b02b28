"""Pipe: bytes in order, pieces and streams, resets and ends, between threads, processes and the lab's."""

import array
import hashlib
import pickle
from collections.abc import Callable

import pytest

from tests.conformance.backends import SOON, Processes, Threads
from underpass import (
    ClosedError,
    EndOfStream,
    MismatchError,
    PeerDiedError,
    Pipe,
    ResetError,
    TimedOut,
    WouldBlock,
    wait_any,
)

World = Threads | Processes

# ── one process, nobody waits ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("capacity", [0, -1, 2**28 + 1, 2**70])
def test_capacity_out_of_range_is_refused(capacity: int) -> None:
    with pytest.raises(ValueError, match=r"capacity|range"):
        Pipe(capacity)


@pytest.mark.parametrize("capacity", [1, 2, 5, 8, 100])
def test_ring_wraps_around(capacity: int) -> None:
    pipe = Pipe(capacity)
    for lap in range(40):
        data = bytes((lap + place) % 256 for place in range(1 + lap % capacity))
        pipe.write_nowait(data)
        assert pipe.depth == len(data)
        assert pipe.read_nowait(len(data)) == data


def test_full_and_empty() -> None:
    pipe = Pipe(8)
    for read in (lambda: pipe.read_nowait(1), lambda: pipe.read_some_nowait(1)):
        with pytest.raises(WouldBlock):
            read()
    pipe.write(b"12345678", timeout=0)
    with pytest.raises(WouldBlock) as blocked:
        pipe.write_nowait(b"9")
    assert "8 of 8 bytes are in it" in str(blocked.value)
    with pytest.raises(TimedOut) as late:
        pipe.write(b"9", timeout=SOON)
    assert (late.value.transferred, pipe.depth) == (0, 8)
    assert pipe.read(8, timeout=0) == b"12345678"


def test_pieces_are_whole_or_nothing() -> None:
    pipe = Pipe(8)
    pipe.write(b"123456")
    with pytest.raises(TimedOut) as late:
        pipe.write(b"abcd", timeout=SOON)
    assert (late.value.transferred, pipe.depth) == (0, 6)
    pipe.read(4)
    with pytest.raises(TimedOut) as early:
        pipe.read(4, timeout=SOON)
    assert (early.value.transferred, early.value.data, pipe.depth) == (0, b"", 2)
    assert pipe.read_some(100) == b"56"


def test_streams_say_how_far_they_came() -> None:
    pipe = Pipe(8)
    with pytest.raises(TimedOut, match="only 8 of 20 bytes") as late:
        pipe.write(bytes(range(20)), timeout=SOON)
    assert late.value.transferred == 8
    with pytest.raises(TimedOut) as early:
        pipe.read(20, timeout=SOON)
    assert (early.value.transferred, early.value.data) == (8, bytes(range(8)))
    buffer = bytearray(9)
    pipe.write(b"xyz")
    with pytest.raises(TimedOut) as into:
        pipe.read_into(buffer, timeout=SOON)
    assert (into.value.transferred, buffer[:3]) == (3, b"xyz")


def test_what_can_never_be_done_at_once_is_refused() -> None:
    pipe = Pipe(8)
    with pytest.raises(ValueError, match="capacity of 8 bytes, so write_nowait of 9"):
        pipe.write_nowait(b"123456789")
    with pytest.raises(ValueError, match="so read_nowait of 9"):
        pipe.read_nowait(9)
    with pytest.raises(ValueError, match="limit=0"):
        pipe.read_some(0)
    with pytest.raises(ValueError, match="size=-1"):
        pipe.read(-1)


def test_nothing_is_read_and_written_at_once() -> None:
    pipe = Pipe(4)
    assert pipe.read(0) == b""
    pipe.write(b"")
    assert pipe.read_into(bytearray()) == 0
    assert pipe.depth == 0


def test_any_contiguous_buffer_is_written() -> None:
    pipe, numbers = Pipe(), array.array("i", [1, 2, 3])
    pipe.write(bytearray(b"array"))
    pipe.write(memoryview(b"xviewx")[1:-1])
    pipe.write(numbers)
    assert pipe.read(9) == b"arrayview"
    again = array.array("i", [0, 0, 0])
    assert pipe.read_into(again) == again.itemsize * 3
    assert again == numbers
    with pytest.raises(TypeError, match="Pipe carries bytes"):
        pipe.write("text")  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="writable"):
        pipe.read_into(b"fixed")


def test_a_closed_handle_is_refused() -> None:
    pipe = Pipe()
    pipe.close()
    uses: list[Callable[[], object]] = [lambda: pipe.write(b"x"), lambda: pipe.read(1), pipe.reset, pipe.shutdown]
    for use in uses:
        with pytest.raises(ClosedError):
            use()
    assert "closed" in repr(pipe)


def test_names_and_pickles() -> None:
    pipe = Pipe.create("lines", 100)
    again: Pipe = pickle.loads(pickle.dumps(pipe))  # noqa: S301 - our own bytes
    pipe.write(b"x")
    assert again.read(1) == b"x"
    assert Pipe.open_or_create("lines", 100).capacity == 100
    with pytest.raises(MismatchError, match="capacity=100"):
        Pipe.open_or_create("lines", 200)
    assert repr(pickle.loads(pickle.dumps(pipe.room))) == "<room of pipe 'lines'>"  # noqa: S301 - our own bytes
    pipe.unlink()


def test_statistics_and_repr() -> None:
    pipe = Pipe.create("told", 10)
    pipe.write(b"abc")
    with pipe.putting():
        told = pipe.statistics()
        assert (told.depth, told.capacity, told.writers, told.shut_down, told.waiters) == (3, 10, 1, False, 0)
    pipe.shutdown()
    assert repr(pipe) == "<Pipe 'told', 3 of 10 bytes, shut down>"
    assert repr(pipe.statistics()) == "PipeStatistics(depth=3, capacity=10, writers=0, shut_down=True, waiters=0)"
    pipe.unlink()


# ── waiting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_reader_waits_for_all_of_it(world: World) -> None:
    pipe = Pipe(16)
    reader = world.start(pipe.read, 6)
    reader.until_asleep()
    pipe.write(b"abc")
    reader.until_asleep()
    pipe.write(b"defg")
    assert reader.result() == b"abcdef"
    assert pipe.depth == 1


def test_a_writer_waits_for_room_for_all_of_it(world: World) -> None:
    pipe = Pipe(8)
    pipe.write(b"12345678")
    writer = world.start(pipe.write, b"abcd")
    writer.until_asleep()
    assert pipe.read(2) == b"12"
    writer.until_asleep()
    assert pipe.read(2) == b"34"
    writer.result()
    assert pipe.read_some(100) == b"5678abcd"


def test_each_goes_on_that_finds_enough(world: World) -> None:
    pipe = Pipe(64)
    long, short = world.start(pipe.read, 20), world.start(pipe.read, 2)
    long.until_asleep()
    short.until_asleep()
    pipe.write(b"ab")
    assert short.result() == b"ab"
    assert not long.ended
    pipe.write(b"x" * 20)
    assert long.result() == b"x" * 20


@pytest.mark.parametrize("capacity", [1, 7, 64])
def test_a_stream_longer_than_the_pipe_arrives(world: World, capacity: int) -> None:
    pipe, data = Pipe(capacity), bytes(range(200))
    writer = world.start(pipe.write, data)
    assert pipe.read(100) + pipe.read(100) == data
    writer.result()


def test_a_long_copy_arrives_whole(machine: World) -> None:
    pipe, data = Pipe(), bytes(range(256)) * 8192
    reader = machine.start(lambda: hashlib.sha256(pipe.read(len(data))).digest())
    pipe.write(data)
    assert reader.result() == hashlib.sha256(data).digest()


def test_pieces_of_several_writers_do_not_mix(world: World) -> None:
    pipe = Pipe(20)

    def writes(letter: bytes) -> None:
        for _ in range(8):
            pipe.write(letter * 7)

    writers = [world.start(writes, letter) for letter in (b"a", b"b", b"c")]
    pieces = [pipe.read(7) for _ in range(24)]
    for writer in writers:
        writer.result()
    assert sorted(pieces) == [b"a" * 7] * 8 + [b"b" * 7] * 8 + [b"c" * 7] * 8


# ── ends ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_shutdown_fails_writers_and_lets_readers_drain(world: World) -> None:
    pipe = Pipe(4)
    pipe.write(b"1234")
    writer = world.start(pipe.write, b"56")
    writer.until_asleep()
    pipe.shutdown()
    with pytest.raises(EndOfStream):
        writer.result()
    with pytest.raises(EndOfStream):
        pipe.write(b"x")
    assert pipe.read(3) == b"123"
    with pytest.raises(EndOfStream, match="read_some gets the 1 that are left") as end:
        pipe.read(2)
    assert (end.value.transferred, end.value.data) == (0, b"")
    with pytest.raises(EndOfStream) as end:
        pipe.read(3)
    assert (end.value.transferred, end.value.data) == (1, b"4")
    with pytest.raises(EndOfStream):
        pipe.read_some(1)


def test_shutdown_wakes_readers(world: World) -> None:
    pipe = Pipe()
    readers = [world.start(pipe.read, 5), world.start(pipe.read_some, 5)]
    for reader in readers:
        reader.until_asleep()
    pipe.shutdown()
    for reader in readers:
        with pytest.raises(EndOfStream):
            reader.result()


def test_reset_wakes_a_writer_and_the_pipe_stays_open(world: World) -> None:
    pipe = Pipe(4)
    pipe.write(b"1234")
    writer = world.start(pipe.write, b"56")
    writer.until_asleep()
    pipe.reset()
    with pytest.raises(ResetError):
        writer.result()
    assert pipe.depth == 0
    pipe.write(b"anew", timeout=0)
    assert pipe.read(4) == b"anew"


def test_reset_wakes_a_reader_with_what_it_had(world: World) -> None:
    pipe = Pipe(8)

    def read() -> tuple[int, bytes]:
        with pytest.raises(ResetError) as reset:
            pipe.read(100)
        return reset.value.transferred, reset.value.data

    pipe.write(b"abc")
    reader = world.start(read)
    reader.until_asleep()
    pipe.reset()
    assert reader.result() == (3, b"abc")


def test_the_last_writer_leaves(world: World) -> None:
    pipe = Pipe()
    go = world.flag()

    def writes() -> None:
        with pipe.putting():
            pipe.write(b"last")
            go.wait()

    writer = world.start(writes)
    assert pipe.read(4) == b"last"
    reader = world.start(pipe.read, 1)
    reader.until_asleep()
    go.raise_()
    writer.result()
    with pytest.raises(EndOfStream):
        reader.result()


def test_the_last_writer_dies(mortals: Processes) -> None:
    pipe = Pipe()
    go = mortals.flag()

    def writes() -> None:
        with pipe.putting():
            pipe.write(b"last")
            go.wait()

    writer = mortals.start(writes)
    assert pipe.read(2) == b"la"
    writer.kill()
    with pytest.raises(PeerDiedError) as died:
        pipe.read(20)
    assert (died.value.transferred, died.value.data) == (0, b"")
    assert pipe.read_some(20) == b"st"
    with pytest.raises(PeerDiedError):
        pipe.read_some(1)
    with pipe.putting(), pytest.raises(WouldBlock):
        pipe.read_nowait(1)


def test_who_dies_asleep_keeps_nobody_back(mortals: Processes) -> None:
    pipe = Pipe(8)
    dying, reader = mortals.start(pipe.read, 2), mortals.start(pipe.read, 2)
    dying.until_asleep()
    reader.until_asleep()
    dying.kill()
    pipe.write(b"ab")
    assert reader.result() == b"ab"


# ── with others ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_readiness() -> None:
    pipe = Pipe(2)
    assert wait_any(pipe, pipe.room, timeout=0)[0] is not pipe
    pipe.write(b"ab")
    with pytest.raises(TimedOut):
        wait_any(pipe.room, timeout=0)
    assert wait_any(pipe, timeout=0) == [pipe]
    pipe.read(2)
    pipe.shutdown()
    assert len(wait_any(pipe, pipe.room, timeout=0)) == 2
