"""The oracle of leaks: what processes that have come to their end still hold.

Whoever was killed leaves things behind, and the library gives them to survivors; whoever returns has to give back what it took.
"""

import gc
from collections.abc import Callable, Sequence
from typing import NamedTuple

from underpass.lab.stage import Stage
from underpass.lab.verdict import Verdict


class Held(NamedTuple):
    """Something that a process holds."""

    about: int
    """Of which object, by its place among all."""
    hold: str
    """In which way: ``lock``, ``reading``, ``unit``, ``lease``, ``loan``, ``registration``, ``call``."""
    process: int
    thread: int | None
    """The task that alone can give it back; None: any of the process."""
    number: int
    """Which of several of this kind."""


class Left(NamedTuple):
    """The same, as it is told."""

    name: str
    """Who left it."""
    hold: str
    title: str
    """What the object is called."""
    line: str
    """Where it was taken; empty if that is not known."""


Where = Callable[[Held], str]
"""The line at which something was taken: ``jobs.py:12``; empty if it is not known."""

# What is said of each: what was left, how it was come by, and how it is given back.
_TOLD = {
    "lock": ("{} locked", "acquired", "release it on every way out, or hold it in a with block"),
    "reading": ("itself a reader of {}", "entered", "leave each block of reading()"),
    "unit": ("a unit of {} acquired", "acquired", "release each unit on every way out, or hold it in a with block"),
    "lease": (
        "a message of {} leased",
        "taken",
        "end each lease with done() or put_back(), or take it in a with block",
    ),
    "block": ("a block of {} taken", "taken", "release each block, hand it on, or use it in a with block"),
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
    names = {process.number: process.name for process in stage.cast.processes}
    return tell([Left(names[held.process], held.hold, stage.title(held.about), where(held)) for held in left])


def tell(left: Sequence[Left]) -> Verdict:
    """Say what was left, the first one first, and how it is given back."""
    lines = [_told(one) for one in left]
    remedies = dict.fromkeys(_TOLD[one.hold][2] for one in left)
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


def _told(left: Left) -> str:
    what, how, _ = _TOLD[left.hold]
    told = f"{left.name} ended and left {what.format(left.title)}"
    return f"{told}, {how} at {left.line}" if left.line else told
