"""What is measured of the lab and its peers, and what the lab must reach beside them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

from underpass.tools.bench.groups import Group, Measure
from underpass.tools.bench.lab.peers.examples import EXAMPLES, Example
from underpass.tools.bench.lab.peers.explorers import EXPLORERS, LIMIT, OURS, Explorer, unavailable
from underpass.tools.bench.measure import Absent, Effort, Row, Unit, paired, percentile
from underpass.tools.bench.placement import Placement, pinned, seats
from underpass.tools.bench.targets import Bound, Target, times

SCHEDULES, TIMES = "schedules", "times"
SEEDS = 21

# Looks with one seed, and returns what is measured of that.
Look = Callable[[Explorer, Example, int], float]


def _schedules(explorer: Explorer, example: Example, seed: int) -> float:
    return explorer.find(example, seed)


def _time(explorer: Explorer, example: Example, seed: int) -> float:
    started = time.perf_counter_ns()
    explorer.find(example, seed)
    return time.perf_counter_ns() - started


def row_name(example: Example, explorer: str) -> str:
    """What the row of one who looks at an example is called."""
    return f"{example.name}, {explorer}"


def _measuring(look: Look, unit: Unit) -> Measure:
    def measure(group: str, effort: Effort) -> Iterator[Row | Absent]:
        seeds = range(1, effort.reduced(SEEDS) + 1)
        missing = {explorer.name: unavailable(explorer) for explorer in EXPLORERS}
        there = [explorer for explorer in EXPLORERS if missing[explorer.name] is None]
        yield from (Absent(group, name, Placement.ONE_CPU, reason) for name, reason in missing.items() if reason)
        with pinned(seats(Placement.ONE_CPU).client):
            for example in EXAMPLES:
                found: dict[str, list[float]] = {explorer.name: [] for explorer in there}
                for explorer in there:
                    explorer.find(example, 0)  # what is imported and compiled at first
                for seed in seeds:
                    for explorer in there:
                        found[explorer.name].append(look(explorer, example, seed))
                yield from (_row(group, example, name, found, unit) for name in found)

    return measure


def _row(group: str, example: Example, name: str, found: dict[str, list[float]], unit: Unit) -> Row:
    values = found[name]
    middle = statistics.median_high(values), statistics.median_high(found[OURS])
    return Row(
        group=group,
        name=row_name(example, name),
        placement=Placement.ONE_CPU,
        median=middle[0],
        p99=percentile(values, 99),
        samples=len(values),
        batch=1,
        # Seeds of different dice have nothing to do with each other; the machine's speed has.
        rounds=tuple(values) if unit == "time" else middle[:1],
        reference=OURS,
        ratio=paired(values, found[OURS]) if unit == "time" else middle[0] / middle[1],
        unit=unit,
    )


def _fewer(schedules: float) -> float:
    """At least one less: as many are not fewer."""
    return schedules - 0.5


_COMPARED: tuple[tuple[str, str, Unit, Bound], ...] = (
    (SCHEDULES, "fewer schedules than", "schedules", _fewer),
    (TIMES, "less time than", "time", times(1)),
)

GROUPS = {
    SCHEDULES: Group(
        f"Schedules until the bug is found, {LIMIT + 1:,}: it is not", _measuring(_schedules, "schedules")
    ),
    TIMES: Group("Time until the bug is found, before it is made small and drawn", _measuring(_time, "time")),
}

TARGETS = tuple(
    Target(
        f"{example.name}: {claim} {peer.name}",
        group,
        Placement.ONE_CPU,
        row_name(example, OURS),
        against=row_name(example, peer.name),
        bound=bound,
        unit=unit,
    )
    for group, claim, unit, bound in _COMPARED
    for example in EXAMPLES
    for peer in EXPLORERS
    if peer.name != OURS
)
