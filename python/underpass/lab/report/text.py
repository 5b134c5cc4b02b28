"""A failure as text: what broke, one column per process, who waits for whom, what makes the difference, how to see it again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from underpass.lab.report.cells import clean, wide, wrap
from underpass.lab.report.chart import Line, chart
from underpass.lab.report.marks import CHANGES, LIFELINES, PREEMPTS
from underpass.lab.report.timeline import circles
from underpass.lab.trace import Trace, Wait

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["WIDTH", "as_text", "render"]

WIDTH = 100
"""The most cells that a line takes, where nobody says."""
_LEAST = 40


def as_text(trace: Trace, width: int = WIDTH) -> str:
    """Write a failure for people, readable without colour.

    Args:
        trace: What happened.
        width: The most cells that a line takes; at least 40.

    Returns:
        Lines, without a newline at the end.

    Example:
        >>> from underpass.lab.trace import Moment, Trace
        >>> asks = Moment(number=1, process=0, what="sleeps", where="door.py:3", source="door.acquire()", object="mutex 'door'")
        >>> print(as_text(Trace(title="visit", kind="deadlock", summary="Nobody opens.", columns=("guest",), moments=(asks,))))
        ✗ visit: deadlock
          Nobody opens.
        <BLANKLINE>
            guest
            │
        1   z sleeps on mutex 'door'  door.py:3 door.acquire()
        <BLANKLINE>
        ┊ asleep
    """
    return "\n".join("".join(text for text, _ in line).rstrip() for line in _lines(trace, max(width, _LEAST)))


def render(trace: Trace, width: int = 100) -> Text:
    """Return the same as `as_text`, in colour, for a console of rich (``pip install underpass[cli]``).

    Args:
        trace: What happened.
        width: The most cells that a line takes; at least 40.
    """
    from rich.text import Text

    lines = (Text.assemble(*line, no_wrap=True) for line in _lines(trace, max(width, _LEAST)))
    return Text("\n", no_wrap=True).join(lines)


def _lines(trace: Trace, width: int) -> Iterator[Line]:
    yield from _opening(trace, width)
    yield []
    yield from chart(trace, width)
    yield from _legend(trace, width)
    if trace.waits:
        yield from _section("Who waits for whom")
        for wait in trace.waits:
            yield from _indented(_waits(wait), width, hang=2)
        for circle in circles(trace):
            yield from _indented(f"⟲ {_circle(circle)}", width, "bold red", hang=2)
    if trace.reason:
        yield from _section("What makes the difference")
        yield from _indented(trace.reason, width)
    if trace.details:
        yield from _section("Details")
        for line in trace.details.splitlines():
            indent = " " * min(2 + len(line) - len(line.lstrip(" ")), width // 2)
            yield from ([(indent + part, "")] for part in wrap(clean(line), width - len(indent)) or [""])
    if trace.token or trace.how:
        yield from _section("See it again")
        for command in trace.how:
            yield from ([(line, "bold")] for line in _command(clean(command), width))
        if trace.token and not any(trace.token in command for command in trace.how):
            yield from _indented(f"token {trace.token}", width)


def _opening(trace: Trace, width: int) -> Iterator[Line]:
    title = wrap(f"✗ {clean(trace.title)}: {clean(trace.kind)}", width)
    yield from ([(line, "bold red")] for line in title)
    yield from _indented(trace.summary, width)
    found = f"found in schedule {trace.schedules:,}, seed {trace.seed}" if trace.schedules else ""
    origin = " · ".join(text for text in (found, trace.budgets) if text)
    yield from _indented(origin, width, "dim")


def _legend(trace: Trace, width: int) -> Iterator[Line]:
    """Explain the signs that are used and do not explain themselves."""
    happened = {moment.what for moment in trace.moments}
    signs = {
        f"{PREEMPTS} preempts: the process before could have gone on": any(moment.preempts for moment in trace.moments),
        f"{LIFELINES['asleep']} asleep": "sleeps" in happened,
        f"{LIFELINES['stopped']} stopped": "is stopped" in happened,
        f"{CHANGES} the object is now": any(moment.state for moment in trace.moments),
    }
    said = [text for text, used in signs.items() if used]
    if said:
        yield []
        yield from ([(line, "dim")] for line in wrap("   ".join(said), width))


def _section(heading: str) -> Iterator[Line]:
    yield []
    yield [(heading, "bold")]


def _indented(text: str, width: int, style: str = "", *, hang: int = 0) -> Iterator[Line]:
    lines = (line for part in text.splitlines() for line in wrap(clean(part), width - 2 - hang))
    for index, line in enumerate(lines):
        yield [(" " * (2 if index == 0 else 2 + hang), ""), (line, style)]


def _waits(wait: Wait) -> str:
    held = f", held by {', '.join(wait.holders)}" if wait.holders else ""
    call = f" in {wait.operation}" if wait.operation else ""
    where = f" ({wait.where})" if wait.where else ""
    who = f"{wait.task}() of {wait.who}" if wait.task else wait.who
    what = wait.object or ("another task, or a time" if wait.task else "what no object tells")
    return f"{who} waits for {what}{held}:{call}{where} since step {wait.since}"


def _circle(circle: list[Wait]) -> str:
    steps = [f"{wait.who} → {wait.object}" for wait in circle]
    return " → ".join([*steps, circle[0].who])


def _command(command: str, width: int) -> Iterator[str]:
    """Break a command so that a shell takes it as one: it drops a backslash and the newline behind it."""
    rest = f"  {command}"
    while wide(rest) > width:
        cut = _break(rest, width - 1)
        yield rest[:cut] + "\\"
        rest = rest[cut:]
    yield rest


def _break(command: str, width: int) -> int:
    """Return where to break: behind a blank if there is one far enough, and not inside of quotes if that can be."""
    quote = ""
    blank = anywhere = cells = 0
    for index, letter in enumerate(command):
        cells += wide(letter)
        if cells > width:
            return blank if blank * 2 > width else anywhere or index
        quote = letter if not quote and letter in "'\"" else "" if letter == quote else quote
        if not quote:
            anywhere = index + 1
            blank = index + 1 if letter == " " and index > 1 else blank
    return len(command)
