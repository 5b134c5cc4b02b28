"""Which moments of a long trace a reader has to see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import msgspec

from underpass.lab.report.repetition import cycles
from underpass.lab.trace import Moment, Trace

__all__ = ["Gap", "Repeat", "Step", "excerpt"]

# A trace of up to so many moments is shown whole.
_SHORT = 60
# Of a longer one, so many of the last.
_ENDING = 40
# Of what still has more rows than this, only both ends are shown.
_ROWS, _FIRST, _LAST = 240, 40, 120
# A livelock touches what it fails on in every moment, and says most where it goes in a circle: at its end.
_LIVELOCK_ROWS, _LIVELOCK_FIRST, _LIVELOCK_LAST = 60, 20, 36


class Step(msgspec.Struct, frozen=True):
    """What is shown in one piece: a moment, a call and what it returned at once, or steps of one line that change nothing but at the last."""

    first: int
    last: int


class Gap(msgspec.Struct, frozen=True):
    """Moments that are left out; a process's own, or of several."""

    process: int | None
    first: int
    last: int

    @property
    def moments(self) -> int:
        """How many."""
        return self.last - self.first + 1


class Repeat(msgspec.Struct, frozen=True):
    """The steps right before, over and over."""

    first: int
    last: int
    steps: int
    """How many they are."""
    times: int
    """How often they come again."""


def excerpt(trace: Trace) -> list[Step | Gap | Repeat]:
    """Return what is shown, in order: everything of a short trace, what repeats itself in one row."""
    steps = list(_steps(trace.moments))
    if trace.kind != "livelock":
        steps = list(_joined(trace.moments, steps))
    if len(trace.moments) <= _SHORT:
        return [*steps]
    if trace.kind == "livelock":
        return _ends(list(_folded(trace.moments, steps)), _LIVELOCK_ROWS, _LIVELOCK_FIRST, _LIVELOCK_LAST)
    failing = {wait.object for wait in trace.waits} or {trace.moments[-1].object}
    ending = len(trace.moments) - _ENDING
    return _ends(list(_collapsed(trace.moments, steps, failing - {""}, ending)), _ROWS, _FIRST, _LAST)


def _ends(rows: Sequence[Step | Gap | Repeat], most: int, first: int, last: int) -> list[Step | Gap | Repeat]:
    if len(rows) <= most:
        return [*rows]
    return [*rows[:first], Gap(None, rows[first].first, rows[-last - 1].last), *rows[-last:]]


def _folded(moments: tuple[Moment, ...], steps: list[Step]) -> Iterator[Step | Repeat]:
    """Show what is done over and over once, whatever the values are."""

    def key(step: Step) -> tuple[object, ...]:
        first, last = moments[step.first], moments[step.last]
        return first.process, first.thread, first.what, last.what, first.where, first.call, first.object, first.partner

    for cycle in cycles([key(step) for step in steps]):
        shown = cycle.first + cycle.length
        yield from steps[cycle.first : shown]
        if cycle.times > 1:
            again = steps[shown : cycle.first + cycle.length * cycle.times]
            yield Repeat(again[0].first, again[-1].last, cycle.length, cycle.times - 1)


def _steps(moments: tuple[Moment, ...]) -> Iterator[Step]:
    """Take a call and its outcome together when nothing came between them."""
    index = 0
    while index < len(moments):
        last = index + (index + 1 < len(moments) and _outcome(moments[index], moments[index + 1]))
        yield Step(index, last)
        index = last + 1


def _joined(moments: tuple[Moment, ...], steps: list[Step]) -> Iterator[Step]:
    """Take steps together that come in a row, and of which only the last says something new."""

    def again(step: Step, following: Step) -> bool:
        one, other = moments[step.last], moments[following.first]
        same = ("process", "thread", "what", "where", "source", "call", "object", "value")
        return (
            one.what == "runs"
            and bool(one.where)
            and not (one.state or other.preempts)
            and following.first == following.last
            and all(getattr(one, field) == getattr(other, field) for field in same)
        )

    before: Step | None = None
    for step in steps:
        if before is not None and again(before, step):
            before = Step(before.first, step.last)
            continue
        if before is not None:
            yield before
        before = step
    if before is not None:
        yield before


def _outcome(call: Moment, moment: Moment) -> bool:
    same = ("process", "thread", "where", "call")
    return (
        call.what == "runs"
        and moment.what in {"returns", "raises"}
        and not moment.preempts
        and all(getattr(call, field) == getattr(moment, field) for field in same)
    )


def _collapsed(
    moments: tuple[Moment, ...], steps: Iterable[Step], failing: set[str], ending: int
) -> Iterator[Step | Gap]:
    def dull(step: Step) -> int | None:
        """Return the process whose step can be left out."""
        kept = step.last >= ending or any(
            _matters(moments[index], failing) for index in range(step.first, step.last + 1)
        )
        return None if kept else moments[step.first].process

    for process, group in groupby(steps, key=dull):
        found = list(group)
        if process is None or len(found) == 1:
            yield from found  # a gap of one would take as much room
        else:
            yield Gap(process, found[0].first, found[-1].last)


def _matters(moment: Moment, failing: set[str]) -> bool:
    touched = {moment.object, *(name for name, _ in moment.state)}
    return moment.what not in {"runs", "returns"} or moment.preempts or bool(touched & failing)
