"""What became of a schedule on real processes."""

from typing import final

from underpass.errors import UnderpassError
from underpass.lab.verdict import Verdict


@final
class Diverged(UnderpassError):
    """A token does not fit the program, or real processes did not do what those of the lab did, or cannot be made to.

    The text says where, and why.

    Attributes:
        step: The step of the schedule, from 0, at which they differed.
    """

    step: int


def same(lab: Verdict | None, real: Verdict | None) -> bool:
    """Say whether it is the same failure: of one kind, of the same process, and with the same words, but for pids and files."""
    if lab is None or real is None:
        return lab is real
    return lab.kind == real.kind and _told(lab) == _told(real)


def _told(verdict: Verdict) -> str:
    # What an exception says names pids and files, an assertion's words are the program's own.
    who, _, told = verdict.summary.partition(": ")
    if verdict.kind == "exception":
        return f"{who}: {told.partition(':')[0]}"
    return verdict.summary
