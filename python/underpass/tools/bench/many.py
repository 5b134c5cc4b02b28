"""One wait for many: one of them becomes ready, and whoever waits for all of them has it. One process, so nobody sleeps."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import select
from collections.abc import Callable, Generator

from underpass import Semaphore, WaitSet, wait_any
from underpass.tools.bench.measure import Contestant, Sampler, timed
from underpass.tools.bench.placement import Seats, UnavailableError

# How many are waited for.
FEW, MANY, ALL = 10, 1_000, 10_000

EPOLL = f"select.epoll, {MANY:,} eventfds"
POLL = f"select.poll, {MANY:,} eventfds"
ANY_OF_FEW = f"underpass.wait_any, {FEW}"
ANY_OF_MANY = f"underpass.wait_any, {MANY:,}"
SET_OF_FEW = f"underpass.WaitSet, {FEW}"
SET_OF_MANY = f"underpass.WaitSet, {MANY:,}"
SET_OF_ALL = f"underpass.WaitSet, {ALL:,}"


@contextlib.contextmanager
def _polled(make: Callable[[], select.epoll | select.poll], _seats: Seats, batch: int) -> Generator[Sampler]:
    with contextlib.ExitStack() as opened:
        descriptors = [_eventfd(opened) for _ in range(MANY)]
        poller, turns = make(), _Turns(MANY)
        if isinstance(poller, select.epoll):
            opened.enter_context(poller)
        for descriptor in descriptors:
            poller.register(descriptor, select.POLLIN)

        def one() -> None:
            os.eventfd_write(descriptors[turns.next()], 1)
            for descriptor, _ in poller.poll():
                os.eventfd_read(descriptor)

        yield timed(one, batch)


def _eventfd(opened: contextlib.ExitStack) -> int:
    try:
        descriptor = os.eventfd(0)
    except OSError as error:
        if error.errno == errno.EMFILE:
            raise UnavailableError(f"needs {MANY:,} descriptors more than are open: raise `ulimit -n`") from None
        raise
    opened.callback(os.close, descriptor)
    return descriptor


@contextlib.contextmanager
def _any(count: int, _seats: Seats, batch: int) -> Generator[Sampler]:
    with _semaphores(count) as members:
        turns = _Turns(count)

        def one() -> None:
            members[turns.next()].release()
            for ready in wait_any(*members):
                ready.acquire(timeout=0)

        yield timed(one, batch)


@contextlib.contextmanager
def _set(count: int, _seats: Seats, batch: int) -> Generator[Sampler]:
    with _semaphores(count) as members, WaitSet() as waiting:
        turns = _Turns(count)
        for member in members:
            waiting.add(member)

        def one() -> None:
            members[turns.next()].release()
            for ready in waiting.wait():
                ready.acquire(timeout=0)

        yield timed(one, batch)


class _Turns:
    """Whose turn it is: far from the one before, and in time everybody's."""

    def __init__(self, count: int) -> None:
        self._count, self._next = count, 0

    def next(self) -> int:
        prime = 7919
        self._next = (self._next + prime) % self._count
        return self._next


@contextlib.contextmanager
def _semaphores(count: int) -> Generator[list[Semaphore]]:
    with contextlib.ExitStack() as objects:
        yield [objects.enter_context(contextlib.closing(Semaphore(0))) for _ in range(count)]


# The first is what the others are compared with: what a program without underpass waits with.
WAITS = (
    Contestant(EPOLL, functools.partial(_polled, select.epoll), batch=20, samples=10),
    Contestant(POLL, functools.partial(_polled, select.poll), batch=20, samples=10),
    Contestant(ANY_OF_FEW, functools.partial(_any, FEW), batch=20, samples=10),
    Contestant(ANY_OF_MANY, functools.partial(_any, MANY), samples=5),
    Contestant(SET_OF_FEW, functools.partial(_set, FEW), batch=20, samples=10),
    Contestant(SET_OF_MANY, functools.partial(_set, MANY), batch=20, samples=10),
    Contestant(SET_OF_ALL, functools.partial(_set, ALL), batch=20, samples=10),
)
