"""Underpass in the same shapes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from pathlib import Path

from underpass import Gate, Port, Queue, Space
from underpass.tools.bench.partners import PATIENCE
from underpass.tools.bench.peers.shapes import MESSAGE, Echo, Flow
from underpass.tools.bench.spaces import private_space

CAPACITY = 1024
AT_ONCE = 256

CALL = "underpass call"
QUEUE = "underpass.Queue put, get"
MANY = "underpass.Queue put_many, get_many"


@contextlib.contextmanager
def _space(_place: Path) -> Generator[Space]:
    with private_space() as space:
        yield space


def serve(space: Space) -> None:
    """Answer for ever."""
    Port.create("echo", space=space).serve_bytes(lambda data: data)


@contextlib.contextmanager
def trip(space: Space) -> Generator[Callable[[], object]]:
    """A round trip."""
    with contextlib.closing(Gate.open("echo", space=space, timeout=PATIENCE)) as gate:

        def trip() -> None:
            gate.call(MESSAGE)

        yield trip


@contextlib.contextmanager
def _queue(_place: Path) -> Generator[Queue]:
    with contextlib.closing(Queue(CAPACITY, len(MESSAGE))) as queue:
        yield queue


@contextlib.contextmanager
def _put(queue: Queue) -> Generator[Callable[[int], object]]:
    def produce(count: int) -> None:
        for _ in range(count):
            queue.put(MESSAGE)

    yield produce


@contextlib.contextmanager
def _get(queue: Queue) -> Generator[Callable[[int], object]]:
    def consume(count: int) -> None:
        for _ in range(count):
            queue.get()

    yield consume


@contextlib.contextmanager
def _put_many(queue: Queue) -> Generator[Callable[[int], object]]:
    items = [MESSAGE] * AT_ONCE

    def produce(count: int) -> None:
        while count > 0:
            queue.put_many(items[:count])
            count -= AT_ONCE

    yield produce


@contextlib.contextmanager
def _get_many(queue: Queue) -> Generator[Callable[[int], object]]:
    def consume(count: int) -> None:
        while count > 0:
            count -= len(queue.get_many(min(count, AT_ONCE)))

    yield consume


ECHO = Echo(CALL, "", _space, serve, trip)
FLOW = Flow(QUEUE, "", _queue, _put, _get)
FLOW_MANY = Flow(MANY, "", _queue, _put_many, _get_many)
