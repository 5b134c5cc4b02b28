"""The model of what is waited for under a lock: Condition."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import ClassVar, NamedTuple

from underpass.errors import MisuseError, OwnerDiedError, TimedOut
from underpass.lab.history import Task
from underpass.lab.models.locks import Mutex
from underpass.lab.models.model import Bracket, Model, Step

__all__ = ["Condition"]


class Waiter(NamedTuple):
    """One who stands in line."""

    who: Task
    timed: bool


@dataclass(frozen=True)
class Condition(Model):
    """A mutex, who stands in line, who was notified, and whose time is over; ``wait_for`` is a loop around ``wait``."""

    mutex: Mutex = field(default_factory=Mutex)
    waiting: tuple[Waiter, ...] = ()
    told: frozenset[Task] = frozenset()
    late: frozenset[Task] = frozenset()
    # Notifications of those who died before they came back.
    left: int = 0

    brackets: ClassVar[Mapping[str, Bracket]] = {
        **{name: bracket._replace(broken="leave_broken") for name, bracket in Mutex.brackets.items()}
    }

    def _of_mutex(self, step: Step) -> Step:
        for outcome, mutex in step:
            assert isinstance(mutex, Mutex)
            yield outcome, replace(self, mutex=mutex)

    def acquire(self, who: Task, *, timeout: float | None = None) -> Step:
        return self._of_mutex(self.mutex.acquire(who, timeout=timeout))

    def acquire_nowait(self, who: Task) -> Step:
        return self._of_mutex(self.mutex.acquire_nowait(who))

    def release(self, who: Task) -> Step:
        return self._of_mutex(self.mutex.release(who))

    def leave_broken(self, who: Task) -> Step:
        """Leave a block by an exception: one that says that the mutex is lost goes on."""
        return self.release(who) if self.mutex.owner == who else iter([(None, self)])

    def recover(self, who: Task, *, timeout: float | None = None) -> Step:
        return self._of_mutex(self.mutex.recover(who, timeout=timeout))

    def recovered(self, who: Task) -> Step:
        return self._of_mutex(self.mutex.recovered(who))

    def _may_wait(self, who: Task) -> bool:
        return self.mutex.owner == who and self.mutex.depth == 1

    def wait_called(self, who: Task, *, timeout: float | None = None) -> Step:
        """Stand in line, and give the mutex back; without time, and without the mutex, neither."""
        if timeout == 0 or not self._may_wait(who):
            yield None, self
            return
        for _, mutex in self.mutex.release(who):
            assert isinstance(mutex, Mutex)
            yield None, replace(self, mutex=mutex, waiting=(*self.waiting, Waiter(who, timeout is not None)))

    def wait(self, who: Task, *, timeout: float | None = None) -> Step:
        """Come back with the mutex."""
        stands = [waiter for waiter in self.waiting if waiter.who == who]
        if not stands and who not in self.told | self.late:
            yield (TimedOut if timeout == 0 and self._may_wait(who) else MisuseError), self
            return
        if self.mutex.owner is not None:
            return
        gone = self._without(lambda other: other == who)
        if self.mutex.dead:
            yield OwnerDiedError, gone
        elif who in self.told or timeout is not None:
            held = replace(self.mutex, owner=who, depth=1)
            yield (True if who in self.told else TimedOut), replace(gone, mutex=held)

    def _without(self, goes: Callable[[Task], bool]) -> Condition:
        return replace(
            self,
            waiting=tuple(waiter for waiter in self.waiting if not goes(waiter.who)),
            told=frozenset(other for other in self.told if not goes(other)),
            late=frozenset(other for other in self.late if not goes(other)),
        )

    def _after_late_ones(self) -> Iterator[Condition]:
        """Whose time is over may have left the line already, and not come back yet."""
        timed = [waiter for waiter in self.waiting if waiter.timed]
        for count in range(len(timed) + 1):
            for late in combinations(timed, count):
                waiting = tuple(waiter for waiter in self.waiting if waiter not in late)
                yield replace(self, waiting=waiting, late=self.late | {waiter.who for waiter in late})

    def notify(self, _who: Task, count: int = 1) -> Step:
        """Tell those who have waited for longest; how many."""
        for then in self._after_late_ones():
            told = then.waiting[:count]
            yield (
                len(told),
                replace(then, waiting=then.waiting[count:], told=then.told | {waiter.who for waiter in told}),
            )

    def notify_all(self, who: Task) -> Step:
        return self.notify(who, len(self.waiting))

    def killed(self, who: Task) -> Step:
        dead = [other for other in self.told if other.process == who.process]
        left = replace(self._without(lambda other: other.process == who.process), left=self.left + len(dead))
        for outcome, mutex in self.mutex.killed(who):
            assert isinstance(mutex, Mutex)
            yield outcome, replace(left, mutex=mutex)

    def reaped(self, who: Task) -> Step:
        """Hand on what the dead were told and did not come back with."""
        told = self.waiting[: self.left]
        waiting = self.waiting[self.left :]
        yield None, replace(self, waiting=waiting, told=self.told | {waiter.who for waiter in told}, left=0)
