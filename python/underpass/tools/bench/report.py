"""The results as tables of text, or as one JSON document."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields

from underpass.tools.bench.groups import Group
from underpass.tools.bench.measure import Absent, Effort, Row, Unit
from underpass.tools.bench.targets import SECOND, Verdict


@dataclass(frozen=True, slots=True)
class Table:
    """A title, headings, and rows of text; the first column reads from the left, the others from the right."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Results:
    """All that one run found."""

    command: str
    machine: dict[str, str]
    effort: Effort
    rows: list[Row]
    absent: list[Absent]
    verdicts: list[Verdict]
    groups: Mapping[str, Group]


def as_json(results: Results) -> str:
    """One JSON document; all times in nanoseconds of one operation."""
    facts = {field.name: getattr(results, field.name) for field in fields(results) if field.name != "groups"}
    return json.dumps(facts, indent=1, allow_nan=False, default=asdict)


def as_tables(results: Results) -> list[Table]:
    """One table for each group that was measured, what could not be measured, and the targets."""
    groups = list(dict.fromkeys(row.group for row in results.rows))
    tables = [
        _group_table(results.groups[group], [row for row in results.rows if row.group == group]) for group in groups
    ]
    if results.absent:
        reasons = tuple((absent.name, absent.placement, absent.reason) for absent in results.absent)
        tables.append(Table("Not measured", ("what", "where", "why"), reasons))
    verdicts = tuple(_verdict_cells(verdict) for verdict in results.verdicts)
    return [*tables, Table("Targets", ("target", "measured", "this run's limit", "of limit", "verdict"), verdicts)]


def duration(nanoseconds: float) -> str:
    """A time with three significant digits and its unit.

    >>> duration(336), duration(52_345), duration(0)
    ('336 ns', '52.3 µs', '0 ns')
    """
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size:
            return f"{_digits(nanoseconds / size)} {unit}"
    return f"{_digits(nanoseconds)} ns"


def rate(nanoseconds: float) -> str:
    """Operations a second, from the time of one.

    >>> rate(250)
    '4.00 M/s'
    """
    return f"{_digits(SECOND / nanoseconds / 1e6)} M/s" if nanoseconds else "-"


def schedules(nanoseconds: float) -> str:
    """Schedules a second, from the time of one.

    >>> schedules(50_000)
    '20,000 /s'
    """
    return f"{SECOND / nanoseconds:,.0f} /s" if nanoseconds else "-"


def number(count: float) -> str:
    """A number of things; a bound may be between two.

    >>> number(3000.0), number(1.5)
    ('3,000', '1.5')
    """
    return f"{count:,.0f}" if count == int(count) else f"{count:,.1f}"


def size(count: float) -> str:
    """Bytes as people read them.

    >>> size(65_536)
    '64.0 KiB'
    """
    return f"{_digits(count / 1024)} KiB"


def share(part: float) -> str:
    """A part of what would be fair.

    >>> share(0.984)
    '98.4 %'
    """
    return f"{100 * part:.1f} %"


def _digits(number: float) -> str:
    significant = 3
    decimals = max(0, significant - len(str(int(number))))
    return f"{number:,.{decimals}f}" if number else "0"


def _group_table(group: Group, rows: Sequence[Row]) -> Table:
    headings = ["", "where", "median", "p99", "ratio", "samples"]
    columns = [_row_cells(row) for row in rows]
    if group.flows:
        headings.append("messages/s")
        columns = [(*cells, rate(row.median)) for cells, row in zip(columns, rows, strict=True)]
    if group.compares:
        headings.append("compared with")
        columns = [(*cells, row.reference or "") for cells, row in zip(columns, rows, strict=True)]
    return Table(group.title, tuple(headings), tuple(columns))


def _row_cells(row: Row) -> tuple[str, ...]:
    ratio = "" if row.ratio is None else f"{_digits(row.ratio)} x"
    samples = f"{row.samples}" if row.batch == 1 else f"{row.samples} of {row.batch}"
    show = _SHOWN[row.unit]
    return (row.name, row.placement, show(row.median), show(row.p99), ratio, samples)


def _verdict_cells(verdict: Verdict) -> tuple[str, ...]:
    if verdict.measured is None or verdict.limit is None or verdict.of_limit is None:
        return (verdict.claim, "", "", "", "not measured")
    show = _SHOWN[verdict.unit]
    outcome = "met" if verdict.met else "missed"
    if verdict.aim is not None and verdict.measured <= verdict.aim:
        outcome += ", aim too"
    return (verdict.claim, show(verdict.measured), show(verdict.limit), f"{_digits(verdict.of_limit)} x", outcome)


_SHOWN: dict[Unit, Callable[[float], str]] = {
    "time": duration,
    "messages/s": rate,
    "bytes": size,
    "schedules": number,
    "schedules/s": schedules,
    "classes": number,
    "share": share,
}
