"""What the standard library sleeps on."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Generator
from multiprocessing.synchronize import Event
from pathlib import Path

from underpass.tools.bench.peers.shapes import Wake

_FORK = multiprocessing.get_context("fork")


@contextlib.contextmanager
def _eventfd(_place: Path) -> Generator[int]:
    descriptor = os.eventfd(0)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _semaphore(_place: Path) -> Generator[object]:
    yield _FORK.Semaphore(0)


@contextlib.contextmanager
def _event(_place: Path) -> Generator[Event]:
    yield _FORK.Event()


def _sleep_on_event(event: Event) -> None:
    event.wait()
    event.clear()


WAKES = (
    Wake("eventfd", "", _eventfd, os.eventfd_read, lambda descriptor: os.eventfd_write(descriptor, 1)),
    Wake("multiprocessing.Semaphore", "", _semaphore, lambda made: made.acquire(), lambda made: made.release()),
    Wake("multiprocessing.Event", "", _event, _sleep_on_event, lambda event: event.set()),
)
