"""What was wrong with a schedule."""

import os
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import final

# Frames that say nothing about the program: the lab's own, and those of the loop in which a process awaits.
_BELOW = str(Path(__file__).parent) + os.sep, str(Path(os.__file__).with_name("asyncio")) + os.sep


@final
@dataclass(frozen=True)
class Verdict:
    """A schedule's failure: of which kind, in a sentence, and more."""

    kind: str
    """``exception``, ``assertion``, ``invariant``, ``deadlock``, ``lost wake-up``, ``untold death``, ``livelock``, ``leak``,
    ``race``, ``not linearizable``, ``shared global``, ``nondeterminism``."""
    summary: str
    details: str = ""

    @classmethod
    def raised(cls, who: str, error: BaseException) -> "Verdict":
        """Somebody raised."""
        kind = "assertion" if isinstance(error, AssertionError) else "exception"
        if getattr(error, "race", False):
            kind = "race"
        told = "".join(traceback.format_exception_only(error)).strip()
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if not frame.filename.startswith(_BELOW)]
        details = "".join(traceback.format_list(own)) + told
        return cls(kind, f"{who}: {told.splitlines()[0]}", details)

    @classmethod
    def disordered(cls, error: AssertionError) -> "Verdict":
        """A history has no order."""
        summary, _, details = str(error).partition("\n\n")
        return cls("not linearizable", summary, details)

    @classmethod
    def broken(cls, when: str, what: str) -> "Verdict":
        """A check said no."""
        return cls("invariant", f"{when}: {what}")
