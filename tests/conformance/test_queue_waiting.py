"""Queue: who waits at either end is let go; registered putters; many of both."""

import itertools
import signal
from collections.abc import Callable

import pytest

from tests.conformance.backends import Processes, Threads
from underpass import (
    EndOfStream,
    PeerDiedError,
    Queue,
    ResetError,
    WouldBlock,
)

World = Threads | Processes


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
    queue, producers, each = Queue(capacity, 16), 3, world.times(600)

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
