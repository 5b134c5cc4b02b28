"""The results as tables of text, or as one JSON document."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from underpass.tools.bench.groups import GROUPS
from underpass.tools.bench.measure import Absent, Effort, Row
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


def as_json(results: Results) -> str:
    """One JSON document; all times in nanoseconds of one operation."""
    return json.dumps(asdict(results), indent=1, allow_nan=False)


def as_tables(results: Results) -> list[Table]:
    """One table for each group that was measured, what could not be measured, and the targets."""
    groups = list(dict.fromkeys(row.group for row in results.rows))
    tables = [_group_table(group, [row for row in results.rows if row.group == group]) for group in groups]
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


def _digits(number: float) -> str:
    significant = 3
    decimals = max(0, significant - len(str(int(number))))
    return f"{number:,.{decimals}f}" if number else "0"


def _group_table(group: str, rows: Sequence[Row]) -> Table:
    flows = group == "queues"
    headings = ("", "where", "median", "p99", "ratio", "samples", *(["messages/s"] if flows else []))
    cells = tuple((*_row_cells(row), *([rate(row.median)] if flows else [])) for row in rows)
    return Table(GROUPS[group].title, headings, cells)


def _row_cells(row: Row) -> tuple[str, ...]:
    ratio = "" if row.ratio is None else f"{_digits(row.ratio)} x"
    samples = f"{row.samples}" if row.batch == 1 else f"{row.samples} of {row.batch}"
    return (row.name, row.placement, duration(row.median), duration(row.p99), ratio, samples)


def _verdict_cells(verdict: Verdict) -> tuple[str, ...]:
    if verdict.measured is None or verdict.limit is None or verdict.of_limit is None:
        return (verdict.claim, "", "", "", "not measured")
    show = _SHOWN[verdict.unit]
    outcome = "met" if verdict.met else "missed"
    if verdict.aim is not None and verdict.measured <= verdict.aim:
        outcome += ", aim too"
    return (verdict.claim, show(verdict.measured), show(verdict.limit), f"{_digits(verdict.of_limit)} x", outcome)


_SHOWN = {"time": duration, "messages/s": rate}
