"""The oracle of leaks: what processes that have come to their end still hold.

Whoever was killed leaves things behind, and the library gives them to survivors; whoever returns has to give back what it took.
"""

import gc
from collections.abc import Callable
from typing import NamedTuple

from underpass.lab.stage import Stage
from underpass.lab.verdict import Verdict


class Held(NamedTuple):
    """Something that a process holds."""

    about: int
    """Of which object, by its place among all."""
    hold: str
    """In which way: ``lock``, ``lease``, ``loan``, ``registration``, ``call``."""
    process: int
    thread: int | None
    """The task that alone can give it back; None: any of the process."""
    number: int
    """Which of several of this kind."""


Where = Callable[[Held], str]
"""The line at which something was taken: ``jobs.py:12``; empty if it is not known."""

# What is said of each: what was left, how it was come by, and how it is given back.
_TOLD = {
    "lock": ("{} locked", "acquired", "release it on every way out, or hold it in a with block"),
    "lease": (
        "a message of {} leased",
        "taken",
        "end each lease with done() or put_back(), or take it in a with block",
    ),
    "loan": ("a slot of {} lent", "lent", "end each loan with commit() or abandon(), or use it in a with block"),
    "registration": ("itself registered as a putter of {}", "registered", "leave the block of putting()"),
    "call": ("a call at {} unanswered", "received", "reply to each request, also where it fails"),
}


def leaked(stage: Stage, where: Where) -> Verdict | None:
    """Say what is held by those who have come to their end by themselves."""
    if not stage.lab.held(ended=True):
        return None
    _collect(stage)
    left = _left(stage)
    if not left:
        return None
    lines = [_told(stage, held, where) for held in left]
    remedies = dict.fromkeys(_TOLD[held.hold][2] for held in left)
    return Verdict("leak", lines[0], "\n".join([*lines[1:], *remedies]))


def _left(stage: Stage) -> list[Held]:
    return [Held(*held) for held in stage.lab.held(ended=True)]


def _collect(stage: Stage) -> None:
    """Let go of what only garbage still holds, in the name of whose it is: a search does not collect it meanwhile."""
    tasks = enumerate(stage.cast.tasks)
    owner = _left(stage)[0].process
    stage.lab.set_running(next(number for number, task in tasks if task.process.number == owner))
    gc.collect()
    stage.lab.set_running(None)


def _told(stage: Stage, held: Held, where: Where) -> str:
    left, how, _ = _TOLD[held.hold]
    name = next(process.name for process in stage.cast.processes if process.number == held.process)
    line = where(held)
    told = f"{name} ended and left {left.format(stage.title(held.about))}"
    return f"{told}, {how} at {line}" if line else told
