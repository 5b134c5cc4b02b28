"""Round trips of what the standard library offers: an echo process behind a pipe, two queues, two eventfds."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Generator
from multiprocessing.connection import Connection
from multiprocessing.queues import Queue

from underpass.tools.bench.measure import Contestant, Sampler, timed
from underpass.tools.bench.partners import partner
from underpass.tools.bench.placement import Seats
from underpass.tools.interrupts import interrupts_held

PIPE = "multiprocessing.Pipe"
QUEUE = "multiprocessing.Queue"
EVENTFD = "eventfd pair (no payload)"

MESSAGE = bytes(64)

_FORK = multiprocessing.get_context("fork")


@contextlib.contextmanager
def _pipe(seats: Seats, batch: int) -> Generator[Sampler]:
    here, there = _FORK.Pipe()

    def round_trip() -> None:
        here.send_bytes(MESSAGE)
        here.recv_bytes()

    with here, there, partner(_echo_pipe, there, cpu=seats.server):
        yield timed(round_trip, batch)


def _echo_pipe(connection: Connection) -> None:
    while True:
        connection.send_bytes(connection.recv_bytes())


def uninterrupted(sampler: Sampler) -> Sampler:
    """Keep Ctrl-C out of a `multiprocessing.Queue`: it could leave the queue's lock held, for which its end waits."""

    def sample(count: int) -> list[float]:
        with interrupts_held():
            return sampler(count)

    return sample


@contextlib.contextmanager
def ending(queue: Queue[bytes]) -> Generator[None]:
    """End a queue's feeder thread when the block ends."""
    try:
        yield
    finally:
        queue.close()
        queue.join_thread()


@contextlib.contextmanager
def _queues(seats: Seats, batch: int) -> Generator[Sampler]:
    requests: Queue[bytes] = _FORK.Queue()
    replies: Queue[bytes] = _FORK.Queue()

    def round_trip() -> None:
        requests.put(MESSAGE)
        replies.get()

    with ending(requests), ending(replies), partner(_echo_queues, requests, replies, cpu=seats.server):
        yield uninterrupted(timed(round_trip, batch))


def _echo_queues(requests: Queue[bytes], replies: Queue[bytes]) -> None:
    while True:
        replies.put(requests.get())


@contextlib.contextmanager
def _eventfds(seats: Seats, batch: int) -> Generator[Sampler]:
    request, reply = os.eventfd(0), os.eventfd(0)

    def round_trip() -> None:
        os.eventfd_write(request, 1)
        os.eventfd_read(reply)

    try:
        with partner(_echo_eventfds, request, reply, cpu=seats.server):
            yield timed(round_trip, batch)
    finally:
        os.close(request)
        os.close(reply)


def _echo_eventfds(request: int, reply: int) -> None:
    while True:
        os.eventfd_read(request)
        os.eventfd_write(reply, 1)


ROUND_TRIPS = (
    Contestant(EVENTFD, _eventfds),
    Contestant(PIPE, _pipe),
    Contestant(QUEUE, _queues),
)
