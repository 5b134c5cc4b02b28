"""An operation in some company: traced once, then killed at one instruction after the other."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from tests.crash.stepping.death import AfterStage, Asleep, AtInstruction, End, Traced, die
from tests.crash.stepping.operation import AnyOperation, Company, nothing
from tests.crash.stepping.stepper import Stepper, interpreter, library
from underpass import _core


@dataclass(frozen=True)
class Failure:
    """A death after which something was wrong."""

    scenario: str
    count: str
    what: str

    def __str__(self) -> str:
        return f"{self.scenario}, after {self.count} instructions: {self.what}"


@dataclass
class Report:
    """What the deaths of a scenario led to."""

    operation: AnyOperation
    company: Company
    instructions: int
    deaths: int = 0
    inside: int = 0
    outcomes: Counter[str] = field(default_factory=Counter[str])
    failures: list[Failure] = field(default_factory=list[Failure])


class Scenario:
    """One operation with one company."""

    def __init__(
        self, operation: AnyOperation, company: Company, check_space: Callable[[], object], *, every: bool = False
    ) -> None:
        self.operation, self.company = operation, company
        self._stepper = Stepper()
        self._check_space = check_space
        # What a part of the operation leads to, each by its number: 0 for nothing of it.
        self.explained: dict[str, int] = {}
        for number, stage in enumerate([nothing, *operation.partly, None]):
            self.explained.setdefault(self._die(AfterStage(stage)), number)
        traced = Traced(self._stepper, library(_core.__file__))
        self._die(traced)
        self.instructions = traced.instructions
        # In the interpreter itself, which builds results and errors, no word of an object changes: one death for each visit.
        counts = [] if every else self._stepper.outside(interpreter())
        visits = [count + 1 for count, after in pairwise([*counts, self.instructions]) if after != count + 1]
        kept = range(self.instructions) if every else sorted({*counts, *visits} & {*range(self.instructions)})
        # And in its sleep.
        self.ends: list[int | None] = [*kept, *([None] if operation.partner else [])]

    def __str__(self) -> str:
        return f"{self.operation}, {self.company.value}"

    def _die(self, end: End) -> str:
        found = die(self.operation, self.company, end)
        self._check_space()
        self._where = found.where
        return found.books

    def run(self, ends: Iterable[int | None], done: Callable[[int], object]) -> Report:
        """Kill at each of these."""
        report = Report(self.operation, self.company, self.instructions)
        for count in ends:
            report.deaths += 1
            try:
                books = self._die(Asleep() if count is None else AtInstruction(self._stepper, count))
            except AssertionError as error:
                report.failures.append(Failure(str(self), str(count), str(error)))
                # It may have left anything.
                self._stepper.close()
                return report
            report.inside += self._where != "returned"
            number = self.explained.get(books)
            if number is None:
                known = " or ".join(self.explained)
                report.failures.append(Failure(str(self), str(count), f"found {books}, explained is {known}"))
            outcome = self._outcome(number)
            report.outcomes[outcome] += 1
            done(report.deaths)
        return report

    def _outcome(self, number: int | None) -> str:
        """Name it; an operation whose completion shows nowhere leads to the same either way."""
        if number is None:
            return "unexplained"
        if len(self.explained) == 1:
            return "either"
        if number == 0:
            return "undone"
        return "done" if number == max(self.explained.values()) else "partly"

    def close(self) -> None:
        """End its stepper."""
        self._stepper.close()
