"""What the measurements must reach, each beside the limit that the same run measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from underpass.tools.bench import (
    awaits,
    calls,
    copies,
    deaths,
    flags,
    idle,
    imports,
    limits,
    locks,
    many,
    objects,
    queues,
    standard,
    wakes,
)
from underpass.tools.bench.measure import Row, Unit, paired
from underpass.tools.bench.placement import Placement

MILLISECOND = 1e6
SECOND = 1e9

# From a round's median of the limit's row to the most that the target may take.
Bound = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Target:
    """A row that must not exceed a bound, which is fixed or follows from another row of the same group and placement.

    Args:
        claim: What is promised.
        group: The group of both rows.
        placement: The placement of both rows.
        name: The row that must reach it.
        bound: The most it may take, given the limit's time.
        against: The row of the limit; None for a fixed bound.
        aim: A better value than the target, given the limit's time.
        worst: Judge by the 99th percentile: what is promised for every time, not for most.
        unit: How the values read.
    """

    claim: str
    group: str
    placement: Placement
    name: str
    bound: Bound
    against: str | None = None
    aim: Bound | None = None
    worst: bool = False
    unit: Unit = "time"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target in one run; times in nanoseconds.

    Args:
        claim: What is promised.
        met: Whether it was; None if it was not measured.
        measured: The median, or the 99th percentile.
        limit: The most that this run's limit allows.
        of_limit: The measured part of the limit: met means at most 1. Of medians, it is that of the rounds.
        aim: The better value that is aimed at.
        unit: How the values read.
    """

    claim: str
    met: bool | None
    measured: float | None
    limit: float | None
    of_limit: float | None
    aim: float | None
    unit: Unit


def judge(targets: Sequence[Target], rows: Sequence[Row]) -> list[Verdict]:
    """One verdict for each target, in order."""
    return [_judge(target, {(row.group, row.placement, row.name): row for row in rows}) for target in targets]


def _judge(target: Target, rows: dict[tuple[str, Placement, str], Row]) -> Verdict:
    row = rows.get((target.group, target.placement, target.name))
    limit = row if target.against is None else rows.get((target.group, target.placement, target.against))
    if row is None or limit is None:
        return Verdict(target.claim, None, None, None, None, None, target.unit)
    measured, most = row.median, target.bound(limit.median)
    of_limit = paired(row.rounds, [target.bound(time) for time in limit.rounds])
    if target.worst:
        measured, most = row.p99, target.bound(limit.p99)
        of_limit = measured / most
    return Verdict(
        claim=target.claim,
        met=of_limit <= 1,
        measured=measured,
        limit=most,
        of_limit=of_limit,
        aim=None if target.aim is None else target.aim(limit.median),
        unit=target.unit,
    )


def at_most(nanoseconds: float) -> Bound:
    """A bound that is fixed."""
    return lambda _: nanoseconds


def times(factor: float, *, plus: float = 0) -> Bound:
    """A bound that follows from the limit's time."""
    return lambda limit: factor * limit + plus


TARGETS = (
    Target(
        "call, two CPUs: at most 1.5 x C spin + 150 ns; aim 336 ns (Fiasco, 895 cycles)",
        "calls",
        Placement.TWO_CPUS,
        calls.CALL,
        against=limits.SPIN,
        bound=times(1.5, plus=150),
        aim=at_most(336),
    ),
    Target(
        "call, two CPUs: at least 80 x faster than multiprocessing.Pipe",
        "calls",
        Placement.TWO_CPUS,
        calls.CALL,
        against=standard.PIPE,
        bound=times(1 / 80),
    ),
    Target(
        "call, one CPU: at most 1.3 x C futex",
        "calls",
        Placement.ONE_CPU,
        calls.CALL,
        against=limits.FUTEX,
        bound=times(1.3),
    ),
    Target(
        "call, server asleep on the other CPU: at most 1.3 x C futex",
        "calls",
        Placement.ASLEEP,
        calls.CALL,
        against=limits.FUTEX,
        bound=times(1.3),
    ),
    Target(
        "Semaphore acquire + release: at most 1.0 x threading.Lock; aim 0.5 x",
        "locks",
        Placement.ONE_CPU,
        locks.SEMAPHORE,
        against=locks.THREAD_LOCK,
        bound=times(1.0),
        aim=times(0.5),
    ),
    Target(
        "Mutex acquire + release: at most 1.0 x threading.Lock",
        "locks",
        Placement.ONE_CPU,
        locks.MUTEX,
        against=locks.THREAD_LOCK,
        bound=times(1.0),
    ),
    Target(
        "Semaphore, two processes contend: at least as fast as multiprocessing.Semaphore",
        "contended",
        Placement.TWO_CPUS,
        locks.SEMAPHORE,
        against=locks.PROCESS_SEMAPHORE,
        bound=times(1),
    ),
    Target(
        "Mutex, two processes contend: at least 0.8 x as fast as multiprocessing.Lock",
        "contended",
        Placement.TWO_CPUS,
        locks.MUTEX,
        against=locks.PROCESS_LOCK,
        bound=times(1 / 0.8),
    ),
    Target(
        "RWLock, two processes read: at least 1.7 x as much as one",
        "contended",
        Placement.TWO_CPUS,
        locks.READING,
        against=locks.READING_ALONE,
        bound=times(1 / 1.7),
    ),
    Target(
        "AtomicInt.add: at most 1.2 x a bare method call",
        "flags",
        Placement.ONE_CPU,
        flags.ADD,
        against=flags.METHOD,
        bound=times(1.2),
    ),
    Target(
        "wake from sleep: at most 1.1 x eventfd",
        "wakes",
        Placement.TWO_CPUS,
        wakes.SEMAPHORE,
        against=wakes.EVENTFD,
        bound=times(1.1),
    ),
    Target(
        "WaitSet of 1,000: at most 2 x one of 10",
        "many",
        Placement.ONE_CPU,
        many.SET_OF_MANY,
        against=many.SET_OF_FEW,
        bound=times(2),
    ),
    Target(
        "Queue, one to one, one call each: at least 3 M/s",
        "queues",
        Placement.TWO_CPUS,
        queues.ONE_EACH,
        bound=at_most(SECOND / 3e6),
        unit="messages/s",
    ),
    Target(
        "Queue, one to one, put_many and get_many: at least 10 M/s",
        "queues",
        Placement.TWO_CPUS,
        queues.MANY,
        bound=at_most(SECOND / 10e6),
        unit="messages/s",
    ),
    Target(
        "ObjectQueue, an array of 16 MiB: at least 10 x multiprocessing.Queue",
        "objects",
        Placement.TWO_CPUS,
        objects.ARRAYS,
        against=objects.PEER_ARRAYS,
        bound=times(1 / 10),
    ),
    *(
        Target(
            f"{name} of 1 MiB: at least 0.8 x memcpy",
            "copies",
            Placement.ONE_CPU,
            name,
            against=copies.MEMCPY,
            bound=times(1 / 0.8),
        )
        for name in (copies.PIPE, copies.QUEUE)
    ),
    *(
        Target(
            f"{name}: the writer's rate within 10 % of that with one slow reader",
            "publishing",
            Placement.TWO_CPUS,
            name,
            against=copies.ONE_READER,
            bound=times(1 / 0.9),
        )
        for name in (copies.MANY_READERS, copies.IDLE_READERS)
    ),
    Target(
        "16 MiB handed on in a Pool's block: at most 10 x a message of 64 bytes",
        "queues",
        Placement.TWO_CPUS,
        queues.HANDED_ON,
        against=queues.ONE_EACH,
        bound=times(10),
    ),
    Target(
        "idle in Semaphore.acquire for 2 s: less than 2 ms of CPU",
        "idle",
        Placement.UNPINNED,
        idle.SEMAPHORE,
        bound=at_most(2 * MILLISECOND),
    ),
    Target(
        "idle in Queue.get for 2 s: less than 2 ms of CPU",
        "idle",
        Placement.UNPINNED,
        idle.QUEUE,
        bound=at_most(2 * MILLISECOND),
    ),
    Target(
        "idle in Port.receive for 2 s: less than 2 ms of CPU",
        "idle",
        Placement.UNPINNED,
        idle.PORT,
        bound=at_most(2 * MILLISECOND),
    ),
    Target(
        "create and destroy a Semaphore: at most 1.0 x multiprocessing.Lock()",
        "creation",
        Placement.ONE_CPU,
        locks.CREATE_SEMAPHORE,
        against=locks.CREATE_LOCK,
        bound=times(1.0),
    ),
    Target(
        "Notification.aio on asyncio, notify to resumed coroutine: at most 1.5 x a raw eventfd",
        "aio",
        Placement.ONE_CPU,
        awaits.NOTIFICATION,
        against=awaits.EVENTFD,
        bound=times(1.5),
    ),
    Target(
        "Notification.aio on uvloop, notify to resumed coroutine: at most 1.5 x a raw eventfd",
        "aio",
        Placement.ONE_CPU,
        awaits.NOTIFICATION_UVLOOP,
        against=awaits.EVENTFD_UVLOOP,
        bound=times(1.5),
    ),
    Target(
        "import underpass: under 30 ms",
        "import",
        Placement.UNPINNED,
        imports.UNDERPASS,
        bound=at_most(30 * MILLISECOND),
    ),
    Target(
        "death of a lease holder, noticed by a blocked get: under 10 ms, p99",
        "death",
        Placement.UNPINNED,
        deaths.LEASE,
        bound=at_most(10 * MILLISECOND),
        worst=True,
    ),
    Target(
        "death of a server, noticed by a blocked call: under 10 ms, p99",
        "death",
        Placement.UNPINNED,
        deaths.SERVER,
        bound=at_most(10 * MILLISECOND),
        worst=True,
    ),
)
