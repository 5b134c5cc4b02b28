"""Where the two processes of a measurement run."""

from __future__ import annotations

import contextlib
import enum
import os
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path


class Placement(enum.StrEnum):
    """Client and server: free, on a CPU each, on one CPU, or on a CPU each with the server asleep at every start."""

    UNPINNED = "unpinned"
    TWO_CPUS = "two CPUs"
    ONE_CPU = "one CPU"
    ASLEEP = "asleep on the other CPU"


class UnavailableError(Exception):
    """What a measurement needs is not here: the message is the reason, one line."""


@dataclass(frozen=True, slots=True)
class Seats:
    """The CPUs of a measurement's two processes; None leaves a process where the scheduler puts it."""

    client: int | None
    server: int | None
    asleep: bool = False


def seats(placement: Placement) -> Seats:
    """Choose CPUs among those that this process may use.

    Raises:
        UnavailableError: The placement needs two CPUs and there is one.
    """
    if placement is Placement.UNPINNED:
        return Seats(None, None)
    first, *others = _cpus_by_core()
    if placement is Placement.ONE_CPU:
        return Seats(first, first)
    if not others:
        raise UnavailableError("this process may use one CPU only")
    return Seats(first, others[0], asleep=placement is Placement.ASLEEP)


def pin(cpu: int | None) -> None:
    """Bind the calling thread to a CPU."""
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})


@contextlib.contextmanager
def pinned(cpu: int | None) -> Generator[None]:
    """Bind the calling thread to a CPU for the length of a block."""
    before = os.sched_getaffinity(0)
    pin(cpu)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _cpus_by_core() -> list[int]:
    """The usable CPUs, one of each core first: two threads of one core slow each other down."""
    firsts: list[int] = []
    siblings: list[int] = []
    cores: set[str] = set()
    for cpu in sorted(os.sched_getaffinity(0)):
        core = _core_of(cpu)
        (siblings if core in cores else firsts).append(cpu)
        cores.add(core)
    return firsts + siblings


def _core_of(cpu: int) -> str:
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text(encoding="ascii")
    except OSError:
        return str(cpu)
