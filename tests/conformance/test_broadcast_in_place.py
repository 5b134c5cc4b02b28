"""Messages of a broadcast that are written and read where they lie."""

import gc
from collections.abc import Callable
from typing import Literal

import pytest

from tests.conformance.backends import SOON, Processes, Threads
from underpass import (
    Broadcast,
    EndOfStream,
    MessageTooLongError,
    MisuseError,
    PeerDiedError,
    ResetError,
    TimedOut,
    WouldBlock,
)

World = Threads | Processes

EIGHT = 256
"""Bytes in which eight messages of up to 16 bytes lie."""

both = pytest.mark.parametrize("when_full", ["overwrite", "wait"])


def numbered(first: int, last: int) -> list[bytes]:
    return [b"%d" % number for number in range(first, last)]


def publish(broadcast: Broadcast, messages: list[bytes]) -> None:
    for message in messages:
        broadcast.publish(message)


# ── a loan ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@both
def test_leaving_the_block_publishes_what_was_written(world: World, when_full: Literal["overwrite", "wait"]) -> None:
    broadcast = Broadcast(EIGHT, when_full=when_full)
    mine = broadcast.subscribe()

    def write() -> None:
        with broadcast.loan(5) as loan:
            assert len(loan) == 5
            loan[:] = b"hello"
            assert (loan[0], loan[1:3]) == (ord("h"), b"el")
            statistics = broadcast.statistics()
            assert (statistics.published, statistics.kept) == (0, 0)

    world.start(write).result()
    assert mine.get() == b"hello"


def test_a_commit_wakes_who_waits(world: World) -> None:
    broadcast, ready = Broadcast(EIGHT), world.flag()

    def read() -> bytes:
        with broadcast.subscribe() as mine:
            ready.raise_()
            return mine.get()

    reader = world.start(read)
    ready.wait()
    with broadcast.loan(3) as loan:
        loan[:] = b"one"
        reader.until_asleep()
    assert reader.result() == b"one"


@both
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 100, 112])
def test_every_length_at_every_place(size: int, when_full: Literal["overwrite", "wait"]) -> None:
    broadcast = Broadcast(EIGHT, when_full=when_full)
    with broadcast.subscribe() as mine:
        for number in range(40):
            broadcast.publish(b"x" * (number % 5 * 16))
            message = bytes((number + place) % 256 for place in range(size))
            # Lent for more than it comes to: it ends where it ends.
            with broadcast.loan(min(size + number, broadcast.message_size)) as loan:
                loan[:size] = message
                loan.commit(size)
            assert mine.get_nowait() == b"x" * (number % 5 * 16)
            with mine.take_nowait() as lease:
                assert len(lease) == size
                assert bytes(lease.value) == message
        assert mine.lost == 0


def test_what_is_not_committed_is_never_seen() -> None:
    broadcast = Broadcast(EIGHT)
    mine = broadcast.subscribe()

    def fail() -> None:
        with broadcast.loan(3) as loan:
            loan[:] = b"???"
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    broadcast.loan(3).abandon()
    assert broadcast.loan(3) is not None  # forgotten
    gc.collect()
    broadcast.publish(b"one")
    assert (mine.get_nowait(), broadcast.statistics().published) == (b"one", 1)


def test_while_a_loan_is_open_nobody_else_publishes() -> None:
    broadcast = Broadcast(EIGHT)
    text = "a message is being written in place behind the last one: commit that loan or abandon it first"
    with broadcast.loan(3) as loan:
        attempts: list[Callable[[], object]] = [
            lambda: broadcast.publish(b"x"),
            lambda: broadcast.publish_nowait(b"x"),
            lambda: broadcast.loan(1),
        ]
        for attempt in attempts:
            with pytest.raises(MisuseError, match=text):
                attempt()
        loan[:] = b"one"
    broadcast.publish(b"two")
    with broadcast.subscribe(start="oldest") as mine:
        assert [mine.get(), mine.get()] == [b"one", b"two"]


def test_the_oldest_make_room_when_it_is_lent() -> None:
    broadcast = Broadcast(EIGHT)
    mine = broadcast.subscribe()
    publish(broadcast, numbered(0, 8))
    broadcast.loan(1).abandon()
    assert (mine.get(), mine.lost, broadcast.statistics().kept) == (b"1", 1, 7)


def test_a_loan_waits_for_readers(world: World) -> None:
    broadcast = Broadcast(EIGHT, when_full="wait")
    slow = broadcast.subscribe()

    def write() -> None:
        publish(broadcast, numbered(0, 8))
        with broadcast.loan(1) as loan:
            loan[:] = b"8"

    writer = world.start(write)
    writer.until_asleep()
    assert broadcast.statistics().published == 8
    assert [slow.get() for _ in range(9)] == numbered(0, 9)
    writer.result()


def test_a_loan_in_vain_names_who_is_behind() -> None:
    broadcast = Broadcast(EIGHT, when_full="wait")
    with broadcast.subscribe():
        publish(broadcast, numbered(0, 8))
        text = rf"lent nothing within {SOON} s: held back by this process, 8 messages behind"
        with pytest.raises(TimedOut, match=text):
            broadcast.loan(1, timeout=SOON)


def test_a_shutdown_ends_a_loan() -> None:
    broadcast = Broadcast(EIGHT)
    loan = broadcast.loan(1)
    broadcast.shutdown()
    with pytest.raises(EndOfStream, match="loan not committed: it was shut down; nothing more will come"):
        loan.commit()
    with pytest.raises(EndOfStream):
        broadcast.loan(1)
    assert list(broadcast.subscribe(start="oldest")) == []


def test_a_loan_that_is_too_long() -> None:
    broadcast = Broadcast(EIGHT)
    with pytest.raises(MessageTooLongError, match="113 bytes are more than its message_size of 112"):
        broadcast.loan(113)
    with broadcast.loan(112) as loan, pytest.raises(ValueError, match="size=113 is more than the 112 bytes lent"):
        loan.commit(113)
    with pytest.raises(MisuseError, match="settled before"):
        loan.abandon()


@both
def test_the_loan_of_a_dead_writer_is_over(processes: Processes, when_full: Literal["overwrite", "wait"]) -> None:
    broadcast, ready = Broadcast(EIGHT, when_full=when_full), processes.flag()
    mine = broadcast.subscribe()

    def stay() -> None:
        broadcast.publish(b"one")
        loan = broadcast.loan(3)
        loan[:] = b"???"
        ready.raise_()
        processes.rest()

    dying = processes.start(stay)
    ready.wait()
    with pytest.raises(MisuseError, match=f"pid {dying.pid} publishes here"):
        broadcast.loan(1)
    dying.kill()
    assert mine.get() == b"one"
    with pytest.raises(PeerDiedError):
        mine.get()
    with broadcast.loan(3) as loan:
        loan[:] = b"two"
    assert mine.get() == b"two"


def test_a_forked_copy_of_a_loan_ends_nothing(processes: Processes) -> None:
    broadcast = Broadcast(EIGHT)
    loan = broadcast.loan(3)
    loan[:] = b"one"

    def use() -> None:
        with pytest.raises(MisuseError, match="it belongs to the process that this one was forked from"):
            loan.commit()

    processes.start(use).result()
    loan.commit()
    assert broadcast.subscribe(start="oldest").get_nowait() == b"one"


def test_a_view_of_a_loan_pins_it() -> None:
    broadcast = Broadcast(EIGHT)
    loan = broadcast.loan(3)
    with memoryview(loan) as view:
        view[:] = b"one"
        with pytest.raises(MisuseError, match="1 views of its bytes are still in use"):
            loan.commit()
    broadcast.close()
    loan.commit()


# ── a lease ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@both
def test_a_message_is_read_in_place(when_full: Literal["overwrite", "wait"]) -> None:
    broadcast = Broadcast(EIGHT, when_full=when_full)
    with broadcast.subscribe() as mine, broadcast.subscribe() as yours:
        publish(broadcast, [b"one", b"two"])
        with mine.take() as lease:
            assert (bytes(lease.value), lease.deliveries, lease.value.readonly) == (b"one", 1, True)
            # It is everybody's.
            assert yours.get() == b"one"
            assert mine.get() == b"two"
        assert (mine.lost, mine.behind) == (0, 0)


def test_a_take_waits_as_a_get_does(world: World) -> None:
    broadcast, ready = Broadcast(EIGHT), world.flag()

    def read() -> bytes:
        with broadcast.subscribe() as mine:
            with pytest.raises(WouldBlock):
                mine.take_nowait()
            with pytest.raises(TimedOut, match=f"gave nothing within {SOON} s"):
                mine.take(timeout=SOON)
            ready.raise_()
            with mine.take() as lease:
                message = bytes(lease.value)
            with pytest.raises(EndOfStream):
                mine.take()
            return message

    reader = world.start(read)
    ready.wait()
    reader.until_asleep()
    broadcast.publish(b"one")
    broadcast.shutdown()
    assert reader.result() == b"one"


def test_a_lease_does_not_hold_back_a_writer_that_overwrites() -> None:
    broadcast = Broadcast(EIGHT)
    mine = broadcast.subscribe()
    publish(broadcast, numbered(0, 8))
    kept, lost = mine.take(), mine.take()
    kept.done()
    publish(broadcast, numbered(8, 10))
    with pytest.raises(
        ResetError, match="lease not ended: message 1 was overwritten while it was read in place"
    ) as raised:
        lost.done()
    assert "when_full='wait' overwrites nothing that is read" in str(raised.value)
    with pytest.raises(MisuseError, match="settled before"):
        lost.done()
    assert (mine.lost, mine.get(), mine.lost) == (1, b"2", 1)


def test_what_was_overwritten_is_told_by_the_block_that_ends_well() -> None:
    broadcast = Broadcast(EIGHT)
    mine = broadcast.subscribe()
    broadcast.publish(b"one")
    with pytest.raises(ResetError), mine.take():
        publish(broadcast, numbered(0, 8))

    def fail() -> None:
        with mine.take():
            publish(broadcast, numbered(0, 8))
            raise KeyError

    # Another exception is not covered up; the message is lost all the same.
    with pytest.raises(KeyError):
        fail()
    assert mine.lost == 2


def test_a_lease_holds_back_a_writer_that_waits(world: World) -> None:
    broadcast = Broadcast(EIGHT, when_full="wait")
    mine = broadcast.subscribe()
    writer = world.start(publish, broadcast, numbered(0, 9))
    with mine.take() as lease:
        assert [mine.get() for _ in range(7)] == numbered(1, 8)
        writer.until_asleep()
        assert (broadcast.statistics().published, mine.behind) == (8, 0)
        assert [reader.behind for reader in broadcast.statistics().readers] == [8]
        assert bytes(lease.value) == b"0"
    writer.result()
    assert mine.get() == b"8"


def test_leases_end_in_any_order() -> None:
    broadcast = Broadcast(EIGHT, when_full="wait")
    mine = broadcast.subscribe()
    publish(broadcast, numbered(0, 8))
    leases = [mine.take() for _ in range(4)]
    assert [bytes(lease.value) for lease in leases] == numbered(0, 4)
    for lease in (leases[1], leases[3]):
        lease.done()
    with pytest.raises(WouldBlock):
        broadcast.publish_nowait(b"8")
    leases[0].done()
    publish(broadcast, numbered(8, 10))
    with pytest.raises(WouldBlock):
        broadcast.publish_nowait(b"10")
    assert bytes(leases[2].value) == b"2"
    leases[2].done()
    broadcast.publish_nowait(b"10")
    assert [mine.get_nowait() for _ in range(7)] == numbered(4, 11)


def test_a_lease_outlives_its_subscription() -> None:
    broadcast = Broadcast(EIGHT, when_full="wait")
    mine = broadcast.subscribe()
    publish(broadcast, numbered(0, 8))
    first, second = mine.take(), mine.take()
    mine.close()
    with pytest.raises(WouldBlock):
        broadcast.publish_nowait(b"8")
    assert [bytes(lease.value) for lease in (first, second)] == [b"0", b"1"]
    first.done()
    broadcast.publish_nowait(b"8")
    with pytest.raises(WouldBlock):
        broadcast.publish_nowait(b"9")
    del second
    gc.collect()
    assert broadcast.statistics().readers == []
    publish(broadcast, numbered(9, 20))


def test_a_dead_holder_is_dropped(processes: Processes) -> None:
    broadcast, ready = Broadcast(EIGHT, when_full="wait"), processes.flag()

    def stay() -> None:
        lease = broadcast.subscribe(start="oldest").take()
        assert bytes(lease.value) == b"0"
        ready.raise_()
        processes.rest()

    publish(broadcast, numbered(0, 8))
    dying = processes.start(stay)
    ready.wait()
    with pytest.raises(TimedOut, match=f"held back by pid {dying.pid}, 8 messages behind$"):
        broadcast.publish(b"8", timeout=SOON)
    dying.kill()
    broadcast.publish(b"8")


def test_a_forked_copy_of_a_lease_frees_nothing(processes: Processes) -> None:
    broadcast = Broadcast(EIGHT, when_full="wait")
    mine = broadcast.subscribe()
    publish(broadcast, numbered(0, 8))
    lease = mine.take()

    def use() -> None:
        with pytest.raises(MisuseError, match="it belongs to the process that this one was forked from"):
            lease.done()

    processes.start(use).result()
    with pytest.raises(WouldBlock):
        broadcast.publish_nowait(b"8")
    assert bytes(lease.value) == b"0"
    lease.done()
    broadcast.publish_nowait(b"8")


def test_a_message_of_all_goes_back_nowhere() -> None:
    broadcast = Broadcast(EIGHT)
    mine = broadcast.subscribe()
    publish(broadcast, numbered(0, 2))
    with mine.take() as lease, pytest.raises(MisuseError, match="goes back nowhere: end the lease by done"):
        lease.put_back()
    # One that was not finished is got all the same.
    with pytest.raises(KeyError), mine.take():
        raise KeyError
    assert (mine.behind, mine.lost) == (0, 0)


def test_a_view_keeps_its_lease() -> None:
    broadcast = Broadcast(EIGHT, when_full="wait")
    mine = broadcast.subscribe()
    broadcast.publish(b"one")
    lease = mine.take()
    view = memoryview(lease)[1:]
    with pytest.raises(MisuseError, match="views of its bytes are still in use"):
        lease.done()
    mine.close()
    broadcast.close()
    assert bytes(view) == b"ne"
    view.release()
    lease.done()
    with pytest.raises(ValueError, match="released"):
        bytes(view)
