"""The failure that an exploration found."""

from typing import final

from underpass.lab.report import as_text
from underpass.lab.report.cells import wrap
from underpass.lab.report.text import WIDTH
from underpass.lab.trace import Trace


@final
class Failure(AssertionError):
    """A schedule broke the program: its text shows it, and says how to repeat it.

    Attributes:
        trace: What happened, moment by moment: for `underpass.lab.report`.
        real: What happened on real processes in the same order; None: it was not tried.
    """

    trace: Trace
    real: str | None

    def __init__(self, trace: Trace, real: str | None = None) -> None:
        super().__init__(trace, real)
        self.trace = trace
        self.real = real

    def __str__(self) -> str:
        told = as_text(self.trace)
        if self.real is None:
            return told
        lines = f"On real processes: {self.real}".splitlines()
        real = "\n  ".join(part for line in lines for part in wrap(line, WIDTH - 2))
        return f"{told.rstrip()}\n\n{real}\n"

    @property
    def kind(self) -> str:
        """What went wrong, in a word or two: ``deadlock``, ``lost wake-up``, ``assertion``."""
        return self.trace.kind

    @property
    def token(self) -> str:
        """What replays the schedule."""
        return self.trace.token
