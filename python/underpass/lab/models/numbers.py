"""Model of a number: AtomicInt with those who wait for it to change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from underpass.errors import TimedOut, WouldBlock
from underpass.lab.history import Task
from underpass.lab.models.model import Model, Step

__all__ = ["AtomicInt"]


def wrapped(number: int) -> int:
    """Return the number in two's complement of 64 bits."""
    return (number + 2**63) % 2**64 - 2**63


class Sleeper(NamedTuple):
    """Who waits while the number is what it expects."""

    who: Task
    expected: int
    # It may return: the number was another for a while, which it may have missed.
    may: bool = False
    # It returns: somebody woke it.
    must: bool = False


@dataclass(frozen=True)
class AtomicInt(Model):
    """A signed number of 64 bits."""

    value: int = 0
    sleepers: tuple[Sleeper, ...] = ()

    def _change(self, change: Callable[[int], int]) -> Step:
        value = wrapped(change(self.value))
        sleepers = tuple(one._replace(may=True) if one.expected != value else one for one in self.sleepers)
        yield self.value, AtomicInt(value, sleepers)

    def load(self, _who: Task) -> Step:
        yield self.value, self

    def store(self, _who: Task, value: int) -> Step:
        return ((None, model) for _, model in self._change(lambda _: value))

    def exchange(self, _who: Task, value: int) -> Step:
        return self._change(lambda _: value)

    def compare_exchange(self, _who: Task, expected: int, value: int) -> Step:
        return self._change(lambda before: value if before == expected else before)

    def add(self, _who: Task, value: int) -> Step:
        return self._change(lambda before: before + value)

    def sub(self, _who: Task, value: int) -> Step:
        return self._change(lambda before: before - value)

    def and_(self, _who: Task, value: int) -> Step:
        return self._change(lambda before: before & value)

    def or_(self, _who: Task, value: int) -> Step:
        return self._change(lambda before: before | value)

    def xor(self, _who: Task, value: int) -> Step:
        return self._change(lambda before: before ^ value)

    def wait_called(self, who: Task, expected: int, *, timeout: float | None = None) -> Step:
        """Wait, from now on."""
        yield None, AtomicInt(self.value, (*self.sleepers, Sleeper(who, expected, self.value != expected)))

    def wait(self, who: Task, *_expected: object, **_options: object) -> Step:
        """Come back, or give up."""
        sleeper = next(one for one in self.sleepers if one.who == who)
        left = AtomicInt(self.value, tuple(one for one in self.sleepers if one is not sleeper))
        if sleeper.may or sleeper.must:
            yield True, left
        if not sleeper.must and self.value == sleeper.expected:
            yield TimedOut, left

    def wait_nowait(self, _who: Task, expected: int) -> Step:
        yield WouldBlock if self.value == expected else True, self

    def wake(self, _who: Task, count: int = 1) -> Step:
        """Let some go: of those who were called, nobody knows who sleeps already."""
        asleep = [index for index, one in enumerate(self.sleepers) if not one.must]
        for number in range(min(count, len(asleep)), -1, -1):
            for chosen in combinations(asleep, number):
                woken = (one._replace(must=True) if at in chosen else one for at, one in enumerate(self.sleepers))
                yield number, AtomicInt(self.value, tuple(woken))

    def killed(self, who: Task) -> Step:
        """Let another go for one that was let go and is dead."""
        lost = [one for one in self.sleepers if one.who.process == who.process]
        left = tuple(one for one in self.sleepers if one not in lost)
        if any(one.must for one in lost):
            left = tuple(one._replace(may=True) for one in left)
        yield None, AtomicInt(self.value, left)
