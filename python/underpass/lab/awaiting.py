"""Simulated processes that await: which event loop runs in which of them, and what their tasks wait for.

What asyncio and the interpreter keep for each thread of the system, the running loop, its task and the hooks of asynchronous generators,
is kept here for each simulated one: whoever goes on finds what it left.
"""

# ruff: noqa: SLF001 - what asyncio has for those who make loops, and the aio layer for its own, is named like this

import asyncio
import gc
import linecache
import re
import sys
import warnings
from asyncio import events
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, TypeVar, final

import greenlet

from underpass._core import Lab
from underpass.lab.event_loop import EventLoop
from underpass.lab.line_events import is_own
from underpass.lab.verdict import Verdict
from underpass.waiting import WaitSet

T = TypeVar("T")

# Since then the running task is kept for each thread, and not for each loop.
_TASKS_OF_THREADS = sys.version_info >= (3, 14)


class Kept(NamedTuple):
    """What a simulated thread left when another went on."""

    loop: Any
    task: Any
    hooks: Any


class Await(NamedTuple):
    """A task that waits."""

    task: str
    """The name it was given, or that of its coroutine."""
    about: Any
    """The object, or the part of one; None: it waits for another task, or for a time."""
    frame: FrameType | None
    """Where the program awaits."""

    @property
    def where(self) -> str:
        """The line: ``jobs.py:12``."""
        return f"{Path(self.frame.f_code.co_filename).name}:{self.frame.f_lineno}" if self.frame is not None else ""

    @property
    def source(self) -> str:
        """What stands there."""
        if self.frame is None:
            return ""
        return linecache.getline(self.frame.f_code.co_filename, self.frame.f_lineno).strip()

    @property
    def told(self) -> str:
        """In words: ``fetch() awaits <Queue 'jobs', 0 of 64 queued> at jobs.py:12: job = await jobs.get()``."""
        what = "a task or a time" if self.about is None else _described(self.about)
        line = f" at {self.where}: {self.source}" if self.where else ""
        return f"{self.task}() awaits {what}{line}"


def _described(what: Any) -> str:
    if not isinstance(what, WaitSet):
        return str(what)
    members = what._members
    return _described(members[0]) if len(members) == 1 else f"any of {', '.join(map(_described, members))}"


@final
class Loops:
    """The event loops of a schedule. From the first one on, who goes on is told here."""

    def __init__(self, lab: Lab, name: Callable[[int], str], fail: Callable[[Verdict], object]) -> None:
        self._lab, self._name, self._fail = lab, name, fail
        #: Is told which thread's task is cancelled, where somebody looks on.
        self.cancelled: Callable[[int, Await], object] | None = None
        self._kept: dict[greenlet.greenlet, Kept] = {}
        self._running: dict[int | None, EventLoop] = {}
        self._over: bool = False
        self._left: bool = False
        self._traced = greenlet.gettrace()
        greenlet.settrace(self._switched)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine as `asyncio.run` does, in the simulated thread that calls."""
        number = self._lab.running
        loop = EventLoop(
            self._lab, lambda: self._over, partial(self._told, number), partial(self._tell_cancelled, number)
        )
        # Not its `run`, which would take Ctrl-C for one of the processes.
        runner = asyncio.Runner(loop_factory=lambda: loop)
        self._running[number] = loop
        try:
            try:
                return runner.get_loop().run_until_complete(coroutine)
            finally:
                if not loop.dead:
                    runner.close()
        finally:
            del self._running[number]
            self._left = self._left or loop.dead
            loop.abandon()
            # It may never have become a task.
            coroutine.close()

    @contextmanager
    def unwinding(self) -> Generator[None]:
        """Let what is left end: nothing of it is told."""
        self._over = True
        try:
            with warnings.catch_warnings():
                # What a process was about to await when it was killed.
                warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
                yield
                if self._left:
                    # What ended a task holds on to its frames, and they to what it was about to await.
                    gc.collect()
        finally:
            greenlet.settrace(self._traced)
            self._kept.clear()

    def runs(self, number: int) -> bool:
        """Say whether an event loop runs in a simulated thread."""
        return number in self._running

    def awaits(self, number: int) -> list[Await]:
        """Return what the tasks of a simulated thread wait for, whose loop sleeps; nothing: it has none that does."""
        loop = self._running.get(number)
        if loop is None or not loop.sleep.asleep:
            return []
        return [_await(loop, task) for task in loop.awaiting()]

    def _tell_cancelled(self, number: int | None, loop: EventLoop, task: asyncio.Task[Any]) -> None:
        if self.cancelled is not None and number is not None:
            self.cancelled(number, _await(loop, task))

    def _told(self, number: int | None, context: dict[str, Any]) -> None:
        error = context.get("exception")
        who = "program" if number is None else self._name(number)
        if isinstance(error, BaseException):
            self._fail(Verdict.raised(who, error))
        else:
            self._fail(Verdict("exception", f"{who}: {context['message']}"))

    def _switched(self, _how: str, ends: tuple[greenlet.greenlet, greenlet.greenlet]) -> None:
        before, now = ends
        loop = events._get_running_loop()
        if loop is not None:
            task = _swap_task(loop, None)
            self._kept[before] = Kept(loop, task, sys.get_asyncgen_hooks())
            events._set_running_loop(None)
            sys.set_asyncgen_hooks(None, None)
        kept = self._kept.pop(now, None)
        if kept is not None:
            events._set_running_loop(kept.loop)
            _swap_task(kept.loop, kept.task)
            sys.set_asyncgen_hooks(*kept.hooks)


def _swap_task(loop: Any, task: Any) -> Any:
    tasks: Any = asyncio.tasks
    return tasks._swap_current_task(loop, task) if _TASKS_OF_THREADS else None


def _await(loop: EventLoop, task: asyncio.Task[Any]) -> Await:
    return Await(_called(task), _awaited(loop, task), _place(task))


def _called(task: asyncio.Task[Any]) -> str:
    name: str = task.get_name()
    if re.fullmatch(r"Task-\d+", name):
        coroutine: Any = task.get_coro()
        name = str(getattr(coroutine, "__qualname__", coroutine))
    return name.rpartition("<locals>.")[2]


def _awaited(loop: EventLoop, task: asyncio.Task[Any]) -> Any:
    """Return what a task waits for, as the reactor of its loop knows it."""
    reactor, future = loop.sleep.reactor, getattr(task, "_fut_waiter", None)
    if reactor is None:
        return None
    known: Any = reactor
    lines = [line.sleepers for line in known._lines.values()]
    lines += [dict.fromkeys(seat._line.sleepers, seat._mutex) for seat in known.seats.values()]
    asleep = (about for line in lines for sleeper, about in line.items() if getattr(sleeper, "_future", None) is future)
    return next(asleep, None)


def _place(task: asyncio.Task[Any]) -> FrameType | None:
    """Return the innermost frame of the program's own code, of those that wait for each other in a task."""
    ahead: Any = task.get_coro()
    place: FrameType | None = None
    while ahead is not None:
        frame = getattr(ahead, "cr_frame", None) or getattr(ahead, "gi_frame", None) or getattr(ahead, "ag_frame", None)
        if frame is not None and is_own(frame.f_code.co_filename):
            place = frame
        ahead = getattr(ahead, "cr_await", None) or getattr(ahead, "gi_yieldfrom", None)
    return place
