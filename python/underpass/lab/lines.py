"""The slower, finer mode: every line of the program's own code is a scheduling point too.

Its own is what is neither Python's standard library, nor an installed package, nor Underpass. The interpreter tells of lines through
`sys.monitoring` (PEP 669), before Python 3.12 through `sys.settrace`. It tells of none while it runs whoever is told; so the point
itself is made in `sys.call_tracing`, where a switch to another greenlet leaves that one's lines visible.
"""

import functools
import inspect
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Protocol, Self, final

from underpass._core import Lab
from underpass.errors import MisuseError
from underpass.lab.isolation import Isolation
from underpass.lab.program import Cast
from underpass.lab.verdict import Verdict

_UNDERPASS = str(Path(__file__).parent.parent)
_STANDARD = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})
# Whoever types at a prompt, or is a doctest, has no file.
_TYPED = ("<doctest", "<stdin", "<ipython", "<python-input")


@functools.cache
def is_own(file: str) -> bool:
    """Say whether code of that file is the program's own."""
    if file.startswith("<"):
        return file.startswith(_TYPED)
    installed = {"site-packages", "dist-packages"} & set(Path(file).parts)
    return not installed and not file.startswith((_UNDERPASS, *_STANDARD))


def own_frame(frame: FrameType | None) -> FrameType | None:
    """Return the frame, or the nearest one that called it, of the program's own code."""
    while frame is not None and not is_own(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


class Seen(BaseException):
    """What was looked for is found: this process goes no further."""


@final
class Lines:
    """Makes a scheduling point of each line, and looks at what processes would not share."""

    def __init__(self, lab: Lab, cast: Cast, fail: Callable[[Verdict], None]) -> None:
        self._lab, self._cast, self._fail = lab, cast, fail
        self._isolation = Isolation(is_own)
        self._at: dict[int, str] = {}
        told = _Monitored if sys.version_info >= (3, 12) else _Traced
        self._events: _Events = told(self._line, self._returned)

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


# ── who tells of lines ──────────────────────────────────────────────────────────────────────────────────────────────────

_Told = Callable[[FrameType], None]


class _Events(Protocol):
    """Tells of a line before it runs, and of a function when it returns."""

    def __init__(self, line: _Told, returned: _Told) -> None: ...
    def start(self) -> None: ...
    def begin(self) -> None: ...
    def stop(self) -> None: ...


@final
class _Traced:
    """`sys.settrace`. The function is the thread's; whether it is called, greenlet keeps for each greenlet."""

    def __init__(self, line: _Told, returned: _Told) -> None:
        self._line, self._returned = line, returned
        self._before: Any = None
        self._on = False

    def start(self) -> None:
        self._before, self._on = sys.gettrace(), True

    def begin(self) -> None:
        sys.settrace(self._called)

    def stop(self) -> None:
        if self._on:
            self._on = False
            sys.settrace(self._before)

    def _called(self, frame: FrameType, _what: str, _about: object) -> "Callable[[FrameType, str, Any], Any] | None":
        return self._runs if self._on and is_own(frame.f_code.co_filename) else None

    def _runs(self, frame: FrameType, what: str, _about: object) -> "Callable[[FrameType, str, Any], Any] | None":
        if not self._on:
            return None
        if what == "line":
            self._line(frame)
            # After this, Python writes the frame's variables back as it read them before: others may have changed
            # those of a closure meanwhile, so they are read again.
            _ = frame.f_locals
        elif what == "return":
            self._returned(frame)
        return self._runs


def _caller() -> FrameType:
    """Return whose line is told: monitoring names the code, not the frame."""
    told = inspect.currentframe()
    assert told is not None
    assert told.f_back is not None
    assert told.f_back.f_back is not None
    return told.f_back.f_back


@final
class _Monitored:
    """`sys.monitoring`."""

    def __init__(self, line: _Told, returned: _Told) -> None:
        self._line, self._returned = line, returned
        self._tool: int | None = None

    def start(self) -> None:
        monitoring: Any = getattr(sys, "monitoring")  # noqa: B009 - not known to those who check for 3.11
        # Those that no kind of tool is given by convention come first.
        free = [tool for tool in (4, 3, 2, 5, 1, 0) if monitoring.get_tool(tool) is None]
        if not free:
            raise MisuseError(
                "lines=True: all tools of sys.monitoring are in use; leave out a debugger, profiler or coverage"
            )
        self._tool = tool = free[0]
        events, disable = monitoring.events, monitoring.DISABLE

        def line(code: CodeType, _number: int) -> object:
            if not is_own(code.co_filename):
                return disable
            if self._tool is not None:
                self._line(_caller())
            return None

        def returned(code: CodeType, _offset: int, _value: object) -> object:
            if not is_own(code.co_filename):
                return disable
            if self._tool is not None:
                self._returned(_caller())
            return None

        monitoring.use_tool_id(tool, "underpass lab")
        monitoring.register_callback(tool, events.LINE, line)
        monitoring.register_callback(tool, events.PY_RETURN, returned)
        monitoring.set_events(tool, events.LINE | events.PY_RETURN)

    def begin(self) -> None:
        """Monitoring sees all greenlets; who runs, the lab knows."""

    def stop(self) -> None:
        if self._tool is not None:
            tool, self._tool = self._tool, None
            monitoring: Any = getattr(sys, "monitoring")  # noqa: B009
            monitoring.set_events(tool, 0)
            monitoring.register_callback(tool, monitoring.events.LINE, None)
            monitoring.register_callback(tool, monitoring.events.PY_RETURN, None)
            monitoring.free_tool_id(tool)
