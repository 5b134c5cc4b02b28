"""The report: a row for each operation and company."""

from rich.table import Table

from tests.crash.stepping.scenario import Report

HEADINGS = ("object", "operation", "company", "instructions", "deaths", "inside", "outcomes", "failures")


def row(report: Report) -> tuple[str, ...]:
    """Return what one report says."""
    operation, outcomes = report.operation, report.outcomes
    late = ", told late" if report.company in operation.late else ""
    return (
        operation.noun,
        operation.verb,
        report.company.value + late,
        f"{report.instructions:,}",
        f"{report.deaths:,}",
        f"{report.inside:,}",
        ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.most_common()),
        f"{len(report.failures)}",
    )


def total(reports: list[Report]) -> tuple[str, ...]:
    """Return the last row."""
    sums = (
        sum(report.instructions for report in reports),
        sum(report.deaths for report in reports),
        sum(report.inside for report in reports),
    )
    return (
        "all",
        "",
        "",
        *(f"{number:,}" for number in sums),
        "",
        f"{sum(len(report.failures) for report in reports)}",
    )


def as_table(reports: list[Report]) -> Table:
    """Return it for a terminal."""
    table = Table(*HEADINGS)
    for cells in [*map(row, reports), total(reports)]:
        table.add_row(*cells)
    return table


def as_markdown(reports: list[Report]) -> str:
    """Return it for a page."""
    rows = [HEADINGS, ("---",) * 3 + ("---:",) * 3 + ("---", "---:"), *map(row, reports), total(reports)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
