"""Queue of any order against two lists: what is queued, and what is held; and a third for the dead letters."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.models.stateful import compare, outcome, profiles
from underpass import EndOfStream, Lease, Loan, MisuseError, Queue, TimedOut, UnderpassError, WouldBlock

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 8
Order = Literal["fifo", "lifo", "priority"]
ORDERS: tuple[Order, ...] = ("fifo", "lifo", "priority")
WhenFull = Literal["wait", "drop_oldest", "drop_newest"]
WHEN_FULL: tuple[WhenFull, ...] = ("wait", "drop_oldest", "drop_newest")
data = some.binary(max_size=SIZE)


@dataclass
class Message:
    """A message, and how often it came back."""

    data: bytes
    priority: int = 0
    returns: int = 0


class Room:
    """A queue of messages in so many slots, some of which are held."""

    def __init__(self, capacity: int, order: Order = "fifo", when_full: WhenFull = "wait") -> None:
        self.capacity = capacity
        self.order = order
        self.when_full = when_full
        self.dropped = 0
        self.queued: list[Message] = []
        self.held = 0

    @property
    def free(self) -> int:
        return self.capacity - len(self.queued) - self.held

    def insert(self, message: Message, *, front: bool) -> None:
        """Put a message before, or behind, its equals."""
        if self.order == "priority":
            ahead = [other.priority > message.priority - (not front) for other in self.queued]
            self.queued.insert(sum(ahead), message)
        else:
            self.queued.insert(0 if front else len(self.queued), message)

    def arrive(self, message: Message) -> None:
        self.insert(message, front=self.order == "lifo")

    def make_room(self, priority: int = 9) -> bool:
        """Find room for a message, which may cost another; else it may be dropped itself."""
        if self.free:
            return True
        if self.when_full != "drop_oldest" or not self.queued or self.queued[-1].priority > priority:
            return False
        least = [other for other in self.queued if other.priority == self.queued[-1].priority]
        goes = least[-1] if self.order == "lifo" else least[0]
        self.queued = [other for other in self.queued if other is not goes]
        self.dropped += 1
        return True

    def put(self, message: Message, *, front: bool = False) -> None:
        """Put a message, or drop it."""
        if not self.make_room(message.priority):
            self.dropped += 1
        elif front:
            self.insert(message, front=True)
        else:
            self.arrive(message)


class QueueModel(RuleBasedStateMachine):
    """Everything that one process can do with a queue, through two handles of it."""

    @initialize(
        capacity=some.integers(1, 5),
        most=some.none() | some.integers(1, 3),
        order=some.sampled_from(ORDERS),
        when_full=some.sampled_from(WHEN_FULL),
    )
    def make(self, capacity: int, most: int | None, order: Order, when_full: WhenFull) -> None:
        self.most = most
        self.it = Queue.create("it", capacity, SIZE, order=order, when_full=when_full, max_deliveries=most)
        self.other = Queue.open("it")
        self.room, self.letters = Room(capacity, order, when_full), Room(capacity)
        self.leases: list[tuple[Lease, Message]] = []
        self.loans: list[tuple[Loan, Message]] = []
        self.ended: list[Lease] = []
        self.putters = ExitStack()
        self.registered = 0
        self.left = self.shut = False

    # ── putting ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def no_room(self, late: type[UnderpassError]) -> type[UnderpassError] | None:
        if self.shut:
            return EndOfStream
        return None if self.room.free or self.room.when_full != "wait" else late

    @rule(data=data, priority=some.integers(0, 2), front=some.booleans(), wait=some.booleans())
    def put(self, data: bytes, priority: int, *, front: bool, wait: bool) -> None:
        expected = self.no_room(TimedOut if wait else WouldBlock)
        if self.room.order != "priority":
            priority = 0
        put: Callable[[], None] = (
            (lambda: self.it.put(data, priority=priority, front=front, timeout=0))
            if wait
            else (lambda: self.it.put_nowait(data, priority=priority, front=front))
        )
        assert outcome(put) is expected
        if expected is None:
            self.room.put(Message(data, priority), front=front)

    @rule(items=some.lists(data, max_size=4), priority=some.integers(0, 2))
    def put_many(self, items: list[bytes], priority: int) -> None:
        if self.room.order != "priority":
            priority = 0
        fit = len(items) if self.room.when_full != "wait" else min(self.room.free, len(items))
        if self.shut:
            fit = 0
        if fit < len(items):
            with pytest.raises(EndOfStream if self.shut else TimedOut) as caught:
                self.it.put_many(items, priority=priority, timeout=0)
            assert caught.value.transferred == fit
        else:
            self.it.put_many(items, priority=priority, timeout=0)
        for item in items[:fit]:
            self.room.put(Message(item, priority))

    @rule(data=data, priority=some.integers(0, 2))
    def lend(self, data: bytes, priority: int) -> None:
        if self.room.order != "priority":
            priority = 0
        expected = EndOfStream if self.shut else None if self.room.make_room() else TimedOut
        loan = outcome(lambda: self.other.loan(len(data), priority=priority, timeout=0))
        if isinstance(loan, Loan):
            assert expected is None
            loan[:] = data
            self.loans.append((loan, Message(data, priority)))
            self.room.held += 1
        else:
            assert loan is expected

    @precondition(lambda self: self.loans)
    @rule(pick=some.integers(0, 9), cut=some.integers(0, SIZE), commit=some.booleans())
    def end_loan(self, pick: int, cut: int, *, commit: bool) -> None:
        loan, message = self.loans.pop(pick % len(self.loans))
        self.room.held -= 1
        if not commit:
            loan.abandon()
            return
        size = min(cut, len(message.data))
        assert outcome(lambda: loan.commit(size)) is (EndOfStream if self.shut else None)
        if not self.shut:
            self.room.arrive(Message(message.data[:size], message.priority))

    @rule()
    def register(self) -> None:
        self.putters.enter_context(self.it.putting())
        self.registered += 1
        self.left = False

    @precondition(lambda self: self.registered)
    @rule()
    def leave(self) -> None:
        self.putters.close()
        self.registered, self.left = 0, True

    # ── getting ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def nothing(self, late: type[UnderpassError]) -> type[UnderpassError] | None:
        if self.room.queued:
            return None
        return EndOfStream if (self.shut or self.left) and not self.room.held else late

    @rule(wait=some.booleans())
    def get(self, *, wait: bool) -> None:
        expected = self.nothing(TimedOut if wait else WouldBlock)
        got = outcome((lambda: self.other.get(timeout=0)) if wait else self.other.get_nowait)
        assert got == (expected or self.room.queued.pop(0).data)

    @rule()
    def get_into(self) -> None:
        expected, into = self.nothing(TimedOut), bytearray(SIZE)
        got = outcome(lambda: self.it.get_into(into, timeout=0))
        if expected:
            assert got is expected
        else:
            assert isinstance(got, int)
            assert bytes(into[:got]) == self.room.queued.pop(0).data

    @rule(limit=some.integers(1, 4))
    def get_many(self, limit: int) -> None:
        expected = self.nothing(TimedOut)
        got = outcome(lambda: self.it.get_many(limit, timeout=0))
        assert got == (expected or [message.data for message in self.room.queued[:limit]])
        del self.room.queued[:limit]

    @rule(index=some.integers(0, 4))
    def peek(self, index: int) -> None:
        try:
            assert self.it.peek(index) == self.room.queued[index].data
        except IndexError:
            assert index >= len(self.room.queued)

    @rule(wait=some.booleans())
    def take(self, *, wait: bool) -> None:
        expected = self.nothing(TimedOut if wait else WouldBlock)
        lease = outcome((lambda: self.it.take(timeout=0)) if wait else self.it.take_nowait)
        if not isinstance(lease, Lease):
            assert lease is expected
            return
        message = self.room.queued.pop(0)
        assert (bytes(lease.value), lease.deliveries) == (message.data, message.returns + 1)
        self.leases.append((lease, message))
        self.room.held += 1

    @precondition(lambda self: self.leases)
    @rule(pick=some.integers(0, 9))
    def done(self, pick: int) -> None:
        lease, _ = self.leases.pop(pick % len(self.leases))
        lease.done()
        self.ended.append(lease)
        self.room.held -= 1

    @precondition(lambda self: self.leases)
    @rule(pick=some.integers(0, 9), front=some.booleans())
    def put_back(self, pick: int, *, front: bool) -> None:
        lease, message = self.leases.pop(pick % len(self.leases))
        lease.put_back(front=front)
        self.ended.append(lease)
        self.room.held -= 1
        message.returns += 1
        exhausted = self.most is not None and message.returns >= self.most
        if exhausted and self.letters.free:
            self.letters.queued.append(message)
        else:
            self.room.insert(message, front=front or exhausted)

    @precondition(lambda self: self.ended)
    @rule(pick=some.integers(0, 99))
    def end_twice(self, pick: int) -> None:
        lease = self.ended[pick % len(self.ended)]
        assert outcome(lease.done) is MisuseError
        assert outcome(lease.put_back) is MisuseError

    @precondition(lambda self: self.most)
    @rule()
    def read_letter(self) -> None:
        with self.it.dead_letters.take(timeout=0) if self.letters.queued else ExitStack() as lease:
            if isinstance(lease, Lease):
                letter = self.letters.queued.pop(0)
                assert (bytes(lease.value), lease.deliveries) == (letter.data, letter.returns + 1)

    # ── all of it ───────────────────────────────────────────────────────────────────────────────────────────────────

    @rule()
    def purge(self) -> None:
        assert self.it.purge() == len(self.room.queued)
        self.room.queued.clear()

    @rule(pick=some.integers(0, 4), data=data)
    def remove(self, pick: int, data: bytes) -> None:
        if pick < len(self.room.queued):
            data = self.room.queued[pick].data
        at = next((at for at, message in enumerate(self.room.queued) if message.data == data), None)
        assert self.other.remove(data) is (at is not None)
        if at is not None:
            del self.room.queued[at]

    @precondition(lambda self: not self.shut)
    @rule(often=some.integers(0, 9), immediate=some.booleans())
    def shut_down(self, often: int, *, immediate: bool) -> None:
        if often:
            return  # one in ten: an ended queue shows less
        self.it.shutdown(immediate=immediate)
        self.shut = True
        if immediate:
            self.room.queued.clear()

    @rule()
    def join(self) -> None:
        idle = not self.room.queued and not self.room.held
        assert outcome(lambda: self.other.join(timeout=0)) is (None if idle else TimedOut)

    @invariant()
    def is_the_same(self) -> None:
        for handle in (self.it, self.other):
            seen = handle.statistics()
            assert handle.depth == seen.depth == len(self.room.queued)
            assert handle.dropped == self.room.dropped
            assert (len(seen.leases), len(seen.loans), seen.shut_down) == (len(self.leases), len(self.loans), self.shut)
        if self.most:
            assert self.it.dead_letters.depth == len(self.letters.queued)

    def teardown(self) -> None:
        for lease, _ in self.leases:
            lease.done()
        for loan, _ in self.loans:
            loan.abandon()
        self.putters.close()
        self.other.close()
        self.it.unlink()
        self.it.close()


@profiles
def test_queue_is_a_list_and_what_is_held(profile: settings) -> None:
    compare(QueueModel, profile)
