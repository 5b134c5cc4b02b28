"""The report: a row for each operation, in one company or in all."""

from collections.abc import Iterable
from itertools import groupby

from rich.table import Table

from tests.crash.stepping.scenario import Report

NUMBERS = ("instructions", "effects", "deaths", "elsewhere")
HEADINGS = ("object", "operation", "company", *NUMBERS, "outcomes", "failures")


def company(report: Report) -> str:
    late = report.company in report.operation.late
    return f"{report.company.value}, told late" if late else report.company.value


def numbers(reports: Iterable[Report]) -> tuple[str, ...]:
    """Return how many there were of each."""
    found = [*reports]
    return tuple(f"{sum(getattr(report, name) for report in found):,}" for name in NUMBERS)


def failures(reports: Iterable[Report]) -> str:
    return f"{sum(len(report.failures) for report in reports)}"


def as_table(reports: list[Report]) -> Table:
    """Return it for a terminal: a row for each company."""
    table = Table(*HEADINGS)
    for report in reports:
        outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in report.outcomes.most_common())
        names = (report.operation.noun, report.operation.verb, company(report))
        table.add_row(*names, *numbers([report]), outcomes, failures([report]))
    table.add_row("all", "", "", *numbers(reports), "", failures(reports))
    return table


def as_markdown(reports: list[Report]) -> str:
    """Return it for a page: a row for each operation."""
    ordered = sorted(reports, key=lambda report: (report.operation.noun, report.operation.verb))
    rows = [("object", "operation", "company", *NUMBERS, "failures"), ("---",) * 3 + ("--:",) * 5]
    for (noun, verb), same in groupby(ordered, key=lambda report: (report.operation.noun, report.operation.verb)):
        found = [*same]
        rows.append((noun, verb, ", ".join(map(company, found)), *numbers(found), failures(found)))
    operations, cases = f"{len(rows) - 2} operations", f"{len(reports)} cases"
    rows.append(("all", operations, cases, *numbers(reports), failures(reports)))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
