"""Model of those who wait for each other: Barrier."""

from __future__ import annotations

from dataclasses import dataclass, replace

from underpass.errors import BrokenBarrierError, ResetError, TimedOut
from underpass.lab.history import Task
from underpass.lab.models.model import Model, Step

__all__ = ["Barrier"]

Given = tuple[Task, object]


@dataclass(frozen=True)
class Barrier(Model):
    """So many who wait until all have come. Each is given how its own generation ended, and comes back with that.

    When a process comes to its end, a history does not say: while others are known, one may have ended and so broken it.
    """

    parties: int
    broken: bool = False
    waiting: tuple[Task, ...] = ()
    given: frozenset[Given] = frozenset()
    # Processes that have waited or joined.
    known: frozenset[int] = frozenset()

    def ended(self, outcome: object) -> Barrier:
        """Give all who wait the same."""
        return replace(self, waiting=(), given=self.given | {(who, outcome) for who in self.waiting})

    def after_break(self) -> Barrier:
        """Break it, unless it is."""
        return self if self.broken else replace(self.ended(BrokenBarrierError), broken=True)

    def meeting(self, who: Task) -> Barrier:
        """Know a process."""
        return replace(self, known=self.known | {who.process})

    def may_break(self, who: Task) -> bool:
        """Say whether somebody may have ended."""
        return bool(self.known - {who.process})

    def wait_called(self, who: Task, *, timeout: float | None = None) -> Step:
        """Come; the last one lets all go."""
        del timeout
        barrier = replace(self.meeting(who), waiting=(*self.waiting, who))
        if self.broken:
            yield None, barrier.ended(BrokenBarrierError)
            return
        if len(barrier.waiting) < self.parties:
            yield None, barrier
            return
        passed = frozenset((one, index) for index, one in enumerate(barrier.waiting))
        yield None, replace(barrier, waiting=(), given=self.given | passed)
        if self.may_break(who):
            yield None, barrier.after_break()

    def wait(self, who: Task, *, timeout: float | None = None) -> Step:
        """Come back with what was given, or give up, which breaks it."""
        del timeout
        for given in (one for one in self.given if one[0] == who):
            yield given[1], replace(self, given=self.given - {given})
            return
        others = replace(self, waiting=tuple(one for one in self.waiting if one != who)).after_break()
        yield TimedOut, others
        if self.may_break(who):
            yield BrokenBarrierError, others

    def join(self, who: Task) -> Step:
        yield None, self.meeting(who)

    def abort(self, _who: Task) -> Step:
        yield None, self.after_break()

    def reset(self, _who: Task) -> Step:
        yield None, replace(self.ended(ResetError), broken=False)

    def read_broken(self, _who: Task) -> Step:
        yield self.broken, self

    def read_n_waiting(self, _who: Task) -> Step:
        yield len(self.waiting), self
