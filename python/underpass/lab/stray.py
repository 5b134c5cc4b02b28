"""A token that cannot be followed to its end: what was to come, and what was on offer instead."""

from underpass.lab.real import Diverged
from underpass.lab.stage import Stage

_HAPPENINGS = {
    "T": "'s time-out fires",
    "W": " wakes without cause",
    "K": " dies",
    "S": " is stopped",
    "C": " goes on after its stop",
}


def stray(stage: Stage) -> Diverged | None:
    """Return the error of a token that the schedule which has just ended did not follow; None: it did."""
    found = stage.lab.strayed
    if found is None:
        return None
    step, wanted, offered = found
    instead = ", ".join(_told(stage, term) for term in offered)
    there = f"on offer was {instead}" if offered else "the schedule was over"
    return Diverged(
        f"the token does not fit: at step {step} it says {_told(stage, wanted)}, and {there}. It is of another program, or the "
        "program has changed since: explore anew",
        step=step,
    )


def _told(stage: Stage, term: str) -> str:
    """Say what a term of a token means: ``T1 (client's time-out fires)``."""
    letter, number = (term[0], int(term[1:])) if term[0].isalpha() else ("", int(term))
    if letter == "P":
        return f"{term} (the program chooses {number})"
    if letter == "R":
        return f"{term} (an operation is refused)"
    known = [task.process for task in stage.cast.tasks] if letter in {"", "T", "W"} else stage.cast.processes
    if number >= len(known):
        return f"{term} (there is none)"
    return f"{term} ({known[number].name}{_HAPPENINGS.get(letter, ' goes on')})"
