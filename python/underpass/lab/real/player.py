"""The side of a real process: it asks the conductor before every point, and does what it does."""

import gc
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from ctypes import CDLL
from functools import partial
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any, NoReturn, final

from underpass import _core
from underpass.errors import MisuseError
from underpass.lab.history import Operation, Raised, Recording
from underpass.lab.history import Task as Caller
from underpass.lab.line_events import LineEvents, line_events
from underpass.lab.program import Task
from underpass.lab.verdict import Verdict

Channel = Connection
"""Messages ``(what, ...)`` to the conductor, and answers ``(number, time)``; one for each task."""

NUDGE = signal.SIGURG
"""Ends a sleep without a cause. Nobody uses it, and whoever does not handle it ignores it."""

PR_SET_PDEATHSIG = 1

SLEEPS = frozenset({"sleep", "listen"})
"""What is said before a sleep: on words, and for a name. Nobody answers, and what follows it is the point after the sleep."""


class _Here(threading.local):
    task: int | None = None
    channel: "Channel[Any, Any] | None" = None


here: _Here = _Here()


def gate(point: str, about: int | None, detail: int) -> int:
    """Come to a point: the native side asks this, and goes on when it returns."""
    channel = here.channel
    if channel is None:
        if point == "park":
            raise MisuseError("it would sleep for ever: what sets a program up and what looks at its end run alone")
        return 0
    channel.send((point, about, detail, threading.get_native_id()))
    return 0 if point in SLEEPS else _answer(channel)


@final
class Clock:
    """The schedule's time, as this process heard it last; the native side computes deadlines by it."""

    _now = 1_000_000_000  # as in the lab

    @property
    def now(self) -> int:
        """Nanoseconds."""
        return self._now

    @now.setter
    def now(self, now: int) -> None:
        self._now = now
        _core.set_conducted_time(now)


clock: Clock = Clock()


def ask(*question: object) -> int:
    """Ask the conductor for what is no point."""
    channel = here.channel
    assert channel is not None, "only the program's processes ask"
    channel.send(question)
    return _answer(channel)


def _answer(channel: "Channel[Any, Any]") -> int:
    answer, clock.now = channel.recv()
    return answer


def play(tasks: "list[tuple[int, Task, Channel[Any, Any]]]", host: int, *, lines: bool) -> NoReturn:
    """Be one process of the program: run its tasks, each when it is let, and exit; with ``lines`` their lines are points."""
    status = 1
    told = line_events(_line, _returned) if lines else None
    try:
        CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != host:
            os._exit(1)
        _relay()
        if told is not None:
            told.start()
        if len(tasks) == 1:
            _act(*tasks[0], told)
        else:
            # The life of a thread ends with it: the first one is none of the program's, since it stays.
            threads = [threading.Thread(target=_act, args=(*task, told)) for task in tasks]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        status = 0
    except BaseException:  # noqa: BLE001 - nothing may leave a forked process
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _act(number: int, task: Task, channel: "Channel[Any, Any]", lines: LineEvents | None) -> None:
    here.task, here.channel = number, channel
    verdict = None
    # Before anybody ends, so that no two have the same place one after the other.
    _core.claim_life()
    try:
        gate("start", None, 0)
        if lines is not None:
            lines.begin()
        _run(task)
    except BaseException as error:  # noqa: BLE001 - told as the failure that it is
        verdict = Verdict.raised(task.process.name, error)
    here.channel = None
    # What only garbage still holds is no leak, as in the lab.
    gc.collect()
    calls = [about for about, hold, pid, _, _ in _core.conducted_held() if hold == "call" and pid == os.getpid()]
    channel.send(("end", verdict, calls))


def _run(task: Task) -> None:
    # Its frame is gone, and what it held on to with it, before the end is told.
    task.function(*task.args, **task.kwargs)


def _line(_frame: FrameType) -> None:
    """Come to the point before a line of the program."""
    gate("line", None, 0)


def _returned(_frame: FrameType) -> None:
    """Nothing is told of it."""


# ── histories ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _relay() -> None:
    """Have what is recorded in this process noted by the host, in the order in which all do it."""
    for number, history in enumerate(Recording.current()):
        calls: dict[str, Callable[..., object]] = {"call": partial(_call, number), "end": partial(_end, number)}
        vars(history).update(calls)


def _call(history: int, name: str, arguments: tuple[object, ...], options: Mapping[str, object]) -> Operation:
    if here.channel is not None:
        ask("call", history, name, arguments, dict(options))
    return Operation(Caller(-1, -1, ""), name, arguments, options, 0)


def _end(history: int, _operation: Operation, outcome: object) -> None:
    if here.channel is not None:
        ask("answer", history, _portable(outcome))


def _portable(outcome: object) -> object:
    try:
        pickle.dumps(outcome)
    except Exception:  # noqa: BLE001 - whatever its own methods raise
        return Raised(outcome.error.with_traceback(None)) if isinstance(outcome, Raised) else repr(outcome)
    return outcome
