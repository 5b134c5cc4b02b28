"""Models of flags: Event and Latch, and Notification with those who wait for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from underpass.errors import MisuseError, TimedOut, WouldBlock
from underpass.lab.history import Task
from underpass.lab.models.model import Model, Step

__all__ = ["Event", "Latch", "Notification"]

ALL_FLAGS = 2**64 - 1


@dataclass(frozen=True)
class Event(Model):
    """A flag."""

    flag: bool = False

    def set(self, _who: Task) -> Step:
        yield None, Event(flag=True)

    def clear(self, _who: Task) -> Step:
        yield None, Event(flag=False)

    def is_set(self, _who: Task) -> Step:
        yield self.flag, self

    def wait(self, _who: Task, *, timeout: float | None = None) -> Step:
        yield True if self.flag else TimedOut, self

    def wait_nowait(self, _who: Task) -> Step:
        yield True if self.flag else WouldBlock, self


@dataclass(frozen=True)
class Latch(Model):
    """So many who are to come; with none it is open."""

    count: int

    def count_down(self, _who: Task, n: int = 1) -> Step:
        if n > self.count:
            yield MisuseError, self
        else:
            yield None, Latch(self.count - n)

    def wait(self, _who: Task, *, timeout: float | None = None) -> Step:
        yield True if not self.count else TimedOut, self

    def wait_nowait(self, _who: Task) -> Step:
        yield True if not self.count else WouldBlock, self

    def read_count(self, _who: Task) -> Step:
        yield self.count, self


class Wish(NamedTuple):
    """Who waits for which flags."""

    who: Task
    bits: int
    all: bool
    consume: bool

    def matched(self, bits: int) -> int | None:
        """Return what fulfils it, if that does."""
        found = bits & self.bits
        return found if (found == self.bits if self.all else found or not self.bits) else None


@dataclass(frozen=True)
class Notification(Model):
    """64 flags, those who wait for some of them, and what they were given: to everybody at once, then it is cleared."""

    bits: int = 0
    waiting: tuple[Wish, ...] = ()
    given: frozenset[tuple[Task, int]] = frozenset()

    def posted(self, bits: int) -> Notification:
        """Give flags to everybody whose wish they fulfil, then clear what was consumed."""
        served = {wish: found for wish in self.waiting if (found := wish.matched(bits)) is not None}
        for wish, found in served.items():
            bits &= ~found if wish.consume else ALL_FLAGS
        waiting = tuple(wish for wish in self.waiting if wish not in served)
        return Notification(bits, waiting, self.given | {(wish.who, found) for wish, found in served.items()})

    def notify(self, _who: Task, bits: int = 1) -> Step:
        yield self.bits, self.posted(self.bits | bits)

    def set(self, _who: Task, bits: int, mask: int = ALL_FLAGS) -> Step:
        yield self.bits, self.posted(self.bits & ~mask | bits & mask)

    def clear(self, _who: Task, bits: int = ALL_FLAGS) -> Step:
        yield self.bits, replace(self, bits=self.bits & ~bits)

    def read_bits(self, _who: Task) -> Step:
        yield self.bits, self

    def wait_called(
        self,
        who: Task,
        bits: int = ALL_FLAGS,
        *,
        all: bool = False,  # noqa: A002 - the object's word
        consume: bool = True,
        timeout: float | None = None,
    ) -> Step:
        """Wait, from now on; what is there is given at once."""
        yield None, replace(self, waiting=(*self.waiting, Wish(who, bits, all, consume))).posted(self.bits)

    def wait(self, who: Task, *_wish: object, **_options: object) -> Step:
        """Come back with what was given, or give up."""
        for given in (one for one in self.given if one[0] == who):
            yield given[1], replace(self, given=self.given - {given})
            return
        yield TimedOut, replace(self, waiting=tuple(wish for wish in self.waiting if wish.who != who))

    def wait_nowait(
        self,
        who: Task,
        bits: int = ALL_FLAGS,
        *,
        all: bool = False,  # noqa: A002 - the object's word
        consume: bool = True,
    ) -> Step:
        found = Wish(who, bits, all, consume).matched(self.bits)
        if found is None:
            yield WouldBlock, self
        else:
            yield found, replace(self, bits=self.bits & ~found if consume else self.bits)

    def killed(self, who: Task) -> Step:
        """Go on without it; but a post may still be given to the dead, and then it comes back."""
        yield None, self
        yield None, replace(self, waiting=tuple(wish for wish in self.waiting if wish.who.process != who.process))

    def reaped(self, who: Task) -> Step:
        """Post again what the dead was given and did not come back with: others may have seen it too."""
        lost = {given for given in self.given if given[0].process == who.process}
        bits = self.bits
        for _, found in lost:
            bits |= found
        yield None, replace(self, given=self.given - lost).posted(bits)
