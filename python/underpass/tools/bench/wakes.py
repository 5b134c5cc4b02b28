"""From a wake to the sleeper that runs: one way, by the one clock of the machine."""

from __future__ import annotations

import contextlib
import functools
import mmap
import multiprocessing
import os
import struct
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing.synchronize import Event as ProcessEvent
from typing import Any

from underpass import Notification, Semaphore, WaitSet
from underpass.tools.bench.measure import Contestant, Sampler
from underpass.tools.bench.partners import PATIENCE, SleepWatch, partner
from underpass.tools.bench.placement import Seats, UnavailableError

EVENTFD = "eventfd"
PROCESS_SEMAPHORE = "multiprocessing.Semaphore"
PROCESS_EVENT = "multiprocessing.Event"
SEMAPHORE = "underpass.Semaphore"
NOTIFICATION = "underpass.Notification"
WAIT_SET = "underpass.WaitSet of 1,000"

# How many objects the wait set has.
MEMBERS = 1_000

_STAMP = struct.Struct("q")
_FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True, slots=True)
class Wake:
    """One process sleeps until the other wakes it.

    Args:
        name: What the table calls it.
        made: Makes what both processes need, before the sleeper is forked.
        sleep: Sleeps once.
        wake: Wakes once.
    """

    name: str
    made: Callable[[], AbstractContextManager[Any]]
    sleep: Callable[[Any], object]
    wake: Callable[[Any], object]

    def contestant(self) -> Contestant:
        """The way from the wake to the sleeper, as a contestant."""
        return Contestant(self.name, functools.partial(_wakes, self), samples=20)


@contextlib.contextmanager
def _wakes(wake: Wake, seats: Seats, _batch: int) -> Generator[Sampler]:
    with (
        wake.made() as made,
        mmap.mmap(-1, mmap.PAGESIZE) as page,
        partner(_sleep_and_stamp, wake, made, page, cpu=seats.server) as sleeper,
        SleepWatch(sleeper) as watch,
    ):

        def one() -> float:
            watch.wait()
            _STAMP.pack_into(page, 0, 0)
            woken = time.monotonic_ns()
            wake.wake(made)
            return float(_stamped(page) - woken)

        yield lambda count: [one() for _ in range(count)]


def _sleep_and_stamp(wake: Wake, made: object, page: mmap.mmap) -> None:
    while True:
        wake.sleep(made)
        _STAMP.pack_into(page, 0, time.monotonic_ns())


def _stamped(page: mmap.mmap) -> int:
    """When the sleeper ran. Looks without sleeping."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        (stamp,) = _STAMP.unpack_from(page, 0)
        if stamp:
            return stamp
    raise UnavailableError(f"the sleeper did not wake within {PATIENCE:.0f} s")


@contextlib.contextmanager
def _eventfd() -> Generator[int]:
    descriptor = os.eventfd(0)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _sleep_on_event(event: ProcessEvent) -> None:
    event.wait()
    event.clear()


class _Watching:
    """The sleeper's wait set, which is made by the process that waits."""

    def __init__(self, members: list[Semaphore]) -> None:
        self.members = members
        self._set: WaitSet | None = None

    def sleep(self) -> None:
        """Sleep once, and take what woke it."""
        if self._set is None:
            self._set = WaitSet()
            for member in self.members:
                self._set.add(member)
        for ready in self._set.wait():
            ready.acquire(timeout=0)


@contextlib.contextmanager
def _watching() -> Generator[_Watching]:
    with contextlib.ExitStack() as objects:
        yield _Watching([objects.enter_context(contextlib.closing(Semaphore(0))) for _ in range(MEMBERS)])


# The first is what the others are compared with.
WAKES = (
    Wake(EVENTFD, _eventfd, os.eventfd_read, lambda descriptor: os.eventfd_write(descriptor, 1)),
    Wake(
        PROCESS_SEMAPHORE,
        lambda: contextlib.nullcontext(_FORK.Semaphore(0)),
        lambda made: made.acquire(),
        lambda made: made.release(),
    ),
    Wake(PROCESS_EVENT, lambda: contextlib.nullcontext(_FORK.Event()), _sleep_on_event, lambda event: event.set()),
    Wake(
        SEMAPHORE,
        lambda: contextlib.closing(Semaphore(0)),
        lambda made: made.acquire(),
        lambda made: made.release(),
    ),
    Wake(
        NOTIFICATION,
        lambda: contextlib.closing(Notification()),
        lambda made: made.wait(),
        lambda made: made.notify(1),
    ),
    Wake(WAIT_SET, _watching, lambda made: made.sleep(), lambda made: made.members[MEMBERS // 2].release()),
)
