"""Acquire and release while nobody else wants it, and what a lock costs to create and destroy."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import threading
import time
from collections.abc import Callable, Generator
from itertools import repeat

from underpass import Port, Queue, Semaphore
from underpass.tools.bench.measure import Contestant, Sampler, timed
from underpass.tools.bench.placement import Seats

SEMAPHORE = "underpass.Semaphore"
THREAD_LOCK = "threading.Lock"
PROCESS_LOCK = "multiprocessing.Lock"

CREATE_LOCK = "multiprocessing.Lock()"
CREATE_SEMAPHORE = "underpass.Semaphore(1)"
CREATE_QUEUE = "underpass.Queue()"
CREATE_PORT = "underpass.Port()"


@contextlib.contextmanager
def _thread_lock(_seats: Seats, batch: int) -> Generator[Sampler]:
    lock = threading.Lock()
    yield functools.partial(_time_pairs, lock.acquire, lock.release, batch)


@contextlib.contextmanager
def _process_lock(_seats: Seats, batch: int) -> Generator[Sampler]:
    lock = multiprocessing.Lock()
    yield functools.partial(_time_pairs, lock.acquire, lock.release, batch)


@contextlib.contextmanager
def _semaphore(_seats: Seats, batch: int) -> Generator[Sampler]:
    semaphore = Semaphore(1)
    try:
        yield functools.partial(_time_pairs, semaphore.acquire, semaphore.release, batch)
    finally:
        semaphore.close()


def _time_pairs(acquire: Callable[[], object], release: Callable[[], object], batch: int, count: int) -> list[float]:
    """The loop around the pair is as short as Python allows: it is part of what is measured."""
    samples: list[float] = []
    for _ in range(count):
        started = time.perf_counter_ns()
        for _ in repeat(None, batch):
            acquire()
            release()
        samples.append((time.perf_counter_ns() - started) / batch)
    return samples


def _creation(name: str, create_and_destroy: Callable[[], object]) -> Contestant:
    @contextlib.contextmanager
    def opened(_seats: Seats, batch: int) -> Generator[Sampler]:
        yield timed(create_and_destroy, batch)

    return Contestant(name, opened, samples=50)


PAIRS = (
    Contestant(THREAD_LOCK, _thread_lock, batch=1000, samples=20),
    Contestant(PROCESS_LOCK, _process_lock, batch=1000, samples=20),
    Contestant(SEMAPHORE, _semaphore, batch=1000, samples=20),
)

# A multiprocessing.Lock is destroyed when its last reference goes, which is at once.
CREATIONS = (
    _creation(CREATE_LOCK, multiprocessing.Lock),
    _creation(CREATE_SEMAPHORE, lambda: Semaphore(1).close()),
    _creation(CREATE_QUEUE, lambda: Queue().close()),
    _creation(CREATE_PORT, lambda: Port().close()),
)
