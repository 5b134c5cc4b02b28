"""Four processes want one lock all the time: what the least served of them gets, as a part of what would be fair.

All are given the same time, after which each says how often it has had the lock. All for one is 0 %, the same for each 100 %.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Generator
from multiprocessing.connection import Connection

from underpass import Mutex, Semaphore
from underpass.tools.bench.locks import (
    MUTEX,
    MUTEX_IN_TURN,
    PROCESS_LOCK,
    PROCESS_SEMAPHORE,
    SEMAPHORE,
    SEMAPHORE_IN_TURN,
    Lock,
)
from underpass.tools.bench.measure import Contestant, Sampler
from underpass.tools.bench.partners import PATIENCE, partner
from underpass.tools.bench.placement import Seats, UnavailableError

# How many want it.
RIVALS = 4

# How long they compete: many slices of the scheduler, which otherwise decides who does.
_SPAN = 100_000_000  # ns

_FORK = multiprocessing.get_context("fork")


def _shares(name: str, make: Callable[[], Lock]) -> Contestant:
    @contextlib.contextmanager
    def opened(seats: Seats, _batch: int) -> Generator[Sampler]:
        lock = make()
        with contextlib.ExitStack() as rivals:
            ends: list[Connection] = []
            for each in range(RIVALS):
                here, there = _FORK.Pipe()
                rivals.enter_context(here)
                rivals.enter_context(there)
                cpu = seats.server if each % 2 else seats.client
                rivals.enter_context(partner(_compete, lock, there, cpu=cpu))
                ends.append(here)
            yield lambda count: [_least(ends) for _ in range(count)]

    return Contestant(name, opened, samples=1, warm_up=False, unit="share")


def _least(ends: list[Connection]) -> float:
    began = time.monotonic_ns() + _SPAN // 10  # by then all have been told
    for end in ends:
        end.send((began, began + _SPAN))
    turns: list[int] = []
    for end in ends:
        if not end.poll(PATIENCE):
            raise UnavailableError(f"one of {RIVALS} rivals did not come back within {PATIENCE:.0f} s")
        turns.append(end.recv())
    return min(turns) * RIVALS / max(1, sum(turns))


def _compete(lock: Lock, orders: Connection) -> None:
    acquire, release, now = lock.acquire, lock.release, time.monotonic_ns
    while True:
        began, ended = orders.recv()
        turns = 0
        time.sleep(max(0, began - now()) / 1e9)
        while now() < ended:
            acquire()
            turns += 1
            release()
        orders.send(turns)


# The first is what the others are compared with.
SHARES = (
    _shares(PROCESS_LOCK, _FORK.Lock),
    _shares(PROCESS_SEMAPHORE, lambda: _FORK.Semaphore(1)),
    _shares(SEMAPHORE, lambda: Semaphore(1)),
    _shares(SEMAPHORE_IN_TURN, lambda: Semaphore(1, fairness="arrival")),
    _shares(MUTEX, Mutex),
    _shares(MUTEX_IN_TURN, lambda: Mutex(fairness="arrival")),
)
