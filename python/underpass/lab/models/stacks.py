"""Model of a stack: what is on it, who waits for a word, and what was handed to whom."""

from __future__ import annotations

from dataclasses import dataclass, replace

from underpass.errors import TimedOut, WouldBlock
from underpass.lab.history import Task
from underpass.lab.models.model import Model, Step

__all__ = ["Stack"]


@dataclass(frozen=True)
class Stack(Model):
    """Words, the last one on top. What is pushed while somebody waits may be handed over, and is on the stack at no time."""

    capacity: int
    words: tuple[int, ...] = ()
    waiting: frozenset[Task] = frozenset()
    given: frozenset[tuple[Task, int]] = frozenset()

    def push(self, _who: Task, word: int) -> Step:
        # Who has called may not have come to wait yet.
        if len(self.words) < self.capacity:
            yield None, replace(self, words=(*self.words, word))
        else:
            yield WouldBlock, self
        for who in self.waiting:
            yield None, replace(self, waiting=self.waiting - {who}, given=self.given | {(who, word)})

    def pop_called(self, who: Task, *, timeout: float | None = None) -> Step:
        """Wait, from now on."""
        yield None, replace(self, waiting=self.waiting | {who})

    def pop(self, who: Task, *, timeout: float | None = None) -> Step:
        """Come back with what was given, or is on top, or give up."""
        left = replace(self, waiting=self.waiting - {who})
        for given in (one for one in self.given if one[0] == who):
            yield given[1], replace(left, given=self.given - {given})
            return
        if self.words:
            yield self.words[-1], replace(left, words=self.words[:-1])
        else:
            yield TimedOut, left

    def pop_nowait(self, _who: Task) -> Step:
        if self.words:
            yield self.words[-1], replace(self, words=self.words[:-1])
        else:
            yield WouldBlock, self

    def purge(self, _who: Task) -> Step:
        yield len(self.words), replace(self, words=())

    def read_depth(self, _who: Task) -> Step:
        yield len(self.words), self

    def killed(self, who: Task) -> Step:
        """Go on without it; but a word may still be handed to the dead, and then it comes back."""
        yield None, self
        yield None, replace(self, waiting=frozenset(one for one in self.waiting if one.process != who.process))

    def reaped(self, who: Task) -> Step:
        """Bring a word back that the dead was handed: to the top, or to one who waits."""
        for given in (one for one in self.given if one[0].process == who.process):
            left = replace(self, given=self.given - {given})
            yield None, replace(left, words=(*self.words, given[1]))
            for waiter in self.waiting:
                yield None, replace(left, waiting=self.waiting - {waiter}, given=left.given | {(waiter, given[1])})
