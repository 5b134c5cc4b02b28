"""The moments of a trace as lines of text: a column for each process, time runs down.

The first character of a column is the process's lifeline: ``│`` while it could go on, ``┊`` while it sleeps, ``‖`` while it is
stopped, blank once it has died or ended; and the sign of what happens where something does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from underpass.lab.report.cells import clean, pad, shorten, shorten_left, wide, wrap
from underpass.lab.report.excerpt import Gap, Repeat, Step, excerpt
from underpass.lab.report.marks import AGAIN, CHANGES, LANES, LIFELINES, PREEMPTS, SIGNS, STYLES, words
from underpass.lab.report.timeline import Condition, conditions
from underpass.lab.trace import WORLD, Moment, Trace

__all__ = ["Line", "chart"]

Line = list[tuple[str, str]]
"""Pieces of text, each with its style for rich; no style: as it comes."""

# More than so many side by side leave no room for a line of source.
_ABREAST = 6
# Lifelines alone, when there are more processes: so many still leave half of the width.
_LIFELINES = 20
# No line of source needs more.
_WIDEST = 60
# Below this, a line of source may take three lines.
_NARROW = 24


class _Row(msgspec.Struct, frozen=True):
    """What happens, whose it is (none: nobody's alone), the sign for it and its style."""

    column: int | None
    sign: str
    style: str
    lines: list[Line]


def chart(trace: Trace, width: int) -> Iterator[Line]:
    """Yield the lines: a heading, then every moment that the excerpt keeps.

    Args:
        trace: What happened.
        width: The most cells that a line may take.
    """
    digits = max((len(str(moment.number)) for moment in trace.moments), default=1)
    gutter = digits + 3
    abreast = 0 < len(trace.columns) <= _ABREAST
    drawing = _Abreast(trace, width - gutter) if abreast else _Listed(trace, width - gutter)
    yield from ([(" " * gutter, ""), *line] for line in drawing.heading())
    before: tuple[Condition, ...] = ("awake",) * len(trace.columns)
    after = conditions(trace)
    told: dict[tuple[int, str], tuple[str, str]] = {}
    shown: int | None = None
    for piece in excerpt(trace):
        first, now = trace.moments[piece.first], after[piece.last]
        if isinstance(piece, Gap):
            row = _Row(piece.process, "…", "dim", [[(f"{piece.moments} steps", "dim")]])
            number, mark = "", " "
        elif isinstance(piece, Repeat):
            these = "this step" if piece.steps == 1 else f"these {piece.steps} steps"
            row = _Row(None, AGAIN, "bold", [[(f"{these}, {piece.times:,} × more", "bold")]])
            number, mark = "", " "
        else:
            me, place = (first.process, first.thread), (first.where, first.source)
            last = trace.moments[piece.last].what
            lines = _entry(trace, piece, drawing.room(first.process), known=told.get(me) == place)
            row = _Row(first.process, SIGNS[last], STYLES.get(last, ""), lines)
            number = str(first.number) if first.number != shown else ""
            mark, told[me], shown = PREEMPTS if first.preempts else " ", place, first.number
        for index, cells in enumerate(drawing.row(row, before, now)):
            label = number if index == 0 else ""
            yield [(label.rjust(digits), "dim"), (f" {mark if index == 0 else ' '} ", "bold yellow"), *cells]
        before = now


# ── one moment ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _entry(trace: Trace, step: Step, width: int, *, known: bool) -> list[Line]:
    """Return the lines of a step: what happens, the line of the program, what came of it, and what is different now.

    Args:
        trace: What happened.
        step: Of it, this.
        width: The room for each line.
        known: The thread's last step was at the same line of the program, so its source stands above.
    """
    moments = trace.moments[step.first : step.last + 1]
    first, last = moments[0], moments[-1]
    if len(moments) > 1 and last.what == "runs":
        texts = [(" ".join(text for text in (words(trace, first), f"× {len(moments)}") if text), "dim")]
    else:
        texts = [(words(trace, moment), STYLES.get(moment.what, "bold")) for moment in moments]
    said: list[Line] = [[(line, style)] for text, style in texts if text for line in wrap(text, width, 3)]
    source = clean("" if known and last.what != "runs" else first.source or first.call)
    place = _place(first, source, width)
    # What happens to a process is the news; of a call, the line of the program is.
    if len(moments) > 1 and last.what == "runs":
        lines = _joined(place, said, width)
    else:
        lines = [*place, *said] if first.what in {"runs", "returns"} else _joined(said, place, width)
    if first.thread:
        lines = _joined([[(shorten(f"‹{clean(first.thread)}›", width), "dim")]], lines[:1], width, " ") + lines[1:]
    changes = [f"{clean(name)}: {clean(value)}" for moment in moments for name, value in moment.state]
    state = [[(line, "dim")] for change in changes for line in wrap(f"{CHANGES} {change}", width, 2)]
    return [*lines, *state] or [[(last.what, "")]]


def _place(moment: Moment, source: str, width: int) -> list[Line]:
    """Return file, line and source: in one line if they fit, else the source below."""
    where = shorten_left(clean(moment.where), width)
    if not where or not source:
        return [[(where, "dim")]] if where else [[(line, "")] for line in wrap(source, width, 2)]
    if wide(where) + 1 + wide(source) <= width:
        return [[(where, "dim"), (" ", ""), (source, "")]]
    return [[(where, "dim")], *([(line, "")] for line in wrap(source, width, 3 if width < _NARROW else 2))]


def _joined(first: list[Line], second: list[Line], width: int, gap: str = "  ") -> list[Line]:
    """Put what comes second behind what comes first, if one line holds both."""
    if len(first) == len(second) == 1 and _width(first[0]) + len(gap) + _width(second[0]) <= width:
        return [[*first[0], (gap, ""), *second[0]]]
    return [*first, *second]


def _width(line: Line) -> int:
    return sum(wide(text) for text, _ in line)


# ── where it stands ─────────────────────────────────────────────────────────────────────────────────────────────────


class _Abreast:
    """Up to six processes, side by side."""

    def __init__(self, trace: Trace, width: int) -> None:
        self._names = trace.columns
        self._each = min(width // len(trace.columns), _WIDEST)

    def heading(self) -> Iterator[Line]:
        """Yield the processes' names over their lifelines."""
        room = self._each - 1
        yield [(pad(shorten(clean(name), room), self._each), f"bold {_lane(i)}") for i, name in enumerate(self._names)]
        yield [(pad("│", self._each), _lane(index)) for index in range(len(self._names))]

    def room(self, process: int) -> int:
        """Return the cells for the text of a moment; what belongs to no process has them all."""
        return (self._each * len(self._names) if process == WORLD else self._each) - 3

    def row(self, row: _Row, before: Sequence[Condition], now: Sequence[Condition]) -> Iterator[Line]:
        """Yield the lines of a moment in its process's column, between the lifelines of the others."""
        if row.column is None or row.column == WORLD:
            for index, line in enumerate(row.lines):
                yield [(row.sign if index == 0 else " ", row.style), (" ", ""), *line]
            return
        for index, line in enumerate(row.lines):
            cells: Line = []
            for lane in range(len(self._names)):
                if lane != row.column:
                    cells.append((pad(LIFELINES[before[lane]], self._each), _lane(lane)))
                    continue
                lifeline = (row.sign, row.style or _lane(lane)) if index == 0 else (LIFELINES[now[lane]], _lane(lane))
                cells += [lifeline, (" ", ""), *line, (" " * (self._each - 2 - _width(line)), "")]
            yield cells


class _Listed:
    """More than six processes, or none: their lifelines close together, and the name before what happens."""

    def __init__(self, trace: Trace, width: int) -> None:
        self._names = trace.columns
        self._lanes = range(len(trace.columns) if len(trace.columns) <= _LIFELINES else 0)
        longest = max((wide(clean(name)) for name in trace.columns), default=0)
        left = 2 * len(self._lanes) + 2
        self._label = min(longest, (width - left) // 3)
        self._text = width - left - self._label - 2

    def heading(self) -> Iterator[Line]:
        """Yield nothing: each moment says whose it is."""
        yield from ()

    def room(self, process: int) -> int:  # noqa: ARG002 - all have the same
        """Return the cells for the text of a moment."""
        return self._text

    def row(self, row: _Row, before: Sequence[Condition], now: Sequence[Condition]) -> Iterator[Line]:
        """Yield the lines of a moment, behind all lifelines and its process's name."""
        name = "" if row.column is None or row.column == WORLD else shorten(clean(self._names[row.column]), self._label)
        for index, line in enumerate(row.lines):
            cells: Line = []
            for lane in self._lanes:
                mine = lane == row.column
                glyph = row.sign if mine and index == 0 else LIFELINES[(now if mine else before)[lane]]
                cells.append((f"{glyph} ", row.style if mine and row.style else _lane(lane)))
            alone = row.sign if index == 0 and not (name and self._lanes) else " "
            label = pad(name if index == 0 else "", self._label)
            yield [*cells, (f"{alone} ", row.style), (label, _lane(row.column or 0)), ("  ", ""), *line]


def _lane(column: int) -> str:
    return LANES[column % len(LANES)]
