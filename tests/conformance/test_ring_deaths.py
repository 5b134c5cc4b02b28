"""SpscRing and MpscRing: what the dead had claimed, or were about to read."""

from collections.abc import Callable

import pytest

from tests.conformance.backends import Flag, Processes
from underpass import MisuseError, PeerDiedError, WouldBlock, wait_any
from underpass.data import Loan, MpscRing, Packet, Ring, SpscRing


def claim(ring: Ring, sizes: list[int], done: Flag, never: Flag) -> None:
    """Claim packets and wait to be killed."""
    held = [ring.claim(size) for size in sizes]
    done.raise_()
    never.wait()
    del held


def take(ring: Ring, done: Flag, never: Flag) -> None:
    """Take a packet and wait to be killed."""
    packet = ring.take()
    done.raise_()
    never.wait()
    del packet


def test_a_dead_ones_gap_is_skipped(processes: Processes) -> None:
    ring, done, never = MpscRing(256), processes.flag(), processes.flag()
    ring.write(b"before")
    writer = processes.start(claim, ring, [8, 16], done, never)
    done.wait()
    ring.write(b"after")
    assert ring.statistics().claimed == {writer.pid: 2}
    assert ring.read() == b"before"
    with pytest.raises(WouldBlock, match=f"pid {writer.pid} fills 2"):
        ring.read_nowait()
    writer.kill()
    assert ring.next_size == 5
    assert ring.read_nowait() == b"after"
    assert (ring.statistics().skipped, ring.statistics().claimed) == (2, {})


def test_the_reader_that_sleeps_is_told(processes: Processes) -> None:
    ring, done, never = MpscRing(256), processes.flag(), processes.flag()
    reader = processes.start(ring.read)
    reader.until_asleep()
    writer = processes.start(claim, ring, [8], done, never)
    done.wait()
    ring.write(b"after")
    reader.until_asleep()
    writer.kill()
    assert reader.result() == b"after"


def test_a_waiting_set_is_told(processes: Processes) -> None:
    ring, done, never = MpscRing(256), processes.flag(), processes.flag()
    writer = processes.start(claim, ring, [8], done, never)
    done.wait()
    ring.write(b"after")
    reader = processes.start(lambda: (len(wait_any(ring)), ring.read_nowait()))
    reader.until_asleep()
    writer.kill()
    assert reader.result() == (1, b"after")


def test_room_that_the_dead_claimed_is_found(processes: Processes) -> None:
    ring, done, never = MpscRing(64), processes.flag(), processes.flag()
    reader = processes.start(ring.read)
    reader.until_asleep()
    writer = processes.start(claim, ring, [32, 32], done, never)
    done.wait()
    with pytest.raises(WouldBlock):
        ring.write_nowait(b"more")
    other = processes.start(ring.write, b"more")
    other.until_asleep()
    writer.kill()
    other.result()
    assert reader.result() == b"more"


def test_a_packet_outlives_its_writer(processes: Processes) -> None:
    ring, done, never = MpscRing(256), processes.flag(), processes.flag()

    def write() -> None:
        ring.write(b"kept")
        done.raise_()
        never.wait()

    writer = processes.start(write)
    done.wait()
    writer.kill()
    assert ring.read() == b"kept"


def test_who_reads_next_has_the_packet_of_a_dead_reader(processes: Processes) -> None:
    ring, done, never = MpscRing(256), processes.flag(), processes.flag()
    ring.write(b"first")
    ring.write(b"second")
    reader = processes.start(take, ring, done, never)
    done.wait()
    with pytest.raises(MisuseError, match=f"pid {reader.pid} reads here"):
        ring.read()
    assert ring.statistics().reader == reader.pid
    reader.kill()
    assert ring.statistics().reader is None
    assert [ring.read(), ring.read()] == [b"first", b"second"]


def test_a_writer_is_told_that_nobody_reads(processes: Processes) -> None:
    ring, done, never = MpscRing(64), processes.flag(), processes.flag()
    for _ in range(2):
        ring.write(b"x" * 32)
    reader = processes.start(take, ring, done, never)
    done.wait()

    def write() -> int:
        with pytest.raises(PeerDiedError) as told:
            ring.write(b"more")
        return told.value.pid

    writers = [processes.start(write) for _ in range(2)]
    for writer in writers:
        writer.until_asleep()
    reader.kill()
    assert [writer.result() for writer in writers] == [reader.pid] * 2
    with pytest.raises(PeerDiedError, match="it is full, and its reader, pid"):
        ring.write_nowait(b"more")
    assert len(wait_any(ring.room_for(8), timeout=0)) == 1
    assert ring.read() == b"x" * 32
    ring.write(b"more")


def test_the_reader_of_one_writer_is_told_of_its_death(processes: Processes) -> None:
    ring, done, never = SpscRing(256), processes.flag(), processes.flag()

    def write() -> None:
        ring.write(b"first")
        held = ring.claim(8)
        ring.write(b"last")
        done.raise_()
        never.wait()
        del held

    writer = processes.start(write)
    done.wait()

    def read() -> tuple[bytes, bytes, int]:
        first, last = ring.read(), ring.read()
        with pytest.raises(PeerDiedError, match="its writer, pid") as told:
            ring.read()
        assert wait_any(ring, timeout=0) == [ring]
        return first, last, told.value.pid

    reader = processes.start(read)
    reader.until_asleep()
    writer.kill()
    assert reader.result() == (b"first", b"last", writer.pid)
    ring.write(b"from another")
    assert ring.read() == b"from another"


def test_the_reader_sleeps_until_the_one_writer_dies(processes: Processes) -> None:
    ring, done, never = SpscRing(256), processes.flag(), processes.flag()

    def write() -> None:
        ring.write(b"only")
        done.raise_()
        never.wait()

    def read() -> tuple[bytes, int]:
        only = ring.read()
        with pytest.raises(PeerDiedError) as told:
            ring.read()
        return only, told.value.pid

    reader = processes.start(read)
    writer = processes.start(write)
    done.wait()
    reader.until_asleep()
    writer.kill()
    assert reader.result() == (b"only", writer.pid)


MAKE: list[Callable[[Ring], Loan | Packet]] = [lambda ring: ring.claim(5), lambda ring: ring.take()]


@pytest.mark.parametrize("make", MAKE, ids=["claim", "take"])
def test_a_forked_child_ends_nothing(processes: Processes, make: Callable[[Ring], Loan | Packet]) -> None:
    ring = MpscRing(256)
    ring.write(b"mine!")
    held = make(ring)

    def end() -> str:
        with pytest.raises(MisuseError) as refused:
            held.commit() if isinstance(held, Loan) else held.free()
        return str(refused.value)

    assert "forked from" in processes.start(end).result()
    if isinstance(held, Loan):
        held[:] = b"other"
        held.commit()
        assert [ring.read(), ring.read()] == [b"mine!", b"other"]
    else:
        held.free()
        assert ring.depth == 0


@pytest.mark.parametrize("seed", range(2))
def test_killed_anywhere_no_packet_is_torn(processes: Processes, seed: int) -> None:
    ring, turns = MpscRing(1024), 1500

    def write(writer: int) -> None:
        for turn in range(turns):
            size = 5 + (turn * 37 + writer) % 100
            head = bytes([writer]) + turn.to_bytes(4)
            if (turn + seed) % 2:
                ring.write(head + bytes([turn % 256]) * (size - 5))
            else:
                with ring.claim(size) as packet:
                    packet[:5] = head
                    packet[5:] = bytes([turn % 256]) * (size - 5)

    # One ends by itself, and two are killed in the middle: the ring is shorter than what they have to write.
    writers = [processes.start(write, writer) for writer in range(3)]
    last, got = [-1, -1, -1], 0

    def check(packet: bytes) -> None:
        writer, turn = packet[0], int.from_bytes(packet[1:5])
        assert packet[5:] == bytes([turn % 256]) * (len(packet) - 5)
        assert turn == last[writer] + 1
        last[writer] = turn

    while last[2] < turns - 1:
        check(ring.read())
        got += 1
        if got == 100 * (seed + 1):
            writers[0].kill()
            writers[1].kill()
    writers[2].result()
    while ring.next_size is not None:
        check(ring.read_nowait())
    with pytest.raises(WouldBlock):
        ring.read_nowait()
    ring.write(b"free again")
    assert ring.read() == b"free again"
