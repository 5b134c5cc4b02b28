"""The slower, finer mode: every line of the program's own code is a scheduling point too.

The interpreter tells of none while it runs whoever is told; so the point itself is made in `sys.call_tracing`, where a switch to
another greenlet leaves that one's lines visible.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Self, final

from underpass._core import Lab
from underpass.lab.isolation import Isolation
from underpass.lab.line_events import LineEvents, is_own, line_events, own_frame
from underpass.lab.program import Cast
from underpass.lab.verdict import Verdict


class Seen(BaseException):
    """What was looked for is found: this process goes no further."""


@final
class Lines:
    """Makes a scheduling point of each line, and looks at what processes would not share."""

    def __init__(self, lab: Lab, cast: Cast, fail: Callable[[Verdict], None]) -> None:
        self._lab, self._cast, self._fail = lab, cast, fail
        self._isolation = Isolation(is_own)
        self._at: dict[int, str] = {}
        self._events: LineEvents = line_events(self._line, self._returned)

    def __enter__(self) -> Self:
        self._events.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._events.stop()
        self._isolation.restore()

    def begin(self, function: Callable[..., object]) -> None:
        """Have the lines of the calling greenlet told, which is about to call a process's function."""
        self._isolation.begin(function)
        self._events.begin()

    def stop(self) -> None:
        """Have no more lines told: what is left unwinds."""
        self._events.stop()

    def look(self, task: int) -> None:
        """Note what has changed since somebody last came to a scheduling point: this task's doing, since nobody else ran."""
        self._isolation.changed(self._cast.tasks[task].process, self._at.get(task, ""))

    def forgive(self) -> None:
        """Take what has changed since the last look as nobody's doing."""
        self._isolation.changed(None, "")

    def _line(self, frame: FrameType) -> None:
        # Checks run as nobody.
        task = self._lab.running
        if task is None:
            return
        sys.call_tracing(self._lab.line, ())
        # Only now is it sure that nobody else runs before the line does.
        self._at[task] = _place(frame)
        verdict = self._isolation.read(self._cast.tasks[task].process, frame, self._at[task])
        if verdict is not None:
            self._fail(verdict)
            raise Seen

    def _returned(self, frame: FrameType) -> None:
        task, caller = self._lab.running, own_frame(frame.f_back)
        if task is not None and caller is not None:
            self._at[task] = _place(caller)


def _place(frame: FrameType) -> str:
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
