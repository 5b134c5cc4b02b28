"""What the lab did, as directions for those who do it again."""

from dataclasses import dataclass
from typing import final

import greenlet

from underpass._core import Lab
from underpass.lab.judge import judge
from underpass.lab.stage import Program, Stage, title
from underpass.lab.verdict import Verdict


@final
@dataclass(frozen=True, slots=True)
class Direction:
    """One choice."""

    what: str
    """``run``, ``expire``, ``spurious``, ``kill``, ``stop``, ``continue``, ``refuse`` or ``pick``."""
    which: int
    """Which task, process, or number; of a refusal, which chance to refuse since the last choice of another kind."""
    count: int
    """Of how many."""
    able: list[int]
    """The tasks that could go on then; of a pick nothing is known."""
    point: str
    """Of a turn: before which point the task stands."""
    about: int | None
    """And of which object."""
    woke: list[int]
    """The tasks that stand where they have woken somebody."""


@final
@dataclass(frozen=True, slots=True)
class Script:
    """A schedule, and how it ended in the lab."""

    directions: list[Direction]
    objects: list[str]
    """What the objects are called, by their place among all."""
    asleep: frozenset[int]
    """The tasks that slept at its end."""
    livelock: bool
    lines: bool
    """Lines of the program are points too."""
    verdict: Verdict | None
    token: str
    untried: str
    """Why it cannot be forced on real processes; empty: it can."""


def _untried(stage: Stage) -> str:
    if stage.awaited:
        return "a process awaits, and the event loops of real processes are not conducted"
    if stage.cast.ordered:
        return "a process kills or stops another, and of real processes the schedule alone does"
    return ""


def write_script(program: Program, token: str, steps: int, *, lines: bool) -> Script:
    """Run the schedule in the lab."""
    lab = Lab.replay(token, steps=steps)
    asleep: frozenset[int] = frozenset()
    livelock = False

    def look(stage: Stage, end: str) -> Verdict | None:
        nonlocal asleep, livelock
        asleep, livelock = frozenset(task for task, _ in stage.lab.sleepers), end == "livelock"
        return judge(stage, end)

    lab.begin(greenlet.getcurrent().switch)
    stage = Stage(lab, program, lines=lines)
    verdict = stage.run(look)
    directions = [Direction(*direction) for direction in lab.script]
    objects = [title(kind, file) for kind, file in lab.objects]
    return Script(directions, objects, asleep, livelock, lines, verdict, lab.token, _untried(stage))
