"""Queue: messages that are taken out from among the others, by what they say."""

import asyncio
import random
from typing import Literal

import pytest

from tests.conformance.backends import Processes, Threads
from underpass import Queue, aio

World = Threads | Processes
Order = Literal["fifo", "lifo", "priority"]
ORDERS: tuple[Order, ...] = ("fifo", "lifo", "priority")


def drain(queue: Queue) -> list[bytes]:
    return queue.get_many() if queue.depth else []


@pytest.mark.parametrize("message", [b"a", b"b", b"c", b"d"])
def test_others_stay_in_order(message: bytes) -> None:
    messages = [b"a", b"b", b"c", b"d"]
    queue = Queue(4, 8)
    for _ in range(6):  # all round the ring
        queue.put_many(messages)
        assert queue.remove(message)
        assert not queue.remove(message)
        queue.put(b"e")
        assert drain(queue) == [other for other in messages if other != message] + [b"e"]
        queue.put(b"on")
        queue.get()
    queue.join(timeout=0)


def test_only_what_is_the_same_goes() -> None:
    queue = Queue(4, 8)
    queue.put_many([b"ab", b"abc", b"", b"xabc"])
    assert not any(queue.remove(other) for other in (b"a", b"abd", b"abcd", b"x" * 100))
    assert queue.remove(bytearray(b"abc"))
    assert queue.remove(b"")
    assert drain(queue) == [b"ab", b"xabc"]
    assert not queue.remove(b"ab")
    with pytest.raises(TypeError, match="carries bytes"):
        queue.remove("ab")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("order", ORDERS)
def test_first_of_equals_goes(order: Order) -> None:
    queue = Queue(4, 8, order=order)
    for message, front in [(b"a", False), (b"b", False), (b"a", True), (b"c", False)]:
        queue.put(message, front=front)
    before = [queue.peek(index) for index in range(4)]
    assert queue.remove(b"a")
    before.remove(b"a")
    assert drain(queue) == before


@pytest.mark.parametrize("order", ORDERS)
def test_what_is_left_is_what_a_list_says(order: Order) -> None:
    dice = random.Random(order)
    queue, expected = Queue(9, 8, order=order), list[bytes]()
    for _ in range(1500):
        if len(expected) < 9 and dice.random() < 0.6:
            queue.put(b"%d" % dice.randrange(6), priority=dice.randrange(4) if order == "priority" else 0)
            expected = [queue.peek(index) for index in range(queue.depth)]
        else:
            message = b"%d" % dice.randrange(6)
            assert queue.remove(message) is (message in expected)
            if message in expected:
                expected.remove(message)
        assert [queue.peek(index) for index in range(queue.depth)] == expected
    assert drain(queue) == expected
    queue.join(timeout=0)


def test_leased_message_stays() -> None:
    queue = Queue(2, 8)
    queue.put(b"a")
    lease = queue.take()
    assert not queue.remove(b"a")
    lease.put_back()
    assert queue.remove(b"a")
    queue.join(timeout=0)


def test_waiting_putter_gets_the_room(world: World) -> None:
    queue = Queue(3, 8)
    queue.put_many([b"a", b"b", b"c"])
    putter = world.start(queue.put, b"d")
    putter.until_asleep()
    assert queue.remove(b"b")
    putter.result()
    assert drain(queue) == [b"a", b"c", b"d"]


@pytest.mark.parametrize("order", ORDERS)
def test_each_message_is_got_or_removed(world: World, order: Order) -> None:
    queue = Queue(4, 8, order=order)

    def remove() -> int:
        return sum(queue.remove(b"%d" % number) for _ in range(20) for number in range(0, 100, 3))

    removers = [world.start(remove) for _ in range(2)]
    got = list[bytes]()
    for number in range(100):
        queue.put(b"%d" % number)
        if queue.depth == 4:
            got += queue.get_many(2)
    removed = sum(remover.result() for remover in removers)
    got += drain(queue)
    assert len(got) == len(set(got)) == 100 - removed
    assert order != "fifo" or [int(message) for message in got] == sorted(int(message) for message in got)
    queue.join(timeout=0)


def test_awaited_queue_removes() -> None:
    async def main() -> None:
        queue = aio.Queue(2, 8)
        await queue.put(b"a")
        assert queue.remove(b"a")
        assert not queue.remove(b"a")

    asyncio.run(main())
