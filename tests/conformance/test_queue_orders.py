"""Queue: last in, first out, and by priority; messages put in front; what comes back takes its place again."""

import asyncio
import heapq
import itertools
import random
from functools import partial
from typing import Literal

import pytest

from tests.conformance.backends import Flag, Processes, Threads
from underpass import (
    EndOfStream,
    MismatchError,
    MisuseError,
    Queue,
    ResetError,
    TimedOut,
    WouldBlock,
    aio,
)

World = Threads | Processes
Order = Literal["fifo", "lifo", "priority"]
ORDERS: tuple[Order, ...] = ("fifo", "lifo", "priority")


def drain(queue: Queue) -> list[bytes]:
    got: list[bytes] = []
    while queue.depth:
        got.append(queue.get_nowait())
    return got


# ── order ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_last_in_is_first_out() -> None:
    stack = Queue(4, 8, order="lifo")
    stack.put_many([b"a", b"b", b"c"])
    assert stack.get_many(2) == [b"c", b"b"]
    stack.put(b"d")
    assert stack.get_many() == [b"d", b"a"]


def test_most_urgent_is_first_and_of_equals_the_oldest() -> None:
    queue = Queue(8, 8, order="priority")
    for number, priority in enumerate([0, 5, 32767, 5, 0, 32767]):
        queue.put(b"%d" % number, priority=priority)
    assert queue.get_many() == [b"2", b"5", b"1", b"3", b"0", b"4"]


@pytest.mark.parametrize("capacity", [1, 2, 7, 64])
def test_urgent_messages_come_as_from_a_heap(capacity: int) -> None:
    dice, numbers = random.Random(capacity), itertools.count()
    queue, expected = Queue(capacity, 16, order="priority"), list[tuple[int, int]]()
    for _ in range(1000):
        if expected and (len(expected) == capacity or dice.random() < 0.5):
            assert queue.get_nowait() == b"%d" % heapq.heappop(expected)[1]
        else:
            priority, number = dice.randrange(4), next(numbers)
            queue.put_nowait(b"%d" % number, priority=priority)
            heapq.heappush(expected, (-priority, number))
        assert queue.depth == len(expected)


def test_urgent_message_reaches_who_waits(world: World) -> None:
    queue = Queue(4, 8, order="priority")
    getter = world.start(queue.get)
    getter.until_asleep()
    queue.put(b"now", priority=7)
    assert getter.result() == b"now"


@pytest.mark.parametrize("order", ["lifo", "priority"])
def test_waiting_putter_gets_the_slot_that_was_freed(world: World, order: Order) -> None:
    queue = Queue(2, 8, order=order)
    queue.put_many([b"a", b"b"])
    putter = world.start(queue.put, b"c")
    putter.until_asleep()
    first = queue.get()
    putter.result()
    assert sorted([first, *drain(queue)]) == [b"a", b"b", b"c"]


@pytest.mark.parametrize("order", ORDERS)
def test_messages_of_several_putters_arrive_once(world: World, order: Order) -> None:
    queue = Queue(3, 16, order=order)

    def put(putter: int) -> None:
        for number in range(20):
            queue.put(b"%d.%d" % (putter, number), priority=number if order == "priority" else 0, front=number % 5 == 0)

    putters = [world.start(put, putter) for putter in range(2)]
    got = [queue.get(timeout=60) for _ in range(40)]
    for putter in putters:
        putter.result()
    assert sorted(got) == sorted(b"%d.%d" % (putter, number) for putter in range(2) for number in range(20))
    queue.join(timeout=0)


# ── in front ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_message_put_in_front_is_next() -> None:
    for order in ("fifo", "lifo"):
        queue = Queue(4, 8, order=order)
        queue.put(b"a")
        queue.put(b"b", front=True)
        queue.put_nowait(b"c", front=True)
        assert (queue.depth, drain(queue)) == (3, [b"c", b"b", b"a"])
        queue.join(timeout=0)


def test_message_put_in_front_by_priority_is_next_of_its_equals() -> None:
    queue = Queue(4, 8, order="priority")
    for message, priority, front in [(b"a", 1, False), (b"b", 2, False), (b"c", 1, True), (b"d", 2, True)]:
        queue.put(message, priority=priority, front=front)
    assert drain(queue) == [b"d", b"b", b"c", b"a"]


def test_front_is_refused_as_the_back_is(world: World) -> None:
    queue = Queue(1, 8)
    queue.put(b"a", front=True)
    with pytest.raises(WouldBlock):
        queue.put_nowait(b"b", front=True)
    with pytest.raises(TimedOut):
        queue.put(b"b", front=True, timeout=0)
    putter = world.start(partial(queue.put, b"b", front=True))
    putter.until_asleep()
    assert queue.purge() == 1
    with pytest.raises(ResetError):
        putter.result()
    queue.shutdown()
    with pytest.raises(EndOfStream):
        queue.put(b"c", front=True)
    queue.join(timeout=0)


def test_message_put_in_front_wakes_a_getter(world: World) -> None:
    queue = Queue(2, 8)
    getter = world.start(queue.get)
    getter.until_asleep()
    queue.put(b"now", front=True)
    assert getter.result() == b"now"


# ── leases ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_returned_message_goes_in_front_of_its_equals() -> None:
    queue = Queue(8, 8, order="priority")
    for message, priority in [(b"a", 1), (b"b", 1), (b"c", 2), (b"d", 0)]:
        queue.put(message, priority=priority)
    leases = [queue.take(), queue.take()]
    for lease in leases:
        lease.put_back()
    again = queue.take()
    assert (bytes(again.value), again.deliveries) == (b"c", 2)
    again.done()
    queue.put(b"e", priority=1)
    queue.take().put_back(front=False)
    assert drain(queue) == [b"b", b"e", b"a", b"d"]


def test_message_put_back_behind_a_stack_is_the_last() -> None:
    stack = Queue(4, 8, order="lifo")
    stack.put_many([b"a", b"b", b"c"])
    stack.take().put_back(front=False)
    assert drain(stack) == [b"b", b"a", b"c"]


def hold(queue: Queue, taken: Flag, never: Flag) -> None:
    """Take three messages and wait to be killed."""
    leases = [queue.take() for _ in range(3)]
    taken.raise_()
    never.wait()
    del leases


def test_leases_of_a_dead_worker_take_their_places_again(processes: Processes) -> None:
    queue, taken, never = Queue(8, 8, order="priority"), processes.flag(), processes.flag()
    for number, priority in enumerate([1, 2, 1, 2, 0]):
        queue.put(b"%d" % number, priority=priority)
    worker = processes.start(hold, queue, taken, never)
    taken.wait()
    worker.kill()
    assert drain(queue) == [b"2", b"4"]
    assert queue.get_nowait() == b"1"  # death is looked for when there is nothing else to get
    queue.put(b"new", priority=2)
    queue.put(b"old", priority=1)
    assert drain(queue) == [b"3", b"new", b"0", b"old"]


def test_dead_letters_of_an_ordered_queue_come_as_they_died() -> None:
    queue = Queue(4, 8, order="priority", max_deliveries=1)
    for message, priority in [(b"a", 1), (b"b", 2)]:
        queue.put(message, priority=priority)
    for _ in range(2):
        queue.take().put_back()
    assert drain(queue.dead_letters) == [b"b", b"a"]
    queue.join(timeout=0)


# ── looks, ends, refusals ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("order", ["lifo", "priority"])
def test_peek_sees_what_gets_will_get(order: Order) -> None:
    dice = random.Random(7)
    queue = Queue(32, 8, order=order)
    for number in range(32):
        queue.put(b"%d" % number, priority=dice.randrange(5) if order == "priority" else 0)
    seen = [queue.peek(index) for index in range(32)]
    with pytest.raises(IndexError):
        queue.peek(32)
    assert drain(queue) == seen


def test_purge_empties_the_shelf_and_what_has_not_reached_it() -> None:
    queue = Queue(4, 8, order="priority")
    queue.put_many([b"a", b"b"])
    assert queue.peek() == b"a"
    queue.put(b"c", priority=3)
    assert (queue.purge(), queue.depth) == (3, 0)
    queue.put_many([b"d", b"e", b"f", b"g"], timeout=0)
    assert drain(queue) == [b"d", b"e", b"f", b"g"]


def test_loan_has_no_priority_of_its_slots_last_message() -> None:
    queue = Queue(2, 8, order="priority")
    queue.put(b"urgent", priority=9)
    queue.get()
    queue.put(b"urgent", priority=9)
    queue.get()
    with queue.loan(1) as loan:
        loan[:] = b"l"
    queue.put(b"p", priority=1)
    assert drain(queue) == [b"p", b"l"]


def test_wrong_orders_and_priorities_are_refused() -> None:
    with pytest.raises(ValueError, match="order="):
        Queue(order="newest")  # pyright: ignore[reportArgumentType]
    queue = Queue(order="priority")
    for priority in (-1, 32768, 2**70):
        with pytest.raises(ValueError, match=r"priority|out of range"):
            queue.put(b"x", priority=priority)
    with pytest.raises(MisuseError, match="make it with order='priority'"):
        Queue(order="lifo").put(b"x", priority=1)
    assert queue.depth == 0


def test_order_is_a_parameter_of_the_name() -> None:
    made = Queue.create("by.order", order="lifo")
    assert Queue.open("by.order").depth == 0
    with pytest.raises(MismatchError, match="order='lifo'"):
        Queue.open_or_create("by.order", order="priority")
    made.unlink()


# ── awaited ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_awaited_verbs_know_orders() -> None:
    async def main() -> list[bytes]:
        queue = aio.Queue(4, 8, order="priority")
        waiting = asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        await queue.put(b"first")
        assert await waiting == b"first"
        await queue.put(b"a")
        queue.put_nowait(b"b", priority=7)
        await queue.put(b"c", front=True)
        with pytest.raises(ValueError, match="priority=-1"):
            await queue.put(b"d", priority=-1)
        return await queue.get_many()

    assert asyncio.run(main()) == [b"b", b"c", b"a"]
