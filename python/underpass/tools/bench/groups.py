"""Which contestants run against which, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from underpass.tools.bench.awaits import AWAITS, AWAITS_UVLOOP
from underpass.tools.bench.calls import call
from underpass.tools.bench.copies import COPIES, PUBLISHING
from underpass.tools.bench.deaths import DEATHS
from underpass.tools.bench.fairness import RIVALS, SHARES
from underpass.tools.bench.flags import OPERATIONS
from underpass.tools.bench.idle import watch_idle_waiters
from underpass.tools.bench.imports import IMPORTS
from underpass.tools.bench.limits import FUTEX, MESSAGE, SPIN, limit
from underpass.tools.bench.locks import CONTENDED, CREATIONS, PAIRS
from underpass.tools.bench.many import WAITS
from underpass.tools.bench.measure import Absent, Contestant, Effort, Row, compete
from underpass.tools.bench.objects import OBJECTS
from underpass.tools.bench.placement import Placement
from underpass.tools.bench.queues import THROUGHPUT
from underpass.tools.bench.standard import ROUND_TRIPS
from underpass.tools.bench.wakes import WAKES

# Measures a group of the name given, with the effort given.
Measure = Callable[[str, Effort], Iterator[Row | Absent]]


@dataclass(frozen=True, slots=True)
class Group:
    """Measurements that belong together, and are shown in one table.

    Args:
        title: What the table is called.
        measure: Measures them.
        flows: Whether operations a second are of interest, beside the time of one.
        compares: Whether each row names what it is compared with.
    """

    title: str
    measure: Measure
    flows: bool = False
    compares: bool = False


def contests(contests: Sequence[tuple[Placement, Sequence[Contestant]]]) -> Measure:
    """Contests as what a group measures, one after the other."""

    def measure(group: str, effort: Effort) -> Iterator[Row | Absent]:
        for placement, contestants in contests:
            yield from compete(group, contestants, placement, effort)

    return measure


# The first of each contest is what the others are compared with.
_RUNNING = (
    limit(SPIN, "spin", batch=100, samples=50),
    limit(MESSAGE, "message", batch=100, samples=50),
    limit(FUTEX, "futex", batch=1, samples=50),
    call(batch=100, samples=50),
    *ROUND_TRIPS,
)
_ONE_CPU = (limit(FUTEX, "futex", batch=1, samples=200), call(batch=1, samples=200), *ROUND_TRIPS)
_ASLEEP = (limit(FUTEX, "futex", batch=1, samples=50), call(batch=1, samples=50))

GROUPS = {
    "calls": Group(
        "Round trip of 64 bytes",
        contests(
            [
                (Placement.TWO_CPUS, _RUNNING),
                (Placement.UNPINNED, _RUNNING),
                (Placement.ONE_CPU, _ONE_CPU),
                (Placement.ASLEEP, _ASLEEP),
            ]
        ),
    ),
    "locks": Group(
        "Acquire and release, uncontended",
        contests([(Placement.ONE_CPU, PAIRS), (Placement.UNPINNED, PAIRS)]),
    ),
    "contended": Group(
        "Acquire and release by two processes at once, time for one pair",
        contests([(Placement.TWO_CPUS, CONTENDED), (Placement.UNPINNED, CONTENDED)]),
    ),
    "fairness": Group(
        f"A lock that {RIVALS} processes want all the time: the least served one's part of a fair share",
        contests([(Placement.TWO_CPUS, SHARES)]),
    ),
    "wakes": Group(
        "From a wake to the sleeper that runs",
        contests([(Placement.TWO_CPUS, [wake.contestant() for wake in WAKES])]),
    ),
    "many": Group(
        "One of many becomes ready and is taken, by one process",
        contests([(Placement.ONE_CPU, WAITS)]),
    ),
    "flags": Group(
        "Flags and numbers, while nobody waits",
        contests([(Placement.ONE_CPU, OPERATIONS), (Placement.UNPINNED, OPERATIONS)]),
    ),
    "queues": Group(
        "One message of 64 bytes, from one process to one other",
        contests([(Placement.TWO_CPUS, THROUGHPUT), (Placement.UNPINNED, THROUGHPUT)]),
        flows=True,
    ),
    "objects": Group(
        "One array of 16 MiB, from one process to one other",
        contests([(Placement.TWO_CPUS, OBJECTS), (Placement.UNPINNED, OBJECTS)]),
        flows=True,
    ),
    "copies": Group("Copying 1 MiB, in one process, time for one copy", contests([(Placement.ONE_CPU, COPIES)])),
    "publishing": Group(
        "Publishing 64 bytes that overwrite the oldest",
        contests([(Placement.TWO_CPUS, PUBLISHING)]),
        flows=True,
    ),
    "creation": Group(
        "Create and destroy an anonymous object",
        contests([(Placement.ONE_CPU, CREATIONS), (Placement.UNPINNED, CREATIONS)]),
    ),
    "idle": Group("CPU of a waiting process", watch_idle_waiters),
    "import": Group("Import, in a fresh interpreter", contests([(Placement.UNPINNED, IMPORTS)])),
    "aio": Group(
        "From a notification to the coroutine that goes on, in one loop",
        contests([(Placement.ONE_CPU, AWAITS), (Placement.ONE_CPU, AWAITS_UVLOOP)]),
        compares=True,
    ),
    "death": Group("From SIGKILL to the survivor that knows", contests([(Placement.UNPINNED, DEATHS)])),
}
