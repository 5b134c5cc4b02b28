"""Queue: full, and nobody waits: what is dropped, how it is counted, what is never dropped."""

import asyncio
import random
from functools import partial
from typing import Literal

import pytest

from tests.conformance.backends import Flag, Processes, Threads, until
from underpass import EndOfStream, MessageTooLongError, MismatchError, MisuseError, Queue, TimedOut, aio, wait_any

World = Threads | Processes
Order = Literal["fifo", "lifo", "priority"]
WhenFull = Literal["drop_oldest", "drop_newest"]
DROPS: tuple[WhenFull, ...] = ("drop_oldest", "drop_newest")
ORDERS: tuple[Order, ...] = ("fifo", "lifo", "priority")


def drain(queue: Queue) -> list[bytes]:
    return queue.get_many() if queue.depth else []


# ── which one goes ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("when_full", "order", "left"),
    [
        ("drop_oldest", "fifo", [b"c", b"d"]),
        ("drop_oldest", "lifo", [b"d", b"c"]),
        ("drop_oldest", "priority", [b"c", b"d"]),
        ("drop_newest", "fifo", [b"a", b"b"]),
        ("drop_newest", "lifo", [b"b", b"a"]),
        ("drop_newest", "priority", [b"a", b"b"]),
    ],
)
def test_one_goes_for_each_that_is_too_much(when_full: WhenFull, order: Order, left: list[bytes]) -> None:
    queue = Queue(2, 8, order=order, when_full=when_full)
    for message in (b"a", b"b", b"c"):
        queue.put(message)
    queue.put_nowait(b"d")
    assert (queue.dropped, queue.depth, drain(queue)) == (2, 2, left)
    queue.join(timeout=0)


def test_least_urgent_goes_the_new_one_included() -> None:
    queue = Queue(3, 8, order="priority", when_full="drop_oldest")
    for message, priority in [(b"a", 1), (b"b", 0), (b"c", 0), (b"d", 2), (b"e", 0), (b"f", 5), (b"g", 0), (b"h", 1)]:
        queue.put(message, priority=priority)
    # For d went b, for e went c, for f went e; g was less urgent than all; for h went a.
    assert (queue.dropped, drain(queue)) == (5, [b"f", b"d", b"h"])


@pytest.mark.parametrize("when_full", DROPS)
@pytest.mark.parametrize("order", ORDERS)
def test_what_goes_is_what_a_list_says(order: Order, when_full: WhenFull) -> None:
    dice = random.Random(f"{order} {when_full}")
    queue = Queue(7, 16, order=order, when_full=when_full)
    expected, dropped = list[tuple[int, int]](), 0  # rank and number, as they will be got
    for number in range(1500):
        if expected and dice.random() < 0.4:
            assert queue.get_nowait() == b"%d" % expected.pop(0)[1]
        else:
            priority = dice.randrange(4) if order == "priority" else 0
            queue.put_nowait(b"%d" % number, priority=priority)
            least = max((rank for rank, _ in expected), default=0)
            if len(expected) == 7:
                dropped += 1
                if when_full == "drop_newest" or -priority > least:
                    continue
                if order == "lifo":
                    expected.pop()
                else:
                    expected.remove(next(one for one in expected if one[0] == least))
            expected.append((-priority, number))
            expected.sort(key=lambda one: (one[0], -one[1] if order == "lifo" else one[1]))
        assert (queue.depth, queue.dropped) == (len(expected), dropped)


@pytest.mark.parametrize("when_full", DROPS)
def test_message_in_front_of_a_full_queue(when_full: WhenFull) -> None:
    queue = Queue(2, 8, when_full=when_full)
    queue.put_many([b"a", b"b"])
    queue.put(b"c", front=True)
    left = [b"c", b"b"] if when_full == "drop_oldest" else [b"a", b"b"]
    assert (queue.dropped, drain(queue)) == (1, left)
    queue.join(timeout=0)


@pytest.mark.parametrize(("when_full", "left"), [("drop_oldest", b"cdef"), ("drop_newest", b"abcd")])
def test_many_at_once_are_all_taken(when_full: WhenFull, left: bytes) -> None:
    queue = Queue(4, 8, when_full=when_full)
    queue.put_many([b"%c" % letter for letter in b"abcdef"], timeout=0)
    assert (queue.dropped, b"".join(drain(queue))) == (2, left)


def test_many_and_loans_have_a_priority() -> None:
    queue = Queue(4, 8, order="priority")
    queue.put_many([b"a", b"b"], priority=1)
    with queue.loan(1, priority=7) as loan:
        loan[:] = b"l"
    queue.put(b"p", priority=3)
    assert drain(queue) == [b"l", b"p", b"a", b"b"]
    for refused in (partial(queue.put_many, [b"x"]), partial(queue.loan, 1)):
        with pytest.raises(ValueError, match="priority=-1"):
            refused(priority=-1)
    with pytest.raises(MisuseError, match="order='priority'"):
        Queue().loan(1, priority=1)


# ── what is at work ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("order", ORDERS)
def test_leased_message_is_never_dropped(order: Order) -> None:
    queue = Queue(2, 8, order=order, when_full="drop_oldest")
    queue.put_many([b"a", b"b"])
    first, second = queue.take(), queue.take()
    queue.put(b"c")
    queue.put(b"d", front=True)
    assert (queue.dropped, queue.depth) == (2, 0)
    second.done()
    queue.put(b"e")
    first.put_back()
    queue.put(b"f")
    assert (queue.dropped, queue.depth) == (3, 2)
    assert b"f" in drain(queue)
    queue.join(timeout=0)


def test_loan_takes_the_slot_of_the_oldest() -> None:
    queue = Queue(2, 8, order="priority", when_full="drop_oldest")
    queue.put_many([b"a", b"b"], priority=3)
    with queue.loan(1) as first, queue.loan(1) as second:
        first[:], second[:] = b"x", b"y"
        assert (queue.dropped, queue.depth) == (2, 0)
        with pytest.raises(TimedOut):
            queue.loan(1, timeout=0)
    assert (queue.dropped, drain(queue)) == (2, [b"y", b"x"])


def test_loan_waits_where_the_newest_is_dropped(world: World) -> None:
    queue = Queue(1, 8, when_full="drop_newest")
    queue.put(b"a")

    def lend() -> None:
        with queue.loan(1) as loan:
            loan[:] = b"l"

    borrower = world.start(lend)
    borrower.until_asleep()
    queue.put(b"b")
    assert queue.get() == b"a"
    borrower.result()
    assert (queue.get(), queue.dropped) == (b"l", 1)


def test_loan_is_told_of_a_message_that_comes_back(world: World) -> None:
    queue = Queue(1, 8, when_full="drop_oldest")
    queue.put(b"a")
    lease = queue.take()

    def lend() -> None:
        with queue.loan(1) as loan:
            loan[:] = b"l"

    borrower = world.start(lend)
    borrower.until_asleep()
    lease.put_back()
    borrower.result()
    assert (queue.get(), queue.dropped) == (b"l", 1)


def hold(queue: Queue, lent: Flag, never: Flag) -> None:
    """Lend what there is and wait to be killed."""
    loans = [queue.loan(1) for _ in range(2)]
    lent.raise_()
    never.wait()
    del loans


@pytest.mark.parametrize("when_full", DROPS)
def test_slots_of_the_dead_are_room(processes: Processes, when_full: WhenFull) -> None:
    queue, lent, never = Queue(2, 8, when_full=when_full), processes.flag(), processes.flag()
    worker = processes.start(hold, queue, lent, never)
    lent.wait()
    queue.put(b"a")
    assert (queue.dropped, queue.depth) == (1, 0)
    worker.kill()
    queue.put_many([b"b", b"c"])
    assert (queue.dropped, drain(queue)) == (1, [b"b", b"c"])


# ── several at once ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("when_full", DROPS)
@pytest.mark.parametrize("order", ORDERS)
def test_every_message_is_got_or_counted(world: World, order: Order, when_full: WhenFull) -> None:
    queue = Queue(3, 16, order=order, when_full=when_full)

    def put(putter: int) -> None:
        for number in range(60):
            queue.put(b"%d.%d" % (putter, number), front=number % 7 == 0)
        queue.put_many([b"%d.%d" % (putter, number) for number in range(60, 70)])

    putters = [world.start(put, putter) for putter in range(2)]
    got = list[bytes]()
    while not all(putter.ended for putter in putters):
        got += drain(queue)
    for putter in putters:
        putter.result()
    got += drain(queue)
    assert len(got) == len(set(got)) == 140 - queue.dropped
    queue.join(timeout=0)


def test_full_queue_is_never_found_empty(world: World) -> None:
    queue = Queue(1, 16, when_full="drop_oldest")
    queue.put(b"0")

    def put() -> None:
        for number in range(300):
            queue.put(b"%d" % number)

    putter = world.start(put)
    while not putter.ended:
        queue.peek()
    putter.result()
    assert (queue.get(), queue.dropped) == (b"299", 300)


def put_for_ever(queue: Queue) -> None:
    while True:
        queue.put(b"x")


def test_putter_that_is_killed_leaves_the_count_right(processes: Processes) -> None:
    queue = Queue(2, 8, when_full="drop_oldest")
    putter = processes.start(put_for_ever, queue)
    until(lambda: queue.dropped > 100, "many are dropped")
    putter.kill()
    before = queue.dropped
    queue.put_many([b"a", b"b", b"c"])
    # It may have dropped one, and died before it put its own.
    assert (queue.dropped - before, drain(queue)) in [(3, [b"b", b"c"]), (2, [b"b", b"c"])]


# ── waits, ends, refusals ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("when_full", DROPS)
def test_what_is_too_long_or_too_late_is_refused(when_full: WhenFull) -> None:
    queue = Queue(1, 8, when_full=when_full)
    queue.put(b"a")
    with pytest.raises(MessageTooLongError):
        queue.put(b"x" * 9)
    queue.shutdown()
    for put in (queue.put, partial(queue.put, front=True), queue.put_nowait):
        with pytest.raises(EndOfStream):
            put(b"b")
    assert (queue.dropped, drain(queue)) == (0, [b"a"])


@pytest.mark.parametrize("when_full", DROPS)
def test_what_is_got_or_thrown_away_is_not_dropped(when_full: WhenFull) -> None:
    queue = Queue(2, 8, when_full=when_full)
    queue.put_many([b"a", b"b"])
    assert (queue.get(), queue.purge(), queue.dropped) == (b"a", 1, 0)


def test_room_is_there_if_a_loan_would_not_wait() -> None:
    queue = Queue(1, 8, when_full="drop_oldest")
    queue.put(b"a")
    wait_any(queue.room, timeout=0)
    assert queue.dropped == 0
    with queue.take(), pytest.raises(TimedOut):
        wait_any(queue.room, timeout=0)
    newest = Queue(1, 8, when_full="drop_newest")
    newest.put(b"a")
    with pytest.raises(TimedOut):
        wait_any(newest.room, timeout=0)


def test_it_is_a_parameter_of_the_name() -> None:
    made = Queue.create("full", when_full="drop_newest")
    assert Queue.open("full").when_full == "drop_newest"
    with pytest.raises(MismatchError, match="when_full='drop_newest'"):
        Queue.open_or_create("full", when_full="drop_oldest")
    made.unlink()
    with pytest.raises(ValueError, match="when_full="):
        Queue(when_full="drop")  # pyright: ignore[reportArgumentType]


def test_dead_letters_of_a_queue_that_drops_wait() -> None:
    queue = Queue(1, 8, when_full="drop_oldest", max_deliveries=1)
    queue.put(b"a")
    queue.take().put_back()
    queue.put(b"b")
    queue.take().put_back()
    # No room among the letters: it stays in front.
    assert (queue.dropped, drain(queue), drain(queue.dead_letters)) == (0, [b"b"], [b"a"])
    assert queue.dead_letters.when_full == "wait"


# ── awaited ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("when_full", DROPS)
def test_awaited_puts_wait_for_nothing(when_full: WhenFull) -> None:
    async def main() -> None:
        queue = aio.Queue(1, 8, when_full=when_full)
        await queue.put(b"a")
        lease = await queue.take()
        waiting = asyncio.ensure_future(queue.loan(1))
        await asyncio.sleep(0)
        await queue.put(b"b")
        await queue.put_many([b"c", b"d"])
        assert (queue.dropped, waiting.done()) == (3, False)
        lease.done()
        with await waiting as loan:
            loan[:] = b"l"
        assert (await queue.get(), queue.dropped, queue.when_full) == (b"l", 3, when_full)

    asyncio.run(main())
