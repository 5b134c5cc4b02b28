"""A search: one schedule after another, until one fails, there are no more, or there were enough."""

import gc
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, final

import greenlet

from underpass._core import Lab
from underpass.lab.again import differs
from underpass.lab.judge import judge
from underpass.lab.settings import Settings
from underpass.lab.stage import Program, Stage
from underpass.lab.verdict import Verdict

# Collections of garbage between schedules: what a schedule leaves is nearly always freed at once.
SWEEP_EVERY = 2_000
# Strategies that go through the schedules in an order, and let steps stand back that a schedule that is followed does not have.
IN_ORDER = frozenset({"dpor", "every"})
# Seconds between two words on how far it is.
TELL_EVERY = 0.05


class Found(NamedTuple):
    """A schedule that failed."""

    number: int
    """Counted from 0, among those of the search."""
    verdict: Verdict
    token: str


@final
@dataclass(slots=True)
class Tally:
    """What a search has done so far."""

    schedules: int = 0
    """Run to their end."""
    pruned: int = 0
    """Cut off, since others show what they would."""
    steps: int = 0
    """Choices made, in all of them."""
    exhausted: bool = False
    classes: int | None = None
    """Schedules that differ in more than the order of steps that touch nothing in common, if the strategy tells them apart."""
    covered: float | None = None
    """The estimated part of all schedules, if the strategy knows."""
    found: Found | None = None

    @property
    def run(self) -> int:
        """Schedules begun, those cut off among them."""
        return self.schedules + self.pruned

    @property
    def over(self) -> bool:
        """There is nothing more to look for."""
        return self.exhausted or self.found is not None


@final
@dataclass(frozen=True, slots=True)
class Searcher:
    """Looks for a schedule of a program that fails, within bounds."""

    program: Program
    settings: Settings
    judge: Callable[[Stage, str], Verdict | None] = judge
    """Says what is wrong with how a schedule ended."""

    def run(self, strategy: str, seed: int, limit: int, tally: Tally, tell: Callable[[Tally], object]) -> None:
        """Run up to ``limit`` more schedules of a strategy and seed, and count in ``tally``, which is told now and then."""
        asked = self.settings
        lab = Lab(
            strategy,
            seed,
            kills=asked.kills,
            faults=asked.faults,
            early=asked.early,
            preemptions=asked.preemptions,
            steps=asked.steps,
        )
        stage = Stage(lab, self.program, lines=asked.lines)
        due = time.perf_counter() + TELL_EVERY
        cut = 0
        with _quiet_collector():
            for _ in range(limit):
                left = lab.begin(greenlet.getcurrent().switch)
                if lab.classes is not None or lab.covered is not None:
                    tally.classes, tally.covered = lab.classes, lab.covered
                if not left:
                    tally.exhausted = True
                    return
                number = tally.run
                verdict = stage.run(self.judge)
                tally.schedules += lab.pruned == cut
                tally.pruned += lab.pruned - cut
                cut = lab.pruned
                tally.steps += lab.steps
                if verdict is None and number & (number - 1) == 0 and strategy not in IN_ORDER:
                    verdict = differs(stage, asked.steps)
                if verdict is not None:
                    tally.found = Found(number, verdict, lab.token)
                    return
                if time.perf_counter() >= due:
                    tell(tally)
                    due = time.perf_counter() + TELL_EVERY
                if tally.schedules % SWEEP_EVERY == 0:
                    gc.collect()


@contextmanager
def _quiet_collector() -> Generator[None]:
    """Have garbage collected between schedules: a collection inside one would run finalizers at a place of its own choice.

    What was there before is not looked through again each time, unless others have set apart what they do not want to be.
    """
    was_on, sets_apart = gc.isenabled(), gc.get_freeze_count() == 0
    gc.disable()
    if sets_apart:
        gc.freeze()
    try:
        yield
    finally:
        if sets_apart:
            gc.unfreeze()
        if was_on:
            gc.enable()
