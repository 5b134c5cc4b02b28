"""SpscRing and MpscRing: Zephyr's spsc_pbuf and mpsc_pbuf, between threads, processes and the lab's."""

import pickle
from collections.abc import Callable
from functools import partial

import pytest

from tests.conformance.backends import SOON, Processes, Threads
from underpass import (
    ClosedError,
    Event,
    ExistsError,
    MessageTooLongError,
    MismatchError,
    MisuseError,
    NotFoundError,
    TimedOut,
    WouldBlock,
    wait_any,
)
from underpass.data import MpscRing, Ring, SpscRing

World = Threads | Processes

MAKERS: list[Callable[[int], SpscRing | MpscRing]] = [SpscRing, MpscRing]
either = pytest.mark.parametrize("make", MAKERS, ids=["spsc", "mpsc"])


def drained(ring: Ring) -> list[bytes]:
    """All that is there."""
    found = list[bytes]()
    while True:
        try:
            found.append(ring.read_nowait())
        except WouldBlock:
            return found


# ── one process, nobody waits ───────────────────────────────────────────────────────────────────────────────────────


@either
def test_packets_are_read_in_order(make: Callable[[int], Ring]) -> None:
    ring = make(256)
    for packet in (b"one", b"", b"three"):
        ring.write(packet)
    assert (ring.depth, ring.capacity, ring.next_size) == (3, 256, 3)
    assert [ring.read(), ring.read(timeout=0), ring.read_nowait()] == [b"one", b"", b"three"]
    assert (ring.depth, ring.next_size) == (0, None)


@either
@pytest.mark.parametrize("capacity", [-1, 0, 63, 2**30 + 1, 2**70])
def test_capacity_out_of_range_is_refused(make: Callable[[int], Ring], capacity: int) -> None:
    with pytest.raises(ValueError, match=r"capacity|range"):
        make(capacity)


@either
def test_in_vain(make: Callable[[int], Ring]) -> None:
    ring = make(64)
    with pytest.raises(WouldBlock, match="gave no packet without waiting: 0 packets of at most 15 are there"):
        ring.read_nowait()
    with pytest.raises(TimedOut):
        ring.take(timeout=0)
    with pytest.raises(TimedOut, match=f"within {SOON} s"):
        ring.read(timeout=SOON)
    ring.write(b"x" * 32)
    ring.write(b"y" * 32)
    with pytest.raises(WouldBlock, match=r"took no packet without waiting: 2 packets of at most 15 are there, pid \d+"):
        ring.write_nowait(b"z")
    with pytest.raises(TimedOut, match=f"lent nothing within {SOON} s"):
        ring.claim(1, timeout=SOON)


@either
def test_oversize_is_refused(make: Callable[[int], Ring]) -> None:
    ring = make(100)
    for attempt in (lambda: ring.write(b"x" * 49), lambda: ring.claim(49), lambda: ring.claim_nowait(2**40)):
        with pytest.raises(MessageTooLongError, match="create it with a capacity of"):
            attempt()
    with pytest.raises(ValueError, match="more than the 48 bytes"):
        ring.room_for(49)
    ring.write(b"x" * 48)
    assert drained(ring) == [b"x" * 48]


def test_nine_of_22_bytes_fit_and_the_tenth_does_not() -> None:
    ring = SpscRing(216)
    for number in range(9):
        ring.write_nowait(bytes([number]) * 22)
    with pytest.raises(WouldBlock):
        ring.write_nowait(b"x")
    assert ring.next_size == 22
    assert ring.read() == bytes(22)
    ring.write_nowait(b"x" * 24)
    assert drained(ring) == [*(bytes([number]) * 22 for number in range(1, 9)), b"x" * 24]


@either
def test_packets_that_would_wrap_are_in_one_piece(make: Callable[[int], Ring]) -> None:
    ring = make(104)
    expected, refused = list[bytes](), 0
    for turn in range(400):
        packet = bytes((turn + byte) % 256 for byte in range(turn * 7 % 49))
        while True:
            try:
                ring.write_nowait(packet)
            except WouldBlock:
                refused += 1
                with ring.take() as taken:
                    assert bytes(taken) == expected.pop(0)
            else:
                break
        expected.append(packet)
    assert refused > 100
    assert drained(ring) == expected


def test_there_are_at_most_so_many() -> None:
    ring = MpscRing(4096)
    for number in range(127):
        ring.write_nowait(bytes([number]))
    with pytest.raises(WouldBlock, match="127 packets of at most 127"):
        ring.write_nowait(b"x")
    assert ring.read() == b"\0"
    ring.write_nowait(b"x")
    assert ring.statistics().depth == 127


# ── claim and commit ────────────────────────────────────────────────────────────────────────────────────────────────


@either
def test_claims_are_read_in_their_order(make: Callable[[int], Ring]) -> None:
    ring = make(256)
    first, second = ring.claim(16), ring.claim_nowait(3)
    second[:] = b"two"
    second.commit()
    assert ring.next_size is None
    with pytest.raises(WouldBlock, match=r"fills 1"):
        ring.read_nowait()
    first[:5] = b"first"
    first.commit(5)
    assert drained(ring) == [b"first", b"two"]
    assert list(ring.statistics().claimed.values()) == []


def test_what_is_abandoned_is_skipped() -> None:
    ring = MpscRing(256)
    with pytest.raises(ZeroDivisionError), ring.claim(8):
        raise ZeroDivisionError
    forgotten = ring.claim(8)
    kept = ring.claim(1)
    del forgotten
    ring.write(b"after")
    kept.abandon()
    assert ring.read_nowait() == b"after"
    assert (ring.statistics().skipped, ring.depth) == (3, 0)
    with pytest.raises(MisuseError, match="settled before"):
        kept.commit()


def test_what_is_abandoned_gives_its_room_back() -> None:
    ring = MpscRing(64)
    for _ in range(2):
        ring.claim(32).abandon()
    with pytest.raises(WouldBlock):
        ring.write_nowait(b"x")
    with pytest.raises(WouldBlock):
        ring.read_nowait()
    ring.write_nowait(b"x" * 32)
    assert ring.read() == b"x" * 32


def test_more_than_was_claimed_is_refused() -> None:
    ring = SpscRing(256)
    claim = ring.claim(8)
    with pytest.raises(ValueError, match="more than the 8 bytes lent"):
        claim.commit(9)
    view = memoryview(claim)
    with pytest.raises(MisuseError, match="1 views of its bytes"):
        claim.commit()
    view[:] = b"in place"
    view.release()
    claim.commit()
    assert ring.read() == b"in place"


# ── take and free ───────────────────────────────────────────────────────────────────────────────────────────────────


@either
def test_a_packet_is_freed_or_put_back(make: Callable[[int], Ring]) -> None:
    ring = make(256)
    ring.write(b"packet")
    ring.write(b"second")
    with pytest.raises(ZeroDivisionError), ring.take():
        raise ZeroDivisionError
    forgotten = ring.take()
    del forgotten
    packet = ring.take_nowait()
    assert (packet[:], packet[0], len(packet), ring.depth) == (b"packet", ord("p"), 6, 2)
    packet.put_back()
    with ring.take() as packet:
        assert bytes(packet) == b"packet"
        with pytest.raises(TypeError):
            memoryview(packet)[0] = 1
    assert ring.read() == b"second"
    with pytest.raises(MisuseError, match="settled before"):
        packet.free()
    with pytest.raises(BufferError):
        memoryview(packet)


@either
def test_one_packet_is_read_at_a_time(make: Callable[[int], Ring]) -> None:
    ring = make(256)
    ring.write(b"packet")
    packet = ring.take()
    for attempt in (ring.take_nowait, ring.read, partial(ring.read, timeout=0)):
        with pytest.raises(MisuseError, match="one packet is read at a time"):
            attempt()
    assert wait_any(ring, timeout=0) == [ring]
    view = memoryview(packet)
    with pytest.raises(MisuseError, match="1 views"):
        packet.free()
    view.release()
    packet.free()
    assert drained(ring) == []


def test_a_packet_outlives_its_handle() -> None:
    ring = MpscRing.create("log", 256)
    ring.write(b"packet")
    with MpscRing.open("log").take() as packet:
        ring.close()
        assert bytes(packet) == b"packet"
    with pytest.raises(ClosedError):
        ring.read_nowait()
    MpscRing.open("log").unlink()


# ── who may ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@either
def test_another_process_does_not_read(processes: Processes, make: Callable[[int], Ring]) -> None:
    ring = make(256)
    ring.write(b"mine")
    assert ring.read() == b"mine"

    def read() -> str:
        assert wait_any(ring, timeout=0) == [ring]
        with pytest.raises(MisuseError) as refused:
            ring.read()
        return str(refused.value)

    assert "one reader at a time" in processes.start(read).result()


def test_another_process_does_not_write_where_one_does(processes: Processes) -> None:
    one, many = SpscRing(256), MpscRing(256)
    for ring in (one, many):
        ring.write(b"mine")

    def write() -> str:
        many.write(b"theirs")
        assert wait_any(one.room_for(1), timeout=0) != []
        with pytest.raises(MisuseError) as refused:
            one.write(b"theirs")
        return str(refused.value)

    assert "an SpscRing has one writer at a time" in processes.start(write).result()
    assert (drained(one), drained(many)) == ([b"mine"], [b"mine", b"theirs"])


# ── waiting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@either
def test_the_reader_waits(world: World, make: Callable[[int], Ring]) -> None:
    ring = make(256)
    reader = world.start(ring.read)
    reader.until_asleep()
    ring.write(b"late")
    assert reader.result() == b"late"


def test_the_reader_waits_for_the_first_claim(world: World) -> None:
    ring = MpscRing(256)
    first, second = ring.claim(5), ring.claim(6)
    reader = world.start(lambda: [ring.read(), ring.read()])
    reader.until_asleep()
    second[:] = b"second"
    second.commit()
    reader.until_asleep()
    first[:] = b"first"
    first.commit()
    assert reader.result() == [b"first", b"second"]


@either
def test_a_writer_waits_for_room(world: World, make: Callable[[int], Ring]) -> None:
    ring = make(64)

    def write() -> None:
        for number in range(6):
            ring.write(bytes([number]) * 20)

    writer = world.start(write)
    writer.until_asleep()
    got = [ring.read() for _ in range(6)]
    writer.result()
    assert got == [bytes([number]) * 20 for number in range(6)]


@either
def test_it_is_waited_for_beside_others(world: World, make: Callable[[int], Ring]) -> None:
    ring, stop = make(64), Event()
    with pytest.raises(TimedOut):
        wait_any(ring, stop, timeout=0)
    reader = world.start(lambda: wait_any(ring, stop) == [ring] and ring.read())
    reader.until_asleep()
    ring.write(b"late")
    assert reader.result() == b"late"


def test_room_is_waited_for_beside_others(world: World) -> None:
    ring, stop = MpscRing(64), Event()
    ring.write(b"x" * 32)
    ring.write(b"y" * 32)
    room = ring.room_for(16)
    with pytest.raises(TimedOut):
        wait_any(room, stop, timeout=0)
    writer = world.start(lambda: wait_any(room, stop) == [room])
    writer.until_asleep()
    assert ring.read() == b"x" * 32
    assert writer.result()


def test_three_write_and_one_reads(world: World) -> None:
    ring, count = MpscRing(512), world.times(300)

    def write(writer: int) -> None:
        for number in range(count):
            if number % 4:
                ring.write(bytes([writer]) + number.to_bytes(4) + b"x" * (number % 40))
            else:
                with ring.claim(45) as packet:
                    packet[:5] = bytes([writer]) + number.to_bytes(4)
                    packet.commit(5)

    writers = [world.start(write, writer) for writer in range(3)]
    next_of = [0, 0, 0]
    for _ in range(3 * count):
        with ring.take() as packet:
            writer, number = packet[0], int.from_bytes(packet[1:5])
            assert len(packet) == 5 + (number % 40 if number % 4 else 0)
        assert number == next_of[writer]
        next_of[writer] += 1
    for writer in writers:
        writer.result()
    assert (next_of, drained(ring), ring.statistics().skipped) == ([count] * 3, [], 0)


@pytest.mark.deep
def test_three_write_a_hundred_thousand_each(processes: Processes) -> None:
    ring, count = MpscRing(4096), 100_000

    def write(writer: int) -> None:
        for number in range(count):
            ring.write(bytes([writer]) + number.to_bytes(4))

    writers = [processes.start(write, writer) for writer in range(3)]
    next_of = [0, 0, 0]
    for _ in range(3 * count):
        packet = ring.read()
        assert int.from_bytes(packet[1:]) == next_of[packet[0]]
        next_of[packet[0]] += 1
    for writer in writers:
        writer.result()


# ── names ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_by_name() -> None:
    ring = MpscRing.create("log", 1000)
    same = MpscRing.open_or_create("log", 1000)
    same.write(b"hello")
    assert pickle.loads(pickle.dumps(ring)).read() == b"hello"  # noqa: S301 - our own bytes
    assert "log" in repr(ring)
    assert "0 packets" in repr(ring)
    with pytest.raises(MismatchError, match="capacity"):
        MpscRing.open_or_create("log", 1001)
    with pytest.raises(MismatchError, match="SpscRing"):
        SpscRing.open("log")
    with pytest.raises(ExistsError):
        MpscRing.create("log", 1000)
    ring.unlink()
    with pytest.raises(NotFoundError):
        MpscRing.open("log")
