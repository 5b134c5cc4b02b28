"""How many schedules until a bug is found, with each of many seeds: the portfolio, and the best of its members alone."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from underpass.lab.search import Searcher, Tally
from underpass.lab.settings import Settings
from underpass.lab.stage import Program
from underpass.tools.bench.lab.programs import BUGS, Bug
from underpass.tools.bench.measure import Absent, Effort, Row, percentile
from underpass.tools.bench.placement import Placement, pinned, seats

PORTFOLIO = "portfolio"
MEMBERS = ("walk", "turns", "pct", "pos", "urw", "surw")
SEEDS = 21
LIMIT = 3_000


def alone(bug: Bug) -> str:
    """What the row of the best single strategy is called."""
    return f"{bug.name}, best strategy alone"


def until_found(program: Program, strategy: str, seed: int, *, limit: int = LIMIT, kills: int = 0) -> int:
    """Return the number of the first schedule that fails, from 1; one beyond the limit if none does."""
    tally = Tally()
    Searcher(program, Settings(kills=kills)).run(strategy, seed, limit, tally, lambda _: None)
    return limit + 1 if tally.found is None else tally.found.number + 1


def measure(group: str, effort: Effort) -> Iterator[Row | Absent]:
    """Look for each bug with each seed."""
    seeds = range(1, effort.reduced(SEEDS) + 1)
    with pinned(seats(Placement.ONE_CPU).client):
        for bug in BUGS:
            found = _found(bug, PORTFOLIO, seeds, LIMIT)
            # One that needs twice as many schedules is not the best.
            limit = min(LIMIT, 2 * int(statistics.median_high(found)))
            members = {name: _found(bug, name, seeds, limit) for name in MEMBERS}
            best = min(MEMBERS, key=lambda name: statistics.median_high(members[name]))
            ratio = statistics.median_high(found) / statistics.median_high(members[best])
            yield _row(group, bug.name, found, best, ratio)
            yield _row(group, alone(bug), members[best], best, 1.0)


def _found(bug: Bug, strategy: str, seeds: Sequence[int], limit: int) -> list[float]:
    return [until_found(bug.program, strategy, seed, limit=limit, kills=bug.kills) for seed in seeds]


def _row(group: str, name: str, found: Sequence[float], reference: str, ratio: float) -> Row:
    median = statistics.median_high(found)
    return Row(
        group=group,
        name=name,
        placement=Placement.ONE_CPU,
        median=median,
        p99=percentile(found, 99),
        samples=len(found),
        batch=1,
        rounds=(median,),
        reference=reference,
        ratio=ratio,
        unit="schedules",
    )
