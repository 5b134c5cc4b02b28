"""Queue: messages in order, the two ends, room, shutdown. Leases have a file of their own."""

import array
import itertools
import os
import pickle
import signal
import time
from collections.abc import Callable

import pytest

from tests.conformance.backends import SOON, Processes, Threads
from underpass import (
    ClosedError,
    EndOfStream,
    MessageTooLongError,
    MisuseError,
    PeerDiedError,
    Queue,
    ResetError,
    TimedOut,
    WouldBlock,
)

World = Threads | Processes


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
    queue.shutdown()
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


# ── waiting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_put_wakes_a_getter(world: World) -> None:
    queue, buffer = Queue(4, 8), bytearray(8)
    gets: list[Callable[[], object]] = [queue.get, queue.get_many, lambda: queue.get_into(buffer), lambda: next(queue)]
    for get, expected in zip(gets, [b"now", [b"now"], 3, b"now"], strict=True):
        getter = world.start(get)
        getter.until_asleep()
        queue.put(b"now")
        assert getter.result() == expected


def test_several_getters_race_for_one_message(world: World) -> None:
    queue = Queue(4, 8)

    def race() -> list[bytes]:
        return list(queue)

    getters = [world.start(race) for _ in range(3)]
    for getter in getters:
        getter.until_asleep()
    queue.put(b"one")
    queue.join()
    queue.shutdown()
    assert sorted(getter.result() for getter in getters) == [[], [], [b"one"]]


def test_each_put_wakes_one_of_several_getters(world: World) -> None:
    queue = Queue(4, 8)
    getters = [world.start(queue.get) for _ in range(4)]
    for getter in getters:
        getter.until_asleep()
    queue.put_many([b"0", b"1", b"2", b"3"])
    assert sorted(getter.result() for getter in getters) == [b"0", b"1", b"2", b"3"]


def test_waiting_putters_message_lands_behind(world: World) -> None:
    queue = Queue(2, 8)
    queue.put_many([b"a", b"b"])
    putter = world.start(queue.put, b"c")
    putter.until_asleep()
    assert queue.get() == b"a"
    putter.result()
    assert queue.get_many() == [b"b", b"c"]


def test_each_get_lets_one_of_several_putters_in(world: World) -> None:
    queue = Queue(1, 8)
    queue.put(b"first")
    putters = [world.start(queue.put, b"%d" % number) for number in range(4)]
    for putter in putters:
        putter.until_asleep()
    messages = [queue.get(timeout=20) for _ in range(5)]
    assert messages[0] == b"first"
    assert sorted(messages[1:]) == [b"0", b"1", b"2", b"3"]
    for putter in putters:
        putter.result()


def test_put_many_of_more_than_fits_waits_for_room(world: World) -> None:
    queue, items = Queue(3, 8), [b"%d" % number for number in range(500)]
    putter = world.start(queue.put_many, items)
    assert [queue.get() for _ in items] == items
    putter.result()


def test_purge_sends_waiting_putters_away(world: World) -> None:
    queue = Queue(2, 8)
    queue.put_many([b"a", b"b"])
    one, many = world.start(queue.put, b"c"), world.start(queue.put_many, [b"d", b"e"])
    one.until_asleep()
    many.until_asleep()
    assert queue.purge() == 2
    with pytest.raises(ResetError, match="purged"):
        one.result()
    with pytest.raises(ResetError) as caught:
        many.result()
    assert caught.value.transferred == 0
    queue.put_many([b"x", b"y"], timeout=0)
    assert queue.purge() == 2
    assert queue.purge() == 0


def test_shutdown_releases_both_ends(world: World) -> None:
    empty, full = Queue(2, 8), Queue(2, 8)
    full.put(b"a")
    getters = [world.start(empty.get), world.start(empty.take), world.start(empty.get_many)]
    putter = world.start(full.put_many, [b"b", b"c"])
    for actor in (*getters, putter):
        actor.until_asleep()
    empty.shutdown()
    full.shutdown()
    for getter in getters:
        with pytest.raises(EndOfStream):
            getter.result()
    with pytest.raises(EndOfStream) as caught:
        putter.result()
    assert caught.value.transferred == 1
    assert list(full) == [b"a", b"b"]


def test_join_waits_until_nothing_is_queued_or_leased(world: World) -> None:
    queue = Queue(2, 8)
    queue.join(timeout=0)
    queue.put_many([b"a", b"b"])
    joiners = [world.start(queue.join) for _ in range(2)]
    for joiner in joiners:
        joiner.until_asleep()
    queue.get()
    lease = queue.take()
    for joiner in joiners:
        joiner.until_asleep()
    lease.done()
    for joiner in joiners:
        joiner.result()


def test_killed_waiters_swallow_nothing(processes: Processes) -> None:
    queue = Queue(1, 8)
    getters = [processes.start(queue.get) for _ in range(3)]
    for getter in getters:
        getter.until_asleep()
    getters[0].kill()
    queue.put(b"a")
    queue.put(b"b")
    assert sorted([getters[1].result(), getters[2].result()]) == [b"a", b"b"]
    queue.put(b"full")
    putters = [processes.start(queue.put, b"%d" % number) for number in range(3)]
    for putter in putters:
        putter.until_asleep()
    putters[0].kill()
    assert [queue.get(), *sorted([queue.get(), queue.get()])] == [b"full", b"1", b"2"]


def test_message_survives_its_putter(processes: Processes) -> None:
    queue, put, never = Queue(4, 8), processes.flag(), processes.flag()

    def produce() -> None:
        queue.put(b"mine")
        put.raise_()
        never.wait()

    putter = processes.start(produce)
    put.wait()
    putter.kill()
    assert queue.get_nowait() == b"mine"


def test_ctrl_c_ends_a_wait(processes: Processes) -> None:
    queue = Queue(1, 8)
    getter = processes.start(queue.get)
    getter.until_asleep()
    getter.signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        getter.result()
    queue.put(b"a")
    putter = processes.start(queue.put_many, [b"b"])
    putter.until_asleep()
    putter.signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        putter.result()
    assert queue.get_many() == [b"a"]


# ── registered putters ──────────────────────────────────────────────────────────────────────────────────────────────


def test_stream_ends_when_the_last_putter_leaves(world: World) -> None:
    queue, go = Queue(16, 8), world.flag()

    def produce(name: bytes) -> None:
        with queue.putting():
            queue.put(name)
            go.wait()
            queue.put(name)

    producers = [world.start(produce, b"%d" % number) for number in range(2)]
    assert sorted([queue.get(), queue.get()]) == [b"0", b"1"]
    consumer = world.start(lambda: list(queue))
    go.raise_()
    consumer.until_asleep()
    go.raise_()
    assert sorted(consumer.result()) == [b"0", b"1"]
    for producer in producers:
        producer.result()
    with queue.putting(), pytest.raises(WouldBlock):
        queue.get_nowait()
    with pytest.raises(EndOfStream):
        queue.get_nowait()


def test_registrations_of_one_process_nest() -> None:
    queue = Queue(4, 8)
    with queue.putting():
        with queue.putting():
            queue.put(b"a")
        queue.put(b"b")
        assert queue.get_many() == [b"a", b"b"]
        with pytest.raises(WouldBlock):
            queue.get_nowait()
    with pytest.raises(EndOfStream):
        queue.get()


def test_last_putters_death_is_told_after_the_last_message(processes: Processes) -> None:
    queue, registered, never = Queue(4, 16), processes.flag(), processes.flag()

    def produce() -> None:
        with queue.putting():
            queue.put(b"last words")
            registered.raise_()
            never.wait()

    producer = processes.start(produce)
    registered.wait()
    sleeper = processes.start(lambda: list(queue))
    sleeper.until_asleep()
    producer.kill()
    with pytest.raises(PeerDiedError) as caught:
        sleeper.result()
    assert caught.value.pid == producer.pid
    with pytest.raises(PeerDiedError):
        queue.get_nowait()
    with queue.putting():
        queue.put(b"new life")
    assert queue.get() == b"new life"
    with pytest.raises(EndOfStream):
        queue.get()


def test_death_of_one_putter_of_two_is_not_the_end(processes: Processes) -> None:
    queue, registered, go = Queue(4, 8), processes.flag(), processes.flag()

    def produce() -> None:
        with queue.putting():
            registered.raise_()
            go.wait()

    producers = [processes.start(produce) for _ in range(2)]
    registered.wait()
    registered.wait()
    consumer = processes.start(queue.get)
    consumer.until_asleep()
    producers[0].kill()
    consumer.until_asleep()
    go.raise_()
    with pytest.raises(EndOfStream):
        consumer.result()


# ── many of both ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("capacity", [1, 3, 64])
def test_many_producers_and_consumers_lose_and_double_nothing(world: World, capacity: int) -> None:
    queue, producers, each = Queue(capacity, 16), 3, 600

    def produce(number: int) -> None:
        items = [b"%d:%d" % (number, item) for item in range(each)]
        for item in items[: each // 2]:
            queue.put(item)
        queue.put_many(items[each // 2 :])

    consumers = [world.start(lambda: list(queue)) for _ in range(3)]
    for producer in [world.start(produce, number) for number in range(producers)]:
        producer.result()
    queue.shutdown()
    received = [consumer.result() for consumer in consumers]
    assert sorted(itertools.chain.from_iterable(received)) == sorted(
        b"%d:%d" % (n, i) for n in range(producers) for i in range(each)
    )
    for messages in received:
        for number in range(producers):
            order = [int(item) for source, item in (m.split(b":") for m in messages) if int(source) == number]
            assert order == sorted(order), f"the messages of producer {number} came out of order"
