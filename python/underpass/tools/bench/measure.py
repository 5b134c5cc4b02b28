"""What a measurement is: contestants that run in turns, and rows of their medians.

All contestants of a contest are there from its beginning and take turns, round after round (A B C A B C): when a shared machine
changes its speed, it changes for all of them. Ratios and verdicts compare round by round for the same reason.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import ceil
from typing import Literal

from underpass.errors import UnderpassError
from underpass.tools.bench.placement import Placement, Seats, UnavailableError, pinned, seats

# What ends one contestant and lets the others go on; anything else is a defect of the bench and shows as one.
FAILURES = (UnavailableError, UnderpassError)

# What a row's numbers are; those of time and of what a second brings are nanoseconds of one operation.
Unit = Literal["time", "messages/s", "bytes", "schedules", "schedules/s", "classes", "share"]

# Takes so many samples and returns each, in nanoseconds of one operation.
Sampler = Callable[[int], list[float]]


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure.

    Args:
        rounds: Turns of every contestant.
        divisor: By how much every contestant's batches and samples are cut.
        idle_seconds: How long idle waiters are watched.
    """

    rounds: int
    divisor: int
    idle_seconds: float

    def reduced(self, count: int) -> int:
        """A contestant's batch or number of samples, cut to this effort."""
        return max(1, count // self.divisor)


FULL = Effort(rounds=41, divisor=1, idle_seconds=2.0)
PEERS = Effort(rounds=15, divisor=1, idle_seconds=2.0)
LAB = Effort(rounds=11, divisor=1, idle_seconds=2.0)
QUICK = Effort(rounds=2, divisor=20, idle_seconds=0.1)


@dataclass(frozen=True, slots=True)
class Contestant:
    """One thing that is measured.

    Args:
        name: What the table calls it.
        opened: Sets it up for given seats and a batch size, and ends it when the block ends.
        batch: Operations in one sample. Above 1 where one operation is too short for a clock: the 99th percentile is then that
            of batches.
        samples: Samples in one round.
        warm_up: Whether each round begins with samples that do not count. Not for what starts a new process every time.
        unit: What its samples are.
    """

    name: str
    opened: Callable[[Seats, int], AbstractContextManager[Sampler]]
    batch: int = 1
    samples: int = 20
    warm_up: bool = True
    unit: Unit = "time"


@dataclass(frozen=True, slots=True)
class Row:
    """A contestant's result in one placement. Times are nanoseconds of one operation.

    Args:
        group: The group of measurements.
        name: The contestant.
        placement: Where its processes ran.
        median: Of all samples.
        p99: 99 of 100 samples were no worse: took no longer, had no less of a share.
        samples: How many there are.
        batch: Operations in each.
        rounds: The median of each round.
        reference: Whom `ratio` compares with, if with anybody.
        ratio: How many times the reference's time this took: the median over the rounds.
        unit: What the numbers are.
    """

    group: str
    name: str
    placement: Placement
    median: float
    p99: float
    samples: int
    batch: int
    rounds: tuple[float, ...]
    reference: str | None
    ratio: float | None
    unit: Unit = "time"


@dataclass(frozen=True, slots=True)
class Absent:
    """A contestant that could not be measured, and why."""

    group: str
    name: str
    placement: Placement
    reason: str


_ALL = 100  # per cent


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that at least `percent` per cent of the samples do not exceed (the nearest rank).

    >>> percentile([5, 1, 4, 2, 3], 50)
    3
    >>> percentile(range(1, 201), 99)
    198

    Raises:
        ValueError: There are no samples, or `percent` is not within 0 to 100.
    """
    if not samples:
        raise ValueError("no samples")
    if not 0 <= percent <= _ALL:
        raise ValueError(f"a percentile is within 0 to 100, not {percent}")
    return sorted(samples)[max(0, ceil(len(samples) * percent / _ALL) - 1)]


def paired(values: Sequence[float], limits: Sequence[float]) -> float:
    """How many times its limit a value is: the median over the rounds of their quotients."""
    return statistics.median(value / limit for value, limit in zip(values, limits, strict=True))


def timed(operation: Callable[[], object], batch: int, before: Callable[[], object] | None = None) -> Sampler:
    """Time an operation that takes microseconds or more; its call adds some 50 ns.

    Args:
        operation: What is timed, `batch` times a sample.
        batch: Operations in a sample.
        before: Called before each sample, outside the timed part.
    """

    def sample(count: int) -> list[float]:
        samples: list[float] = []
        for _ in range(count):
            if before is not None:
                before()
            started = time.perf_counter_ns()
            for _ in range(batch):
                operation()
            samples.append((time.perf_counter_ns() - started) / batch)
        return samples

    return sample


def compete(
    group: str, contestants: Sequence[Contestant], placement: Placement, effort: Effort
) -> Iterator[Row | Absent]:
    """Measure contestants in turns; ratios refer to the first that could be measured."""
    with contextlib.ExitStack() as opened:
        try:
            chosen = seats(placement)
        except UnavailableError as error:
            yield from (Absent(group, contestant.name, placement, str(error)) for contestant in contestants)
            return
        turns: list[_Turns] = []
        for contestant in contestants:
            try:
                sampler = opened.enter_context(contestant.opened(chosen, effort.reduced(contestant.batch)))
            except FAILURES as error:
                yield Absent(group, contestant.name, placement, str(error))
            else:
                turns.append(_Turns(contestant, sampler))
        with pinned(chosen.client):
            for _ in range(effort.rounds):
                for each in turns:
                    each.take(effort)
    measured = [each for each in turns if each.failure is None]
    yield from (
        Absent(group, each.contestant.name, placement, each.failure) for each in turns if each.failure is not None
    )
    yield from (_row(group, placement, each, measured[0], effort) for each in measured)


class _Turns:
    """A contestant's rounds, until one fails."""

    def __init__(self, contestant: Contestant, sampler: Sampler) -> None:
        self.contestant = contestant
        self.rounds: list[list[float]] = []
        self.failure: str | None = None
        self._sampler = sampler

    def take(self, effort: Effort) -> None:
        if self.failure is not None:
            return
        count = effort.reduced(self.contestant.samples)
        try:
            if self.contestant.warm_up:
                self._sampler(count // 10 + 1)  # caches, and a partner that has gone to sleep meanwhile
            self.rounds.append(self._sampler(count))
        except FAILURES as error:
            self.failure = str(error)

    def medians(self) -> tuple[float, ...]:
        return tuple(statistics.median(samples) for samples in self.rounds)


def _row(group: str, placement: Placement, turns: _Turns, reference: _Turns, effort: Effort) -> Row:
    samples = [sample for round_ in turns.rounds for sample in round_]
    return Row(
        group=group,
        name=turns.contestant.name,
        placement=placement,
        median=statistics.median(samples),
        p99=percentile(samples, 1 if turns.contestant.unit == "share" else 99),
        samples=len(samples),
        batch=effort.reduced(turns.contestant.batch),
        rounds=turns.medians(),
        reference=reference.contestant.name,
        ratio=paired(turns.medians(), reference.medians()) if all(reference.medians()) else None,
        unit=turns.contestant.unit,
    )
