"""Acquire and release, alone and against one other process, and what a lock costs to create and destroy."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import threading
import time
from collections.abc import Callable, Generator
from itertools import repeat
from multiprocessing.connection import Connection
from typing import Protocol

from underpass import Mutex, Port, Queue, RWLock, Semaphore
from underpass.tools.bench.measure import Contestant, Sampler, timed
from underpass.tools.bench.partners import PATIENCE, partner
from underpass.tools.bench.placement import Seats, UnavailableError

SEMAPHORE = "underpass.Semaphore"
MUTEX = "underpass.Mutex"
READING = "underpass.RWLock, reading"
READING_ALONE = "underpass.RWLock, one reads alone"
THREAD_LOCK = "threading.Lock"
PROCESS_LOCK = "multiprocessing.Lock"
PROCESS_SEMAPHORE = "multiprocessing.Semaphore"
SEMAPHORE_IN_TURN = "underpass.Semaphore, by arrival"
MUTEX_IN_TURN = "underpass.Mutex, by arrival"

CREATE_LOCK = "multiprocessing.Lock()"
CREATE_SEMAPHORE = "underpass.Semaphore(1)"
CREATE_MUTEX = "underpass.Mutex()"
CREATE_QUEUE = "underpass.Queue()"
CREATE_PORT = "underpass.Port()"

_FORK = multiprocessing.get_context("fork")


class Lock(Protocol):
    """What all of them have."""

    def acquire(self) -> bool:
        """Take it, waiting for it."""
        ...

    def release(self) -> None:
        """Give it back."""
        ...


class _Reading:
    """A lock of readers and writers, of which both read."""

    def __init__(self) -> None:
        # One block serves for all turns: what is measured is how it begins and ends.
        block = RWLock().reading()
        self._enter, self.release = block.__enter__, functools.partial(block.__exit__, None, None, None)

    def acquire(self) -> bool:
        self._enter()
        return True


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


@contextlib.contextmanager
def _mutex(_seats: Seats, batch: int) -> Generator[Sampler]:
    mutex = Mutex()
    try:
        yield functools.partial(_time_pairs, mutex.acquire, mutex.release, batch)
    finally:
        mutex.close()


@contextlib.contextmanager
def _reading(_seats: Seats, batch: int) -> Generator[Sampler]:
    lock = _Reading()
    yield functools.partial(_time_pairs, lock.acquire, lock.release, batch)


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


def contended(name: str, make: Callable[[], Lock], *, batch: int = 50_000) -> Contestant:
    """A lock at which two processes take turns, each as fast as it can, as a contestant."""

    @contextlib.contextmanager
    def opened(seats: Seats, batch: int) -> Generator[Sampler]:
        lock = make()
        here, there = _FORK.Pipe()

        def sample(count: int) -> list[float]:
            samples: list[float] = []
            for _ in range(count):
                here.send(batch)
                here.recv()
                began, ended = _span(lock, batch)
                if not here.poll(PATIENCE):
                    raise UnavailableError(f"the partner's {batch} turns did not end within {PATIENCE:.0f} s")
                first, last = here.recv()
                samples.append((max(ended, last) - min(began, first)) / (2 * batch))
            return samples

        with here, there, partner(_take_turns, lock, there, cpu=seats.server):
            yield sample

    return Contestant(name, opened, batch=batch, samples=5)


def _take_turns(lock: Lock, orders: Connection) -> None:
    while True:
        batch: int = orders.recv()
        orders.send(None)
        orders.send(_span(lock, batch))


def _span(lock: Lock, batch: int) -> tuple[int, int]:
    """Both clocks are the same one: the machine's."""
    acquire, release = lock.acquire, lock.release
    began = time.perf_counter_ns()
    for _ in repeat(None, batch):
        acquire()
        release()
    return began, time.perf_counter_ns()


def _creation(name: str, create_and_destroy: Callable[[], object]) -> Contestant:
    @contextlib.contextmanager
    def opened(_seats: Seats, batch: int) -> Generator[Sampler]:
        yield timed(create_and_destroy, batch)

    return Contestant(name, opened, samples=50)


PAIRS = (
    Contestant(THREAD_LOCK, _thread_lock, batch=1000, samples=20),
    Contestant(PROCESS_LOCK, _process_lock, batch=1000, samples=20),
    Contestant(SEMAPHORE, _semaphore, batch=1000, samples=20),
    Contestant(MUTEX, _mutex, batch=1000, samples=20),
    Contestant(READING, _reading, batch=1000, samples=20),
)

CONTENDED = (
    contended(PROCESS_LOCK, _FORK.Lock),
    contended(PROCESS_SEMAPHORE, lambda: _FORK.Semaphore(1)),
    contended(SEMAPHORE, lambda: Semaphore(1)),
    contended(MUTEX, Mutex),
    # Handed over, so most turns wait for one who has to be woken.
    contended(SEMAPHORE_IN_TURN, lambda: Semaphore(1, fairness="arrival"), batch=500),
    contended(MUTEX_IN_TURN, lambda: Mutex(fairness="arrival"), batch=500),
    contended(READING, _Reading),
    Contestant(READING_ALONE, _reading, batch=50_000, samples=5),
)

# A multiprocessing.Lock is destroyed when its last reference goes, which is at once.
CREATIONS = (
    _creation(CREATE_LOCK, multiprocessing.Lock),
    _creation(CREATE_SEMAPHORE, lambda: Semaphore(1).close()),
    _creation(CREATE_MUTEX, lambda: Mutex().close()),
    _creation(CREATE_QUEUE, lambda: Queue().close()),
    _creation(CREATE_PORT, lambda: Port().close()),
)
