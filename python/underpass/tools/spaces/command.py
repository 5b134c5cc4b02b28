"""The commands ``ls``, ``waits`` and ``sweep``: they look at a space, and take no part in it."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ParamSpec

from underpass.errors import UnderpassError
from underpass.memory import ObjectInfo, Space
from underpass.tools.broken_pipe import leave_quietly
from underpass.tools.spaces.columns import age, show, size
from underpass.waiting import Holder, Waiter

__all__ = ["list_objects", "show_waits", "sweep"]

_FAILED = 2
_STUCK = 1
_STATES = {"orphaned": "yellow", "corrupted": "bold red"}
_MARKS = {"cycle": "bold red"}

P = ParamSpec("P")


def _guarded(name: str) -> Callable[[Callable[P, int]], Callable[P, int]]:
    """Say what went wrong in one line, and exit with 2."""

    def guard(command: Callable[P, int]) -> Callable[P, int]:
        @functools.wraps(command)
        def run(*args: P.args, **kwargs: P.kwargs) -> int:
            try:
                return command(*args, **kwargs)
            except BrokenPipeError:
                leave_quietly()
            except (UnderpassError, OSError) as error:
                print(f"underpass {name}: {error}", file=sys.stderr)
                return _FAILED

        return run

    return guard


@_guarded("ls")
def list_objects(path: Path | None, *, as_json: bool) -> int:
    """Print the objects of a space: name, kind, size, creator, who has it mapped, state.

    Returns:
        0; 2 if there is no space, or it cannot be read.
    """
    space = Space.look(path)
    infos = list(space)
    if as_json:
        _print_json(space, objects=[_object(info) for info in infos])
        return 0
    total = sum(info.size for info in infos)
    print(f"{space.path}: {_count(len(infos), 'object')}" + (f", {size(total)}" if infos else ": it is empty"))
    if infos:
        rows = [_row(info) for info in infos]
        show(["NAME", "KIND", "SIZE", "CREATOR", "ATTACHED", "STATE"], rows, right="SIZE", colours=_STATES)
    return 0


@_guarded("waits")
def show_waits(path: Path | None, *, as_json: bool) -> int:
    """Print who waits in a space: thread or task, object, operation, since when, who holds it, and which wait in a circle.

    Returns:
        0; 1 if some wait for each other in a circle; 2 if there is no space, or it cannot be read.
    """
    space = Space.look(path)
    waiters = space.waits()
    cycles = {waiter.cycle for waiter in waiters if waiter.cycle is not None}
    if as_json:
        _print_json(space, waits=[_waiter(waiter) for waiter in waiters], cycles=len(cycles))
        return _STUCK if cycles else 0
    print(f"{space.path}: {_how_many(waiters)}")
    if waiters:
        tasks = any(waiter.task is not None or waiter.more for waiter in waiters)
        headings = ["PID", "TID", *["TASK"] * tasks, "WAITS FOR", "IN", "WAITED", "HELD BY", *["CYCLE"] * bool(cycles)]
        rows = [_wait_row(waiter, tasks=tasks, cycles=bool(cycles)) for waiter in waiters]
        show(headings, rows, right="WAITED", colours=_MARKS)
    for number in sorted(cycles):
        print(f"cycle {number}: " + _circle([waiter for waiter in waiters if waiter.cycle == number]))
    return _STUCK if cycles else 0


@_guarded("sweep")
def sweep(path: Path | None, *, as_json: bool) -> int:
    """Remove what the dead left in a space, and say what and why.

    Returns:
        0; 2 if there is no space, or it cannot be changed.
    """
    space = Space.look(path)
    infos = {info.file: info for info in space}
    removed = [(file, infos.get(file)) for file in space.sweep()]
    left = [info for info in infos.values() if info.name is not None and info.state == "orphaned"]
    if as_json:
        gone = [{"file": file, "why": _why(info), **({} if info is None else _object(info))} for file, info in removed]
        _print_json(space, removed=gone, kept=[_object(info) for info in left])
        return 0
    total = sum(info.size for _, info in removed if info is not None)
    said = f"{_count(len(removed), 'object')} removed, {size(total)}" if removed else "the dead left nothing"
    print(f"{space.path}: {said}")
    for file, info in removed:
        print(f"removed {file}" + ("" if info is None else f" ({info.kind}, {size(info.size)})") + f": {_why(info)}")
    for info in left:
        print(
            f"kept {info.name} ({info.kind}): its creator, pid {info.creator}, is dead, but named objects stay until unlink"
        )
    return 0


def _why(info: ObjectInfo | None) -> str:
    """Say why an anonymous object was removed."""
    creator = "" if info is None or not info.creator else f", pid {info.creator},"
    return f"its creator{creator} is dead, and it has no name"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _row(info: ObjectInfo) -> list[str]:
    attached = " ".join(map(str, info.attached)) or "-"
    creator = str(info.creator) if info.creator else "-"
    return [info.name or info.file, info.kind, size(info.size), creator, attached, info.state]


def _how_many(waiters: Sequence[Waiter]) -> str:
    tasks = sum(waiter.more or int(waiter.task is not None) for waiter in waiters)
    threads = sum(waiter.task is None and not waiter.more for waiter in waiters)
    counts = [_count(threads, "thread")] * bool(threads) + [_count(tasks, "task")] * bool(tasks)
    return " and ".join(counts) + " waiting" if counts else "nobody waits"


def _task(waiter: Waiter) -> str:
    if waiter.more:
        return f"{waiter.more} more"
    line = "" if waiter.line is None else f" ({waiter.line})"
    return "-" if waiter.task is None else f"{waiter.task}{line}"


def _title(waiter: Waiter) -> str:
    if waiter.more:
        return "-"
    objects = waiter.members or [(waiter.kind, waiter.name, waiter.file)]
    return ", ".join(
        f"{kind} {file or '(removed)'}" if name is None else f"{kind} '{name}'" for kind, name, file in objects
    )


def _holder(holder: Holder) -> str:
    thread = "" if holder.tid is None else f" thread {holder.tid}"
    line = "" if holder.line is None else f" ({holder.line})"
    return f"pid {holder.pid}{thread}{line}" + ("" if holder.held_for is None else f" for {age(holder.held_for)}")


def _wait_row(waiter: Waiter, *, tasks: bool, cycles: bool) -> list[str]:
    holders = ", ".join(map(_holder, waiter.holders)) or "-"
    mark = [] if not cycles else ["" if waiter.cycle is None else f"cycle {waiter.cycle}"]
    who = [str(waiter.pid), str(waiter.tid), *[_task(waiter)] * tasks]
    return [*who, _title(waiter), waiter.operation, age(waiter.waited_for), holders, *mark]


def _circle(waiters: Sequence[Waiter]) -> str:
    """Say who waits for whom in it."""
    pids = {waiter.pid for waiter in waiters}
    links = (
        f"pid {waiter.pid} in {waiter.operation} of {_title(waiter)}, held by "
        + ", ".join(sorted({f"pid {holder.pid}" for holder in waiter.holders if holder.pid in pids}))
        for waiter in waiters
    )
    return "; ".join(links)


def _object(info: ObjectInfo) -> dict[str, object]:
    return {field: getattr(info, field) for field in ("name", "file", "kind", "size", "creator", "attached", "state")}


def _waiter(waiter: Waiter) -> dict[str, object]:
    fields = ("pid", "tid", "task", "line", "more", "name", "file", "kind", "operation", "waited_for", "cycle")
    holders = [
        {field: getattr(holder, field) for field in ("pid", "tid", "held_for", "line")} for holder in waiter.holders
    ]
    members = [{"kind": kind, "name": name, "file": file} for kind, name, file in waiter.members]
    return {**{field: getattr(waiter, field) for field in fields}, "members": members, "holders": holders}


def _print_json(space: Space, **content: object) -> None:
    print(json.dumps({"space": space.path, **content}, indent=2))
