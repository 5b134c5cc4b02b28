"""Queue: messages in order, whole, and refused; loans, shutdown. Nobody waits here."""

import array
import os
import pickle
import time
from collections.abc import Callable

import pytest

from tests.conformance.backends import SOON
from underpass import (
    ClosedError,
    EndOfStream,
    MessageTooLongError,
    MisuseError,
    Queue,
    TimedOut,
    WouldBlock,
)

# ── one process, nobody waits ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("capacity", "message_size", "deliveries"),
    [(0, 1, None), (-1, 1, None), (2**28 + 1, 1, None), (1, -1, None), (1, 2**40, None), (1, 1, 0), (1, 1, -1)],
)
def test_parameters_out_of_range_are_refused(capacity: int, message_size: int, deliveries: int | None) -> None:
    with pytest.raises(ValueError, match=r"capacity|message_size|max_deliveries"):
        Queue(capacity, message_size, max_deliveries=deliveries)


def test_messages_come_in_order_and_whole() -> None:
    queue = Queue(5, 100)
    messages = [b"", b"x", bytes(range(100)), b"\0" * 64, b"last"]
    for message in messages:
        queue.put_nowait(message)
    assert queue.depth == 5
    assert [queue.get_nowait() for _ in messages] == messages


@pytest.mark.parametrize("capacity", [1, 2, 3, 7])
def test_ring_wraps_around(capacity: int) -> None:
    queue = Queue(capacity, 8)
    for lap in range(50):
        items = [f"{lap}.{item}".encode() for item in range(capacity)]
        queue.put_many(items)
        assert queue.depth == capacity
        assert queue.get_many() == items
    assert queue.depth == 0


def test_any_contiguous_buffer_is_a_message() -> None:
    queue = Queue(8, 64)
    numbers = array.array("i", [1, 2, 3])
    for data in (bytearray(b"array"), memoryview(b"xviewx")[1:-1], numbers):
        queue.put(data)
    assert queue.get_many() == [b"array", b"view", numbers.tobytes()]
    with pytest.raises(BufferError):
        queue.put(memoryview(b"abcdef")[::2])
    with pytest.raises(TypeError):
        queue.put("text")  # pyright: ignore[reportArgumentType]
    assert queue.depth == 0


def test_too_long_message_is_refused_whole() -> None:
    queue = Queue(4, 10)
    for put in (lambda: queue.put(b"x" * 11), lambda: queue.put_many([b"x", b"x" * 11]), lambda: queue.loan(11)):
        with pytest.raises(MessageTooLongError, match="message_size=11") as caught:
            put()
        assert (caught.value.size, caught.value.limit) == (11, 10)
    assert queue.depth == 0


def test_full_and_empty_without_waiting() -> None:
    queue = Queue(2, 8)
    for get in (queue.get_nowait, queue.take_nowait):
        with pytest.raises(WouldBlock):
            get()
    for get in (queue.get, queue.take, queue.get_many):
        with pytest.raises(TimedOut):
            get(timeout=0)
    queue.put_many([b"a", b"b"], timeout=0)
    with pytest.raises(WouldBlock):
        queue.put_nowait(b"c")
    for put in (lambda: queue.put(b"c", timeout=0), lambda: queue.loan(1, timeout=0)):
        with pytest.raises(TimedOut, match="2 of 2 queued"):
            put()
    assert queue.get_many() == [b"a", b"b"]


def test_timeouts_are_never_early() -> None:
    queue, buffer = Queue(1, 8), bytearray(8)

    def refused(operation: Callable[[], object]) -> None:
        start = time.monotonic()
        with pytest.raises(TimedOut):
            operation()
        assert time.monotonic() - start >= SOON

    refused(lambda: queue.get(timeout=SOON))
    refused(lambda: queue.get_many(timeout=SOON))
    refused(lambda: queue.get_into(buffer, timeout=SOON))
    refused(lambda: queue.take(timeout=SOON))
    queue.put(b"full")
    refused(lambda: queue.put(b"x", timeout=SOON))
    refused(lambda: queue.loan(1, timeout=SOON))
    refused(lambda: queue.join(timeout=SOON))


def test_put_many_says_how_many_it_put() -> None:
    queue = Queue(3, 8)
    with pytest.raises(TimedOut, match="3 of 5") as caught:
        queue.put_many([b"0", b"1", b"2", b"3", b"4"], timeout=SOON)
    assert caught.value.transferred == 3
    assert queue.get_many() == [b"0", b"1", b"2"]
    queue.put_many(iter([]))
    queue.put_many(f"{number}".encode() for number in range(3))
    assert queue.get_many() == [b"0", b"1", b"2"]


def test_get_many_gets_what_is_there_up_to_the_limit() -> None:
    queue = Queue(8, 8)
    queue.put_many([b"0", b"1", b"2", b"3"])
    assert queue.get_many(3) == [b"0", b"1", b"2"]
    assert queue.get_many(3) == [b"3"]
    with pytest.raises(ValueError, match="limit=0"):
        queue.get_many(0)


def test_get_into_keeps_what_does_not_fit() -> None:
    queue, buffer = Queue(4, 16), bytearray(4)
    queue.put_many([b"eleven long", b"four"])
    with pytest.raises(MisuseError, match="11 bytes"):
        queue.get_into(buffer)
    assert queue.depth == 2
    large = bytearray(b"." * 16)
    assert queue.get_into(large) == 11
    assert large == b"eleven long....."
    assert queue.get_into(buffer) == 4
    assert buffer == b"four"
    with pytest.raises(TypeError):
        queue.get_into(b"read-only", timeout=0)


def test_peek_leaves_messages_where_they_are() -> None:
    queue = Queue(4, 8)
    queue.put_many([b"a", b"b"])
    assert (queue.peek(), queue.peek(1), queue.peek(0)) == (b"a", b"b", b"a")
    with pytest.raises(IndexError, match="2 are queued"):
        queue.peek(2)
    assert queue.get_many() == [b"a", b"b"]


def test_loan_is_written_in_place() -> None:
    queue = Queue(2, 16)
    with queue.loan(5) as loan:
        loan[:] = b"hello"
        assert queue.depth == 0
        assert len(loan) == 5
    assert queue.get() == b"hello"
    loan = queue.loan(16)
    with memoryview(loan) as view:
        view[:3] = b"abc"
        with pytest.raises(MisuseError, match="in use"):
            loan.commit()
    loan.commit(3)
    assert queue.get() == b"abc"
    with pytest.raises(MisuseError, match="settled"):
        loan.abandon()
    with pytest.raises((BufferError, ValueError)):
        memoryview(loan)


def test_loan_counts_against_capacity_until_it_ends() -> None:
    queue = Queue(1, 8)
    loan = queue.loan(3)
    with pytest.raises(WouldBlock):
        queue.put_nowait(b"x")
    assert [holding.pid for holding in queue.statistics().loans] == [os.getpid()]
    with pytest.raises(LookupError), loan:
        raise LookupError
    assert (queue.depth, queue.statistics().loans) == (0, [])
    forgotten = queue.loan(1)
    del forgotten
    queue.put_nowait(b"x")


def test_shutdown_lets_getters_drain() -> None:
    queue = Queue(4, 8)
    queue.put_many([b"a", b"b", b"c"])
    loan = queue.loan(1)
    queue.shutdown()
    queue.shutdown()
    for put in (lambda: queue.put(b"x"), lambda: queue.put_nowait(b"x"), lambda: queue.loan(1), loan.commit):
        with pytest.raises(EndOfStream):
            put()
    assert list(queue) == [b"a", b"b", b"c"]
    for get in (queue.get, queue.get_nowait, queue.take, queue.take_nowait, queue.get_many):
        with pytest.raises(EndOfStream):
            get()
    assert queue.statistics().shut_down
    assert list(queue.leases()) == []


def test_immediate_shutdown_throws_away() -> None:
    queue = Queue(4, 8)
    queue.put_many([b"a", b"b"])
    queue.shutdown(immediate=True)
    with pytest.raises(EndOfStream):
        queue.get()
    queue.join(timeout=0)


def test_statistics_and_repr() -> None:
    queue = Queue.create("jobs", 4, 8)
    queue.put_many([b"a", b"b"])
    lease = queue.take()
    statistics = queue.statistics()
    assert (statistics.depth, statistics.capacity, statistics.loans, statistics.shut_down) == (1, 4, [], False)
    (holding,) = statistics.leases
    assert (holding.pid, holding.deliveries) == (os.getpid(), 1)
    assert holding.held_for >= 0
    assert "'jobs', 1 of 4 queued" in repr(queue)
    lease.done()
    assert queue.statistics().leases == []
    assert "shut_down=False, waiters=0" in repr(queue.statistics())
    queue.shutdown()
    assert "shut_down=True, waiters=0" in repr(queue.statistics())
    assert "shut down" in repr(queue)
    queue.close()
    assert "closed" in repr(queue)
    queue.unlink()


def test_closed_handle_refuses() -> None:
    queue = Queue(4, 8)
    queue.put(b"kept")
    other: Queue = pickle.loads(pickle.dumps(queue))  # noqa: S301 - our own bytes
    queue.close()
    queue.close()
    uses = (queue.get, queue.take, queue.peek, queue.purge, queue.shutdown, queue.join, lambda: queue.put(b""))
    for use in uses:
        with pytest.raises(ClosedError):
            use()
    assert other.get() == b"kept"
    other.unlink()
