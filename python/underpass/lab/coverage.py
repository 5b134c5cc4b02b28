"""What an exploration has covered, whether it came to its end or not."""

from dataclasses import dataclass
from typing import final

from underpass.lab.failure import Failure


@final
@dataclass(frozen=True)
class Report:
    """What an exploration has covered: it is printed when nothing was found."""

    program: str
    strategy: str
    seed: int
    schedules: int
    """Schedules that were run to their end."""
    exhausted: bool
    """There is no other schedule within the budgets."""
    steps: int
    """Choices made, in all of them."""
    seconds: float
    kills: int
    faults: int
    preemptions: int | None
    jobs: int = 1
    """Processes that ran them."""
    interrupted: bool = False
    """Ctrl-C came before the end."""
    classes: int | None = None
    """Schedules that differ in more than the order of steps that touch nothing in common; None: the strategy does not tell."""
    covered: float | None = None
    """The estimated part of all schedules that was run, 0 to 1; None: the strategy does not know."""
    pruned: int = 0
    """Schedules that were cut off, since others show what they would; they are not among ``schedules``."""

    def __str__(self) -> str:
        found = bounds(self.kills, self.faults, self.preemptions)
        within = f", {found}" if found else ""
        vain = f", {self.pruned:,} cut off" if self.pruned else ""
        if self.exhausted:
            covered = f"{self.schedules:,} schedules" if self.classes is None else f"{self.classes:,} classes"
            return f"{self.program}: exhausted: {covered}{vain}{within}"
        how = "interrupted" if self.interrupted else "not exhausted"
        dice = f"{self.strategy}, seed {self.seed}" + (f", {self.jobs} jobs" if self.jobs > 1 else "")
        part = f", ≈ {self.covered:.1%} of the space" if self.covered is not None else ""
        return f"{self.program}: {how}: {self.schedules:,} schedules{vain}{part} ({dice}){within}"


@final
class Interrupted(KeyboardInterrupt):
    """Ctrl-C ended an exploration: the text says what was covered, and what was found.

    Attributes:
        report: What was covered.
        failure: What one worker had found while others had not come as far; None: nothing.
    """

    def __init__(self, report: Report, failure: Failure | None = None) -> None:
        super().__init__(report, failure)
        self.report = report
        self.failure = failure

    def __str__(self) -> str:
        return str(self.report) if self.failure is None else f"{self.report}\n{self.failure}"


def bounds(kills: int, faults: int, preemptions: int | None) -> str:
    """Write down what may happen in one schedule."""
    said = [
        f"≤ {count} {what}{'s' if count > 1 else ''}" for count, what in ((kills, "kill"), (faults, "fault")) if count
    ]
    if preemptions is not None:
        said.append(f"≤ {preemptions} preemption{'s' if preemptions != 1 else ''}")
    return ", ".join(said)
