"""faster-fifo: a queue of bytes in shared memory under a robust lock."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from underpass.tools.bench.partners import PATIENCE
from underpass.tools.bench.peers.shapes import MESSAGE, Echo, Flow, needed

MODULE = "faster_fifo"


def _queue() -> Any:
    # Bytes as they are: what it does with objects is pickle's time.
    return needed(MODULE).Queue(1 << 20, loads=bytes, dumps=bytes)


@contextlib.contextmanager
def _queues(_place: Path) -> Generator[tuple[Any, Any]]:
    yield _queue(), _queue()


def _echo(queues: tuple[Any, Any]) -> None:
    requests, replies = queues
    while True:
        replies.put(requests.get(timeout=1e6))


@contextlib.contextmanager
def _trip(queues: tuple[Any, Any]) -> Generator[Callable[[], object]]:
    requests, replies = queues

    def trip() -> None:
        requests.put(MESSAGE)
        replies.get(timeout=PATIENCE)

    yield trip


@contextlib.contextmanager
def _one_queue(_place: Path) -> Generator[Any]:
    yield _queue()


@contextlib.contextmanager
def _put(queue: Any) -> Generator[Callable[[int], object]]:
    def produce(count: int) -> None:
        for _ in range(count):
            queue.put(MESSAGE, timeout=PATIENCE)

    yield produce


@contextlib.contextmanager
def _get_many(queue: Any) -> Generator[Callable[[int], object]]:
    def consume(count: int) -> None:
        while count > 0:
            count -= len(queue.get_many(max_messages_to_get=count, timeout=PATIENCE))

    yield consume


ECHO = Echo("faster-fifo", MODULE, _queues, _echo, _trip)
FLOW = Flow("faster-fifo put, get_many", MODULE, _one_queue, _put, _get_many)
