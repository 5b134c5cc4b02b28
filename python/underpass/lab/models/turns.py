"""Models of what is done in turns, by blocks: RWLock and Once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from underpass.errors import MisuseError, OwnerDiedError, TimedOut, WouldBlock
from underpass.lab.history import Task
from underpass.lab.models.model import Bracket, Model, Step

__all__ = ["Once", "RWLock"]


def _has_died(died: OwnerDiedError | None) -> bool:
    return died is not None


@dataclass(frozen=True)
class RWLock(Model):
    """Who reads, how often, who writes, and whether a writer died. It says who may be inside, and nothing of who goes first."""

    readers: frozenset[tuple[Task, int]] = frozenset()
    writer: Task | None = None
    dead: bool = False

    brackets: ClassVar[Mapping[str, Bracket]] = {
        "reading": Bracket("begin_reading", "leave", "leave_broken"),
        "writing": Bracket("begin_writing", "leave", "leave_broken", _has_died),
    }

    def depth(self, who: Task) -> int:
        """Return how often a task reads."""
        return next((depth for reader, depth in self.readers if reader == who), 0)

    def reads(self, who: Task, depth: int) -> RWLock:
        """Have a task read so often."""
        others = frozenset(reader for reader in self.readers if reader[0] != who)
        return replace(self, readers=others | {(who, depth)} if depth else others)

    def is_shared(self, who: Task) -> bool:
        """Say whether another is inside."""
        return self.writer not in {None, who} or any(reader != who for reader, _ in self.readers)

    def begin_reading(self, who: Task, *, timeout: float | None = None) -> Step:
        """Read, unless somebody writes; with others inside it may stand behind one who waits to write, and give up."""
        del timeout
        if self.writer == who:
            yield MisuseError, self
        elif self.writer is None:
            yield (OwnerDiedError, self) if self.dead else (True, self.reads(who, self.depth(who) + 1))
        if self.is_shared(who):
            yield TimedOut, self

    def begin_writing(self, who: Task, *, timeout: float | None = None) -> Step:
        """Write, if nobody is inside; whether a writer had died."""
        del timeout
        if self.writer == who or self.depth(who):
            yield MisuseError, self
        elif self.is_shared(who):
            yield TimedOut, self
        else:
            yield self.dead, replace(self, writer=who)

    def upgrade(self, who: Task, *, timeout: float | None = None) -> Step:
        """Become the writer once alone; who finds that another does so, is told."""
        del timeout
        if self.writer == who or not self.depth(who):
            yield MisuseError, self
        elif self.is_shared(who):
            yield TimedOut, self
            yield MisuseError, self
        else:
            yield True, replace(self, writer=who)

    def upgrade_nowait(self, who: Task) -> Step:
        """Do so at once, or not."""
        for outcome, after in self.upgrade(who):
            yield WouldBlock if outcome is TimedOut else outcome, after

    def downgrade(self, who: Task) -> Step:
        """Read on where it wrote, if what it found is whole."""
        if self.writer != who or self.dead:
            yield MisuseError, self
        else:
            yield None, replace(self.reads(who, max(1, self.depth(who))), writer=None)

    def leave(self, who: Task) -> Step:
        """End the last block that was begun: well."""
        return self._left(who, dead=False)

    def leave_broken(self, who: Task) -> Step:
        """End it by an exception."""
        return self._left(who, dead=self.dead)

    def _left(self, who: Task, *, dead: bool) -> Step:
        depth = self.depth(who)
        if depth > (self.writer is not None):
            yield None, self.reads(who, depth - 1)
        elif self.writer == who:
            yield None, replace(self.reads(who, 0), writer=None, dead=dead)
        else:
            yield MisuseError, self

    def killed(self, who: Task) -> Step:
        left = frozenset(reader for reader in self.readers if reader[0].process != who.process)
        if self.writer is not None and self.writer.process == who.process:
            yield None, RWLock(left, dead=True)
        else:
            yield None, replace(self, readers=left)


def _turn(turn: Any) -> str:
    """What a block of `running` was given."""
    if turn is None:
        return "done"
    return "after a death" if turn.died else "first"


@dataclass(frozen=True)
class Once(Model):
    """Who runs it, whether it was done, and whether somebody died in the middle."""

    runner: Task | None = None
    done: bool = False
    died: bool = False

    brackets: ClassVar[Mapping[str, Bracket]] = {"running": Bracket("begin", "finish", "fail", _turn)}

    def begin(self, who: Task, *, timeout: float | None = None) -> Step:
        """Have its turn, or find it done."""
        del timeout
        if self.done:
            yield "done", self
        elif self.runner is None:
            yield "after a death" if self.died else "first", replace(self, runner=who)
        else:
            yield MisuseError if self.runner == who else TimedOut, self

    def finish(self, who: Task) -> Step:
        """End a block well; one that had nothing to do changes nothing."""
        yield None, Once(done=True) if self.runner == who else self

    def fail(self, who: Task) -> Step:
        """Leave it to the next."""
        yield None, replace(self, runner=None) if self.runner == who else self

    def read_done(self, _who: Task) -> Step:
        yield self.done, self

    def killed(self, who: Task) -> Step:
        if self.runner is not None and self.runner.process == who.process:
            yield None, Once(died=True)
        else:
            yield None, self
