"""A schedule step by step in pdb: it stops wherever the lab chooses, at the line of the process that is about to go on.

What lines are to pdb elsewhere, scheduling points are here: `step` goes on to the next one, `next` to the next of the same process,
`continue` to a breakpoint or to the end. Who is looked at stands still, perhaps in a greenlet of its own; expressions are evaluated in
its frame, as nobody's doing.
"""

import inspect
import pdb  # noqa: T100 - it is what this is for
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import FrameType
from typing import final

from underpass._core import Lab
from underpass.lab.coverage import Report
from underpass.lab.exploration import Commands, repeat, run
from underpass.lab.failure import Failure
from underpass.lab.judge import judge
from underpass.lab.line_events import own_frame
from underpass.lab.settings import Settings
from underpass.lab.stage import Program, Stage
from underpass.lab.tracing import Place, here

_STANDS_BEFORE = {
    "operation": "is about to call",
    "park": "is about to sleep in",
    "awake": "goes on after its sleep in",
    "wake": "is about to wake others in",
    "line": "is about to run this line",
}
_FATES = {"kill": "dies", "stop": "is stopped", "continue": "is continued"}
_ALARMS = {"expire": "times out", "spurious": "wakes without cause"}


def step(
    program: Program,
    settings: Settings,
    token: str | None = None,
    terminal: Callable[[], AbstractContextManager[object]] = nullcontext,
    commands: Commands | None = None,
) -> Report | None:
    """Go through the schedule of a token in pdb, or through that of the first failure that is found.

    Returns:
        What was covered, if nothing was found; None: the token's schedule passes.

    Raises:
        Failure: It fails, as it did.
        ValueError: The token is not one.
    """
    __tracebackhide__ = True
    found = None
    if token is None:
        try:
            return run(program, settings, commands)
        except Failure as failure:
            found, token = failure, failure.token
    # What comes next is known from a run before.
    known = _replay(program, token, settings).lab.choices
    with terminal():
        _replay(program, token, settings, known)
    if found is not None:
        raise found
    repeat(program, token, settings, commands)
    return None


def _replay(
    program: Program, token: str, settings: Settings, choices: list[tuple[str, int, int, bool]] | None = None
) -> Stage:
    lab = Lab.replay(token, steps=settings.steps)
    stage = Stage(lab, program, lines=settings.lines)
    if choices is not None:
        stage.watch = _Stepper(stage, choices).watch
    stage.replay(judge)
    return stage


@final
class _Stepper(pdb.Pdb):
    """Stops at the scheduling points of a schedule whose choices are known."""

    def __init__(self, stage: Stage, choices: list[tuple[str, int, int, bool]]) -> None:
        super().__init__(nosigint=True)
        self._stage, self._choices = stage, choices
        self._frames: dict[int, FrameType] = {}
        self._places: dict[int, Place] = {}
        self._task = 0
        self._told = 0
        self._only: int | None = None
        self.reset()
        self.message(f"{len(choices)} steps: step (s) to the next, next (n) to the next of the same process, quit (q)")

    def watch(self, task: int, point: str, about: int | None) -> None:
        """Note that a task has come to a scheduling point, and stop where the next one goes on from there."""
        lab = self._stage.lab
        frame = own_frame(inspect.currentframe())
        if point == "end" or frame is None:
            self._frames.pop(task, None)
        else:
            self._frames[task] = frame
        self._places[task] = here(self._stage, task, point, about)
        for number in range(self._told, len(self._choices)):
            what, which, *_ = self._choices[number]
            if what == "run" and number >= lab.steps:
                self._told = number
                self._goes_on(number, which)
                return
            if what != "run":
                self._tell(number, self._befalls(number, what, which))
        self._told = len(self._choices)

    def _goes_on(self, number: int, task: int) -> None:
        frame = self._frames.get(task)
        if frame is None or self.quitting or not self._stops(task, frame):
            return
        self._task, self._only = task, None
        # Below it are the lab's own frames.
        self.botframe = _outermost(frame)
        self._tell(number, f"{self._stage.name(task)} {self._stands(self._places[task])}")
        self.user_line(frame)

    def _stops(self, task: int, frame: FrameType) -> bool:
        if self.break_here(frame):
            return True
        if self._only is not None and self._only in self._frames and self._stage.lab.is_left(self._only):
            return task == self._only
        return self.stop_here(frame)

    def _tell(self, number: int, what: str) -> None:
        if not self.quitting:
            self.message(f"── step {number}: {what}")

    def _befalls(self, number: int, what: str, which: int) -> str:
        if what in _ALARMS:
            return f"{self._stage.name(which)} {_ALARMS[what]}"
        if what in _FATES:
            return f"{self._stage.cast.processes[which].name} {_FATES[what]}"
        if what == "refuse":
            # It falls into the step of whoever went on last.
            runs = [task for choice, task, *_ in self._choices[:number] if choice == "run"]
            return f"{self._stage.name(runs[-1])} finds no room"
        return f"the program chooses {which}"

    def _stands(self, place: Place) -> str:
        if place.point == "line":
            return _STANDS_BEFORE["line"]
        about = f" of {self._stage.title(place.about)}" if place.about is not None else ""
        return f"{_STANDS_BEFORE.get(place.point, place.point)} {place.call or 'the library'}{about}"

    # ── what bdb does with the interpreter's tracing ────────────────────────────────────────────────────────────────────

    def set_step(self) -> None:
        """Stop at the next scheduling point."""
        self._only = None
        super().set_step()

    def set_next(self, frame: FrameType) -> None:  # noqa: ARG002 - of pdb
        """Stop at the next scheduling point of the same process, while it lives."""
        super().set_step()
        self._only = self._task

    def set_continue(self) -> None:
        """Stop at breakpoints only."""
        self._only = None
        self.stopframe, self.returnframe, self.stoplineno = self.botframe, None, -1

    def set_quit(self) -> None:
        """Stop nowhere: the rest of the schedule runs."""
        self.quitting = True


def _outermost(frame: FrameType) -> FrameType:
    """Return the first frame of the program's own on the way to this one."""
    first = frame
    while (before := own_frame(first.f_back)) is not None:
        first = before
    return first
