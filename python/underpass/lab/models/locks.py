"""Models of what processes hold: Semaphore and Mutex."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from underpass.errors import MisuseError, OwnerDiedError, TimedOut, WouldBlock
from underpass.lab.history import Task
from underpass.lab.models.model import Bracket, Model, Step

__all__ = ["Mutex", "Semaphore"]


@dataclass(frozen=True)
class Semaphore(Model):
    """A number between 0 and its limit."""

    value: int
    limit: int = 2**31 - 1
    saturate: bool = False

    brackets: ClassVar[Mapping[str, Bracket]] = {"holding": Bracket("acquire", "release", "release")}

    def _take(self, busy: type[Exception]) -> Step:
        yield (True, replace(self, value=self.value - 1)) if self.value else (busy, self)

    def acquire(self, _who: Task, *, timeout: float | None = None) -> Step:
        return self._take(TimedOut)

    def acquire_nowait(self, _who: Task) -> Step:
        return self._take(WouldBlock)

    def release(self, _who: Task, count: int = 1) -> Step:
        if self.value + count <= self.limit or self.saturate:
            yield None, replace(self, value=min(self.value + count, self.limit))
        else:
            yield MisuseError, self

    def read_value(self, _who: Task) -> Step:
        yield self.value, self


def _has_died(died: OwnerDiedError | None) -> bool:
    return died is not None


@dataclass(frozen=True)
class Mutex(Model):
    """An owner, how often it holds it, and whether the last one died."""

    recursive: bool = False
    owner: Task | None = None
    depth: int = 0
    dead: bool = False

    brackets: ClassVar[Mapping[str, Bracket]] = {
        "": Bracket("acquire", "release", "release"),
        "holding": Bracket("acquire", "release", "release"),
        "recovering": Bracket("recover", "recovered", "release", _has_died),
    }

    def _enter(self, who: Task, *, entered: bool, busy: type[Exception]) -> Step:
        if self.owner is None or (self.owner == who and self.recursive):
            yield entered, replace(self, owner=who, depth=self.depth + 1)
        else:
            yield MisuseError if self.owner == who else busy, self

    def acquire(self, who: Task, *, timeout: float | None = None) -> Step:
        return (
            iter([(OwnerDiedError, self)]) if self._left_behind(who) else self._enter(who, entered=True, busy=TimedOut)
        )

    def acquire_nowait(self, who: Task) -> Step:
        return (
            iter([(OwnerDiedError, self)])
            if self._left_behind(who)
            else self._enter(who, entered=True, busy=WouldBlock)
        )

    def _left_behind(self, who: Task) -> bool:
        return self.dead and self.owner in {None, who}

    def release(self, who: Task) -> Step:
        if self.owner != who:
            yield MisuseError, self
        else:
            yield None, replace(self, owner=who if self.depth > 1 else None, depth=self.depth - 1)

    def recover(self, who: Task, *, timeout: float | None = None) -> Step:
        """Begin a block of recovery; whether its owner had died."""
        return self._enter(who, entered=self.dead, busy=TimedOut)

    def recovered(self, who: Task) -> Step:
        """End such a block well."""
        return replace(self, dead=False).release(who)

    def killed(self, who: Task) -> Step:
        if self.owner is not None and self.owner.process == who.process:
            yield None, replace(self, owner=None, depth=0, dead=True)
        else:
            yield None, self
