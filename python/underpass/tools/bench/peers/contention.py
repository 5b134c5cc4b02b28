"""Two processes that want the same lock all the time: acquire and release, a pair each."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from itertools import repeat
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from underpass import Mutex, Semaphore
from underpass.tools.bench.measure import Contestant, Sampler
from underpass.tools.bench.partners import PATIENCE, partner
from underpass.tools.bench.peers import posix
from underpass.tools.bench.peers.shapes import place_of
from underpass.tools.bench.placement import Seats, UnavailableError

PROCESS_LOCK = "multiprocessing.Lock, contended"
POSIX = "posix_ipc.Semaphore, contended"
SEMAPHORE = "underpass.Semaphore, contended"
MUTEX = "underpass.Mutex, contended"

_FORK = multiprocessing.get_context("fork")

Made = Callable[[Path], AbstractContextManager[Any]]


@contextlib.contextmanager
def _contended(module: str, made: Made, seats: Seats, batch: int) -> Generator[Sampler]:
    """Both do as many pairs; the time of one is that of all until both are through."""
    with place_of(module) as place, made(place) as lock:
        here, there = _FORK.Pipe()
        with here, there, partner(_pairs_on_order, lock, there, cpu=seats.server):

            def sample(count: int) -> list[float]:
                samples: list[float] = []
                for _ in range(count):
                    here.send(batch)
                    started = time.perf_counter_ns()
                    _pairs(lock, batch)
                    if not here.poll(PATIENCE):
                        raise UnavailableError(f"the other process did not get its turns within {PATIENCE:.0f} s")
                    here.recv()
                    samples.append((time.perf_counter_ns() - started) / (2 * batch))
                return samples

            yield sample


def _pairs_on_order(lock: Any, orders: Connection) -> None:
    while True:
        _pairs(lock, orders.recv())
        orders.send(None)


def _pairs(lock: Any, count: int) -> None:
    acquire, release = lock.acquire, lock.release
    for _ in repeat(None, count):
        acquire()
        release()


@contextlib.contextmanager
def _process_lock(_place: Path) -> Generator[Any]:
    yield _FORK.Lock()


@contextlib.contextmanager
def _semaphore(_place: Path) -> Generator[Semaphore]:
    with contextlib.closing(Semaphore(1)) as semaphore:
        yield semaphore


@contextlib.contextmanager
def _mutex(_place: Path) -> Generator[Mutex]:
    with contextlib.closing(Mutex()) as mutex:
        yield mutex


def _contestant(name: str, module: str, made: Made) -> Contestant:
    return Contestant(name, functools.partial(_contended, module, made), batch=20_000, samples=2)


CONTENDED = (
    _contestant(PROCESS_LOCK, "", _process_lock),
    _contestant(POSIX, posix.MODULE, functools.partial(posix.semaphore, value=1)),
    _contestant(SEMAPHORE, "", _semaphore),
    _contestant(MUTEX, "", _mutex),
)
