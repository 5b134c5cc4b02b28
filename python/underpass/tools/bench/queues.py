"""Messages of 64 bytes from one process to one other, as fast as both can; and blocks of memory beside them."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import time
from collections.abc import Callable, Generator
from itertools import repeat
from multiprocessing.connection import Connection

import underpass
from underpass.tools.bench.measure import Contestant, Sampler
from underpass.tools.bench.partners import PATIENCE, partner
from underpass.tools.bench.placement import Seats, UnavailableError
from underpass.tools.bench.standard import ending, uninterrupted

ONE_EACH = "underpass.Queue put, get"
MANY = "underpass.Queue put_many, get_many"
HANDED_ON = "underpass.Pool, a block of 16 MiB handed on"
PEER_QUEUE = "multiprocessing.Queue put, get"
PEER_PIPE = "multiprocessing.Pipe send_bytes, recv_bytes"

MESSAGE = bytes(64)
CAPACITY = 1024
AT_ONCE = 256
BLOCK = 16 << 20
BLOCKS = 4

_FORK = multiprocessing.get_context("fork")

# Puts or gets so many messages.
Mover = Callable[[int], object]


@contextlib.contextmanager
def _one_each(seats: Seats, batch: int) -> Generator[Sampler]:
    with contextlib.closing(underpass.Queue(CAPACITY, len(MESSAGE))) as queue:
        put, get = functools.partial(_repeat_with, queue.put, MESSAGE), functools.partial(_repeat, queue.get)
        with moving(put, get, seats, batch) as sampler:
            yield sampler


@contextlib.contextmanager
def _many(seats: Seats, batch: int) -> Generator[Sampler]:
    items = [MESSAGE] * AT_ONCE
    with contextlib.closing(underpass.Queue(CAPACITY, len(MESSAGE))) as queue:

        def put(count: int) -> None:
            while count > 0:
                queue.put_many(items[:count])
                count -= AT_ONCE

        def get(count: int) -> None:
            while count > 0:
                count -= len(queue.get_many(min(count, AT_ONCE)))

        with moving(put, get, seats, batch) as sampler:
            yield sampler


@contextlib.contextmanager
def _handed_on(seats: Seats, batch: int) -> Generator[Sampler]:
    pool, queue = underpass.Pool(BLOCKS, BLOCK), underpass.Queue(CAPACITY, 24)

    def put(count: int) -> None:
        for _ in repeat(None, count):
            queue.put(pool.alloc().hand_on())

    def get(count: int) -> None:
        for _ in repeat(None, count):
            pool.receive(queue.get()).release()

    with contextlib.closing(pool), contextlib.closing(queue), moving(put, get, seats, batch) as sampler:
        yield sampler


@contextlib.contextmanager
def _peer_queue(seats: Seats, batch: int) -> Generator[Sampler]:
    queue: multiprocessing.Queue[bytes] = _FORK.Queue(CAPACITY)
    put, get = functools.partial(_repeat_with, queue.put, MESSAGE), functools.partial(_repeat, queue.get)
    with ending(queue), moving(put, get, seats, batch) as sampler:
        yield uninterrupted(sampler)


@contextlib.contextmanager
def _peer_pipe(seats: Seats, batch: int) -> Generator[Sampler]:
    reader, writer = _FORK.Pipe(duplex=False)
    put, get = (
        functools.partial(_repeat_with, writer.send_bytes, MESSAGE),
        functools.partial(_repeat, reader.recv_bytes),
    )
    with reader, writer, moving(put, get, seats, batch) as sampler:
        yield sampler


@contextlib.contextmanager
def moving(put: Mover, get: Mover, seats: Seats, batch: int) -> Generator[Sampler]:
    """Times batches by the getter's clock: from its first message to its last, so that nobody's start counts."""
    here, there = _FORK.Pipe()

    def sample(count: int) -> list[float]:
        samples: list[float] = []
        for _ in range(count):
            here.send(batch)
            put(batch + 1)
            if not here.poll(PATIENCE):
                raise UnavailableError(f"{batch} messages did not arrive within {PATIENCE:.0f} s")
            samples.append(here.recv() / batch)
        return samples

    with here, there, partner(_get_batches, get, there, cpu=seats.server):
        yield sample


def _get_batches(get: Mover, orders: Connection) -> None:
    while True:
        batch: int = orders.recv()
        get(1)
        started = time.perf_counter_ns()
        get(batch)
        orders.send(time.perf_counter_ns() - started)


def _repeat(get: Callable[[], object], count: int) -> None:
    for _ in repeat(None, count):
        get()


def _repeat_with(put: Callable[[bytes], object], data: bytes, count: int) -> None:
    for _ in repeat(None, count):
        put(data)


THROUGHPUT = (
    Contestant(PEER_QUEUE, _peer_queue, batch=1000, samples=5),
    Contestant(PEER_PIPE, _peer_pipe, batch=2000, samples=5),
    Contestant(ONE_EACH, _one_each, batch=20_000, samples=5),
    Contestant(MANY, _many, batch=50_000, samples=5),
    Contestant(HANDED_ON, _handed_on, batch=5_000, samples=5),
)
