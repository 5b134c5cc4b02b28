"""The report: a row for each operation, in one company or in all; and the page that has it, in CAVEATS.md."""

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from rich.table import Table

from tests.crash.stepping.operation import AnyOperation
from tests.crash.stepping.scenario import Report

# What is inflicted, and what that is called of which there are many.
INFLICTED = {"death": "deaths", "stop": "stops", "fork": "forks"}
# What is generated stands between these lines.
BEGIN, END = "<!-- from here: python -m tests.crash.stepping --into CAVEATS.md -->", "<!-- to here -->"


def company(report: Report) -> str:
    late = report.company in report.operation.late
    return f"{report.company.value}, told late" if late else report.company.value


def inflicted(reports: Iterable[Report]) -> list[str]:
    """Return what was, in the order of the columns."""
    found = {report.inflicted for report in reports}
    return [what for what in INFLICTED if what in found]


def headings(kinds: list[str]) -> tuple[str, ...]:
    return (
        "object",
        "operation",
        "company",
        "instructions",
        "effects",
        *map(INFLICTED.__getitem__, kinds),
        "elsewhere",
    )


def numbers(reports: Iterable[Report], kinds: list[str]) -> tuple[str, ...]:
    """Return how many there were of each: instructions and effects of a case are the same whatever is inflicted."""
    found = [*reports]
    cases = {(str(report.operation), report.company): report for report in reversed(found)}.values()
    counts = [sum(report.deaths for report in found if report.inflicted == what) for what in kinds]
    traced = (sum(report.instructions for report in cases), sum(report.effects for report in cases))
    return tuple(f"{count:,}" for count in (*traced, *counts, sum(report.elsewhere for report in found)))


def failures(reports: Iterable[Report]) -> str:
    return f"{sum(len(report.failures) for report in reports)}"


def as_table(reports: list[Report]) -> Table:
    """Return it for a terminal: a row for each company, and for what was inflicted."""
    kinds = inflicted(reports)
    table = Table(*headings(kinds), "outcomes", "failures")
    for report in reports:
        outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in report.outcomes.most_common())
        names = (report.operation.noun, report.operation.verb, company(report))
        table.add_row(*names, *numbers([report], kinds), outcomes, failures([report]))
    table.add_row("all", "", "", *numbers(reports, kinds), "", failures(reports))
    return table


def as_markdown(reports: list[Report]) -> str:
    """Return it for a page: a row for each operation."""
    kinds = inflicted(reports)
    ordered = sorted(reports, key=lambda report: (report.operation.noun, report.operation.verb))
    rows = [(*headings(kinds), "failures"), ("---",) * 3 + ("--:",) * (len(kinds) + 4)]
    for (noun, verb), same in groupby(ordered, key=lambda report: (report.operation.noun, report.operation.verb)):
        found = [*same]
        companies = ", ".join(dict.fromkeys(map(company, found)))
        rows.append((noun, verb, companies, *numbers(found, kinds), failures(found)))
    operations, cases = len(rows) - 2, len({(str(report.operation), report.company) for report in reports})
    rows.append(("all", f"{operations} operations", f"{cases} cases", *numbers(reports, kinds), failures(reports)))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def as_page(reports: list[Report], commit: str, minutes: float) -> str:
    """Return it with what is said of it."""
    kinds = inflicted(reports)
    *counts, elsewhere = numbers(reports, kinds)[2:]
    told = ", ".join(f"{count} {INFLICTED[what]}" for count, what in zip(counts, kinds, strict=True))
    first = (
        f"Inflicted in a build of commit {commit}, on one processor, in {minutes:.0f} minutes: {told}, of which {elsewhere} came "
        f"elsewhere, with {failures(reports)} failures."
    )
    lines = [first]
    if kinds != ["death"]:
        lines.append(_exceptions([*{str(report.operation): report.operation for report in reports}.values()]))
    return "\n\n".join([*lines, as_markdown(reports)])


def _exceptions(operations: list[AnyOperation]) -> str:
    """Name what is not done while the victim lives, and where less is asked."""
    undone = [f"{operation}, {who.value} ({why})" for operation in operations for who, why in operation.alive.items()]
    unordered = [f"{operation} ({operation.unordered})" for operation in operations if operation.unordered]
    return (
        f"Neither stopped nor forked: {'; '.join(undone) or 'none'}. Of these all have to go on, and no order is asked for: "
        f"{'; '.join(unordered) or 'none'}."
    )


def put_into(page: Path, text: str) -> None:
    """Replace what a page had of it."""
    before, rest = page.read_text().split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
