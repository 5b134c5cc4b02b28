"""What happened in one schedule that broke a program: what every report of it is made from.

A `Trace` is plain values, so it can be kept, sent and compared: the text, the page and the JSON of a failure are three views of
one trace.
"""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["VERSION", "WORLD", "Happening", "Moment", "Trace", "Wait"]

VERSION = 1
"""Of the JSON form: it grows when a field changes its meaning or goes, not when one is added."""

WORLD = -1
"""The column of what no process does: it spans them all."""

Happening = Literal[
    "runs",
    "returns",
    "raises",
    "sleeps",
    "wakes",
    "is woken",
    "times out",
    "wakes without cause",
    "dies",
    "is stopped",
    "goes on",
    "is refused",
    "is cancelled",
    "chooses",
    "ends",
]
"""What a process does, or what is done to it."""


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened, in the order in which it did.

    Attributes:
        number: Which choice of the schedule it belongs to; a choice may have several moments.
        process: Whose: an index into the trace's columns, or `WORLD`.
        thread: Which thread of the process; empty for its first.
        what: What happened.
        where: The line of the program: ``jobs.py:12``; empty if there is none.
        source: That line's text, without its indentation.
        call: The library's operation: ``Queue.put``; empty outside of any.
        object: What it acts on: ``mutex 'door'``.
        value: The result, the argument or the error, short; of a cancellation, the coroutine.
        partner: The column of the other one: whom it wakes, who woke it.
        holders: Who holds the object, when a process goes to sleep for it.
        state: What this moment changed: an object, and what can be said of it from now on.
        preempts: Who ran before could have gone on.
    """

    number: int
    process: int
    what: Happening
    thread: str = ""
    where: str = ""
    source: str = ""
    call: str = ""
    object: str = ""
    value: str = ""
    partner: int | None = None
    holders: tuple[str, ...] = ()
    state: tuple[tuple[str, str], ...] = ()
    preempts: bool = False


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who still waits at the end.

    Attributes:
        who: The process's name.
        object: What it waits for.
        operation: The call it sleeps in: ``Mutex.acquire``.
        since: The number of the moment at which it went to sleep.
        where: The line of the program.
        holders: Who would have to act, by name; empty if nobody in particular.
        cycle: It waits for one who, over others perhaps, waits for it.
        task: Which of the process's coroutines waits; empty for a thread that blocks.
    """

    who: str
    object: str
    operation: str
    since: int
    where: str = ""
    holders: tuple[str, ...] = ()
    cycle: bool = False
    task: str = ""


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule that breaks a program, and how to see it again.

    Attributes:
        version: Of the JSON form.
        title: The program's name.
        kind: What went wrong: ``deadlock``, ``lost wake-up``, ``assertion``, …
        summary: The same in one sentence.
        columns: The processes' names.
        moments: What happened.
        waits: Who waits for whom at the end.
        details: What does not fit a sentence: the traceback of an exception, a history that no order explains.
        reason: The one choice in which the nearest schedule that passes differs; empty if none is known.
        token: What replays the schedule.
        how: Command lines that do.
        schedules: How many were run until this one was found.
        seed: Of the search.
        budgets: What the search was allowed: ``≤ 2 preemptions, ≤ 1 kill``.
    """

    version: int = VERSION
    title: str
    kind: str
    summary: str
    columns: tuple[str, ...]
    moments: tuple[Moment, ...]
    waits: tuple[Wait, ...] = ()
    details: str = ""
    reason: str = ""
    token: str = ""
    how: tuple[str, ...] = ()
    schedules: int = 0
    seed: int = 0
    budgets: str = ""
