"""Flags and numbers while nobody waits for them: beside a bare method call, and what the standard library has."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import threading
import time
from collections.abc import Callable, Generator
from itertools import repeat

from underpass import AtomicInt, Event, Notification
from underpass.tools.bench.measure import Contestant, Sampler
from underpass.tools.bench.placement import Seats

METHOD = "a bare method call"
VALUE = "multiprocessing.Value += 1"
PROCESS_EVENT = "multiprocessing.Event.is_set"
THREAD_EVENT = "threading.Event.is_set"
LOAD = "AtomicInt.load"
ADD = "AtomicInt.add"
COMPARE_EXCHANGE = "AtomicInt.compare_exchange"
IS_SET = "Event.is_set"
WAIT_SET = "Event.wait, set"
NOTIFY = "Notification.notify"
NOTIFY_WAIT = "Notification.notify + wait"


def _repeated(operation: Callable[[], object], batch: int, count: int) -> list[float]:
    """The loop around the operation is as short as Python allows: it is part of what is measured."""
    samples: list[float] = []
    for _ in range(count):
        started = time.perf_counter_ns()
        for _ in repeat(None, batch):
            operation()
        samples.append((time.perf_counter_ns() - started) / batch)
    return samples


def _repeated_with(operation: Callable[[int], object], batch: int, count: int) -> list[float]:
    samples: list[float] = []
    for _ in range(count):
        started = time.perf_counter_ns()
        for _ in repeat(None, batch):
            operation(1)
        samples.append((time.perf_counter_ns() - started) / batch)
    return samples


def _increments(batch: int, count: int) -> list[float]:
    value, samples = multiprocessing.Value("q", 0), list[float]()
    for _ in range(count):
        started = time.perf_counter_ns()
        for _ in repeat(None, batch):
            with value.get_lock():
                value.value += 1
        samples.append((time.perf_counter_ns() - started) / batch)
    return samples


def _exchanges(number: AtomicInt, batch: int, count: int) -> list[float]:
    exchange, samples = number.compare_exchange, list[float]()
    for _ in range(count):
        started = time.perf_counter_ns()
        for _ in repeat(None, batch):
            exchange(0, 0)
        samples.append((time.perf_counter_ns() - started) / batch)
    return samples


def _pairs(notification: Notification, batch: int, count: int) -> list[float]:
    notify, wait, samples = notification.notify, notification.wait, list[float]()
    for _ in range(count):
        started = time.perf_counter_ns()
        for _ in repeat(None, batch):
            notify(1)
            wait(1)
        samples.append((time.perf_counter_ns() - started) / batch)
    return samples


def _contestant(name: str, make: Callable[[contextlib.ExitStack, int], Sampler]) -> Contestant:
    @contextlib.contextmanager
    def opened(_seats: Seats, batch: int) -> Generator[Sampler]:
        with contextlib.ExitStack() as objects:
            yield make(objects, batch)

    return Contestant(name, opened, batch=1000, samples=20)


def _number(objects: contextlib.ExitStack) -> AtomicInt:
    return objects.enter_context(contextlib.closing(AtomicInt()))


def _event(objects: contextlib.ExitStack) -> Event:
    event = objects.enter_context(contextlib.closing(Event()))
    event.set()
    return event


def _notification(objects: contextlib.ExitStack) -> Notification:
    return objects.enter_context(contextlib.closing(Notification()))


# The first is what the others are compared with: the same call of a method that does next to nothing.
OPERATIONS = (
    _contestant(METHOD, lambda _, batch: functools.partial(_repeated_with, [0].count, batch)),
    _contestant(VALUE, lambda _, batch: functools.partial(_increments, batch)),
    _contestant(PROCESS_EVENT, lambda _, batch: functools.partial(_repeated, multiprocessing.Event().is_set, batch)),
    _contestant(THREAD_EVENT, lambda _, batch: functools.partial(_repeated, threading.Event().is_set, batch)),
    _contestant(LOAD, lambda objects, batch: functools.partial(_repeated, _number(objects).load, batch)),
    _contestant(ADD, lambda objects, batch: functools.partial(_repeated_with, _number(objects).add, batch)),
    _contestant(COMPARE_EXCHANGE, lambda objects, batch: functools.partial(_exchanges, _number(objects), batch)),
    _contestant(IS_SET, lambda objects, batch: functools.partial(_repeated, _event(objects).is_set, batch)),
    _contestant(WAIT_SET, lambda objects, batch: functools.partial(_repeated, _event(objects).wait, batch)),
    _contestant(NOTIFY, lambda objects, batch: functools.partial(_repeated_with, _notification(objects).notify, batch)),
    _contestant(NOTIFY_WAIT, lambda objects, batch: functools.partial(_pairs, _notification(objects), batch)),
)
