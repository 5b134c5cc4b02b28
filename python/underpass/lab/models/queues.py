"""Model of a queue: what is queued, what is leased to whom, and whether it was shut down."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, NamedTuple

from underpass.errors import EndOfStream, MisuseError, TimedOut, WouldBlock
from underpass.lab.history import Task
from underpass.lab.models.model import Model, Step

__all__ = ["Queue", "Taken"]


class Taken(NamedTuple):
    """A message and which delivery of it that is: what a lease is to a model."""

    data: bytes
    deliveries: int


class Message(NamedTuple):
    """A message, and how often it came back."""

    data: bytes
    returns: int = 0


@dataclass(frozen=True)
class Queue(Model):
    """Messages in order of arrival, in so many slots, some of which are leased. Made without ``max_deliveries``."""

    capacity: int
    queued: tuple[Message, ...] = ()
    leases: tuple[tuple[Task, Message], ...] = ()
    ended: bool = False
    when_full: Literal["wait", "drop_oldest", "drop_newest"] = field(default="wait", repr=False)
    dropped: int = 0

    leasing: ClassVar[frozenset[str]] = frozenset({"take", "take_nowait"})

    # ── putting ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _put(self, data: bytes, full: type[Exception]) -> Step:
        if self.ended:
            yield EndOfStream, self
        elif len(self.queued) + len(self.leases) < self.capacity:
            yield None, replace(self, queued=(*self.queued, Message(data)))
        elif self.when_full == "drop_oldest" and self.queued:
            yield None, replace(self, queued=(*self.queued[1:], Message(data)), dropped=self.dropped + 1)
        elif self.when_full != "wait":
            yield None, replace(self, dropped=self.dropped + 1)
        else:
            yield full, self

    def put(self, _who: Task, data: bytes, *, timeout: float | None = None) -> Step:
        return self._put(data, TimedOut)

    def put_nowait(self, _who: Task, data: bytes) -> Step:
        return self._put(data, WouldBlock)

    def shutdown(self, _who: Task, *, immediate: bool = False) -> Step:
        yield None, replace(self, queued=() if immediate else self.queued, ended=True)

    # ── getting ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _nothing(self, empty: type[Exception]) -> type[Exception]:
        return EndOfStream if self.ended and not self.leases else empty

    def _get(self, empty: type[Exception]) -> Step:
        if self.queued:
            yield self.queued[0].data, replace(self, queued=self.queued[1:])
        else:
            yield self._nothing(empty), self

    def get(self, _who: Task, *, timeout: float | None = None) -> Step:
        return self._get(TimedOut)

    def get_nowait(self, _who: Task) -> Step:
        return self._get(WouldBlock)

    def peek(self, _who: Task, index: int = 0) -> Step:
        yield self.queued[index].data if index < len(self.queued) else IndexError, self

    def remove(self, _who: Task, data: bytes) -> Step:
        for at, message in enumerate(self.queued):
            if message.data == data:
                yield True, replace(self, queued=self.queued[:at] + self.queued[at + 1 :])
                return
        yield False, self

    def read_dropped(self, _who: Task) -> Step:
        yield self.dropped, self

    def read_depth(self, _who: Task) -> Step:
        yield len(self.queued), self

    # ── leases ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _take(self, who: Task, empty: type[Exception]) -> Step:
        if self.queued:
            first, *left = self.queued
            taken = Taken(first.data, first.returns + 1)
            yield taken, replace(self, queued=tuple(left), leases=(*self.leases, (who, first)))
        else:
            yield self._nothing(empty), self

    def take(self, who: Task, *, timeout: float | None = None) -> Step:
        return self._take(who, TimedOut)

    def take_nowait(self, who: Task) -> Step:
        return self._take(who, WouldBlock)

    def _settle(self, who: Task, taken: Taken) -> tuple[Queue, Message] | None:
        """Return the queue without that lease, which is its process's; two leases of the same are as good as one another."""
        message = Message(taken.data, taken.deliveries - 1)
        for at, (owner, leased) in enumerate(self.leases):
            if (owner.process, leased) == (who.process, message):
                return replace(self, leases=self.leases[:at] + self.leases[at + 1 :]), message
        return None

    def done(self, who: Task, taken: Taken) -> Step:
        settled = self._settle(who, taken)
        yield (None, settled[0]) if settled else (MisuseError, self)

    def put_back(self, who: Task, taken: Taken, *, front: bool = True) -> Step:
        if settled := self._settle(who, taken):
            left, message = settled
            again = (message._replace(returns=message.returns + 1),)
            yield None, replace(left, queued=again + left.queued if front else left.queued + again)
        else:
            yield MisuseError, self

    def reaped(self, who: Task) -> Step:
        """Bring what the dead leased back to the front, in its order."""
        lost = [message for owner, message in self.leases if owner.process == who.process]
        again = tuple(message._replace(returns=message.returns + 1) for message in lost)
        kept = tuple(lease for lease in self.leases if lease[0].process != who.process)
        yield None, replace(self, queued=again + self.queued, leases=kept)

    def seen(self, name: str, result: Any) -> object:
        return Taken(bytes(result.value), result.deliveries) if name in self.leasing else result
