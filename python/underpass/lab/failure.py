"""The failure that an exploration found."""

from typing import final

from underpass.lab.report import as_text
from underpass.lab.trace import Trace


@final
class Failure(AssertionError):
    """A schedule broke the program: its text shows it, and says how to repeat it.

    Attributes:
        trace: What happened, moment by moment: for `underpass.lab.report`.
    """

    trace: Trace

    def __init__(self, trace: Trace) -> None:
        super().__init__(trace)
        self.trace = trace

    def __str__(self) -> str:
        return as_text(self.trace)

    @property
    def kind(self) -> str:
        """What went wrong, in a word or two: ``deadlock``, ``lost wake-up``, ``assertion``."""
        return self.trace.kind

    @property
    def token(self) -> str:
        """What replays the schedule."""
        return self.trace.token
