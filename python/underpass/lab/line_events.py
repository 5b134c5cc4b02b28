"""Who tells of the lines of the program's own code, before they run.

Its own is what is neither Python's standard library, nor an installed package, nor Underpass. The interpreter tells of lines through
`sys.monitoring` (PEP 669), before Python 3.12 through `sys.settrace`.
"""

import functools
import inspect
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Protocol, final

from underpass.errors import MisuseError

_Told = Callable[[FrameType], None]

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


class LineEvents(Protocol):
    """Tells of a line before it runs, and of a function when it returns."""

    def start(self) -> None:
        """Make ready to tell."""

    def begin(self) -> None:
        """Tell of the lines of the greenlet that calls."""

    def stop(self) -> None:
        """Tell no more."""


def line_events(line: _Told, returned: _Told) -> LineEvents:
    """Return what this interpreter has, to tell ``line`` before a line runs, and ``returned`` when a function does."""
    return (_Monitored if sys.version_info >= (3, 12) else _Traced)(line, returned)


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
            monitoring: Any = getattr(sys, "monitoring")  # noqa: B009 - as above
            monitoring.set_events(tool, 0)
            monitoring.register_callback(tool, monitoring.events.LINE, None)
            monitoring.register_callback(tool, monitoring.events.PY_RETURN, None)
            monitoring.free_tool_id(tool)
