"""An operation in some company: traced once, then killed at one instruction after the other.

Survivors see shared memory and the kernel. Between two instructions that store to shared memory or to what the kernel reads at a
death, or call the kernel, a death leaves the same behind wherever it is, so one stands for all of them: it comes before each such *effect*
and after it, before the first instruction and before the last. `test_stepping_effects.py` shows that nothing else changes anything.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from tests.crash.stepping.death import AfterStage, Asleep, AtInstruction, End, Traced, die
from tests.crash.stepping.operation import AnyOperation, Company, nothing
from tests.crash.stepping.stepper import Stepper, library
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
    effects: int = 0
    # Or whatever else is inflicted.
    deaths: int = 0
    inflicted: str = "death"
    # At another instruction than was traced, or not inside any more: others were quicker or slower.
    elsewhere: int = 0
    outcomes: Counter[str] = field(default_factory=Counter[str])
    # Of each death after how many instructions it came, and what it led to.
    found: list[tuple[int | None, str]] = field(default_factory=list[tuple[int | None, str]])
    failures: list[Failure] = field(default_factory=list[Failure])


def apart(effects: Iterable[int], instructions: int) -> list[int]:
    """Return after how many instructions to die: of those between two effects after the first and the last."""
    ends = {0, instructions - 1}
    for count in effects:
        ends |= {count, count + 1}
    return sorted(count for count in ends if count < instructions)


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
        for number, books in enumerate(self._explain()):
            self.explained.setdefault(books, number)
        traced = Traced(self._stepper, library(_core.__file__))
        self._die(traced)
        self.instructions = traced.instructions
        self.effects = self._stepper.effects()
        # And in its sleep.
        self.ends: list[int | None] = [*self._places(every=every), *([None] if operation.partner else [])]

    def __str__(self) -> str:
        return f"{self.operation}, {self.company.value}"

    def _places(self, *, every: bool) -> list[int]:
        """Return after how many instructions it is inflicted."""
        return [*range(self.instructions)] if every else apart(self.effects, self.instructions)

    def _explain(self) -> Iterator[str]:
        """Have the whole operation done, each part of it, or nothing; what that leads to."""
        for stage in [nothing, *self.operation.partly, None]:
            yield self._die(AfterStage(stage))

    def _inflict(self, count: int | None) -> str:
        """Kill after so many instructions; None: in its sleep."""
        return self._die(Asleep() if count is None else AtInstruction(self._stepper, count))

    def _die(self, end: End) -> str:
        found = die(self.operation, self.company, end)
        self._check_space()
        self._where = found.where
        return found.books

    def run(self, ends: Iterable[int | None], done: Callable[[int], object]) -> Report:
        """Kill at each of these."""
        report = Report(self.operation, self.company, self.instructions, len(self.effects))
        for count in ends:
            report.deaths += 1
            try:
                books = self._inflict(count)
            except AssertionError as error:
                report.failures.append(Failure(str(self), str(count), str(error)))
                # It may have left anything.
                self._stepper.close()
                return report
            report.found.append((count, books))
            report.elsewhere += self._where in ("other", "returned")
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
