"""What is measured of the lab, and what it must reach."""

from __future__ import annotations

from underpass.tools.bench.groups import Group
from underpass.tools.bench.lab import bugs, classes, rates
from underpass.tools.bench.lab.programs import BUGS
from underpass.tools.bench.placement import Placement
from underpass.tools.bench.targets import SECOND, Target, at_most, times

RATES, FINDS, CLASSES = "rates", "bugs", "classes"

GROUPS = {
    RATES: Group("Schedules of 3 processes with 6 operations each", rates.measure),
    FINDS: Group(
        "Schedules until a bug is found; the ratio is to the best strategy alone", bugs.measure, compares=True
    ),
    CLASSES: Group("Classes of schedules, until there are no more", classes.measure),
}

TARGETS = (
    *(
        Target(
            f"{name}: at least 15,000 schedules/s",
            RATES,
            Placement.ONE_CPU,
            name,
            bound=at_most(SECOND / 15_000),
            unit="schedules/s",
        )
        for name in (rates.COUNTER, rates.LOCK)
    ),
    *(
        Target(
            f"{bug.name}: within 3,000 schedules with every seed",
            FINDS,
            Placement.ONE_CPU,
            bug.name,
            bound=at_most(bugs.LIMIT),
            worst=True,
            unit="schedules",
        )
        for bug in BUGS
    ),
    *(
        Target(
            f"{bug.name}: at most 2 x the best strategy alone",
            FINDS,
            Placement.ONE_CPU,
            bug.name,
            bound=times(2),
            against=bugs.alone(bug),
            unit="schedules",
        )
        for bug in BUGS
    ),
    *(
        Target(f"{name}: at most {most} classes", CLASSES, Placement.ONE_CPU, name, bound=at_most(most), unit="classes")
        for name, most in ((classes.PHILOSOPHERS, 10), (classes.LOST_WAKE_UP, 5), (classes.REORDER, 400))
    ),
)
