"""posix_ipc: message queues and semaphores of the kernel and libc."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from underpass.tools.bench.peers.shapes import MESSAGE, Echo, Flow, needed
from underpass.tools.bench.wakes import Wake

MODULE = "posix_ipc"
CAPACITY = 10  # what the kernel allows everybody


@contextlib.contextmanager
def _queue() -> Generator[Any]:
    ipc = needed(MODULE)
    queue = ipc.MessageQueue(
        f"/underpass-{uuid.uuid4().hex}", ipc.O_CREX, max_messages=CAPACITY, max_message_size=len(MESSAGE)
    )
    try:
        yield queue
    finally:
        queue.close()
        queue.unlink()


@contextlib.contextmanager
def _queues(_place: Path) -> Generator[tuple[Any, Any]]:
    with _queue() as requests, _queue() as replies:
        yield requests, replies


def _echo(queues: tuple[Any, Any]) -> None:
    requests, replies = queues
    while True:
        replies.send(requests.receive()[0])


@contextlib.contextmanager
def _trip(queues: tuple[Any, Any]) -> Generator[Callable[[], object]]:
    requests, replies = queues

    def trip() -> None:
        requests.send(MESSAGE)
        replies.receive()

    yield trip


@contextlib.contextmanager
def _one_queue(_place: Path) -> Generator[Any]:
    with _queue() as queue:
        yield queue


@contextlib.contextmanager
def _send(queue: Any) -> Generator[Callable[[int], object]]:
    def produce(count: int) -> None:
        for _ in range(count):
            queue.send(MESSAGE)

    yield produce


@contextlib.contextmanager
def _receive(queue: Any) -> Generator[Callable[[int], object]]:
    def consume(count: int) -> None:
        for _ in range(count):
            queue.receive()

    yield consume


def semaphore(value: int) -> Any:
    """A semaphore for this process and its children."""
    ipc = needed(MODULE)
    made = ipc.Semaphore(f"/underpass-{uuid.uuid4().hex}", ipc.O_CREX, initial_value=value)
    made.unlink()
    return made


@contextlib.contextmanager
def free(_place: Path) -> Generator[Any]:
    """A semaphore that somebody can acquire."""
    with contextlib.closing(semaphore(1)) as made:
        yield made


ECHO = Echo("posix_ipc.MessageQueue", MODULE, _queues, _echo, _trip)
FLOW = Flow("posix_ipc.MessageQueue", MODULE, _one_queue, _send, _receive)
WAKE = Wake(
    "posix_ipc.Semaphore",
    lambda: contextlib.closing(semaphore(0)),
    lambda made: made.acquire(),
    lambda made: made.release(),
)
