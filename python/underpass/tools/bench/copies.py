"""Messages of a megabyte through objects that copy them, beside one copy by the C library; and a writer with one reader and with eight."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Generator

from underpass import Broadcast, Pipe, Queue, Subscription
from underpass.tools.bench.measure import Contestant, Sampler
from underpass.tools.bench.partners import partner
from underpass.tools.bench.placement import Seats

SIZE = 1 << 20
# Written: zeros that nobody has touched are one page of the kernel's, which copies faster than memory does.
SOURCE = b"x" * SIZE
MEMCPY = "memcpy"
PIPE = "Pipe.write, read_into: a copy"
QUEUE = "Queue.put, get_into: a copy"
BROADCAST = "Broadcast.publish, get_into by two: a copy"

MESSAGE = bytes(64)
READERS = 8
# What a slow reader does beside reading: meanwhile a writer publishes thousands.
PAUSE = 0.001
ONE_READER = "Broadcast.publish, 1 slow reader"
MANY_READERS = f"Broadcast.publish, {READERS} slow readers"
IDLE_READERS = f"Broadcast.publish, {READERS} idle readers"


def _copying(move: Callable[[], object], copies: int, batch: int, count: int) -> list[float]:
    samples: list[float] = []
    for _ in range(count):
        started = time.perf_counter_ns()
        for _ in range(batch):
            move()
        samples.append((time.perf_counter_ns() - started) / (batch * copies))
    return samples


@contextlib.contextmanager
def _memcpy(_seats: Seats, batch: int) -> Generator[Sampler]:
    source, target = SOURCE, memoryview(bytearray(SIZE))

    def move() -> None:
        target[:] = source

    yield functools.partial(_copying, move, 1, batch)


@contextlib.contextmanager
def _pipe(_seats: Seats, batch: int) -> Generator[Sampler]:
    source, target = SOURCE, bytearray(SIZE)
    with contextlib.closing(Pipe(2 * SIZE)) as pipe:

        def move() -> None:
            pipe.write(source)
            pipe.read_into(target)

        yield functools.partial(_copying, move, 2, batch)


@contextlib.contextmanager
def _queue(_seats: Seats, batch: int) -> Generator[Sampler]:
    source, target = SOURCE, bytearray(SIZE)
    with contextlib.closing(Queue(2, SIZE)) as queue:

        def move() -> None:
            queue.put(source)
            queue.get_into(target)

        yield functools.partial(_copying, move, 2, batch)


@contextlib.contextmanager
def _broadcast(_seats: Seats, batch: int) -> Generator[Sampler]:
    source, target = SOURCE, bytearray(SIZE)
    with (
        contextlib.closing(Broadcast(2 * SIZE + 64, when_full="wait")) as broadcast,
        broadcast.subscribe() as first,
        broadcast.subscribe() as second,
    ):

        def move() -> None:
            broadcast.publish(source)
            first.get_into(target)
            second.get_into(target)

        yield functools.partial(_copying, move, 3, batch)


def _publishing(broadcast: Broadcast, batch: int, count: int) -> list[float]:
    publish, samples = broadcast.publish, list[float]()
    for _ in range(count):
        started = time.perf_counter_ns()
        for _ in range(batch):
            publish(MESSAGE)
        samples.append((time.perf_counter_ns() - started) / batch)
    return samples


def _read_slowly(readers: list[Subscription]) -> None:
    """Get the next one for each, of those that are still there, and be busy with it: nobody sleeps in the broadcast."""
    while True:
        for reader in readers:
            if reader.behind:
                reader.get()
        time.sleep(PAUSE)


def _read(readers: int, *, slowly: bool) -> Callable[[Seats, int], contextlib.AbstractContextManager[Sampler]]:
    @contextlib.contextmanager
    def opened(seats: Seats, batch: int) -> Generator[Sampler]:
        with contextlib.ExitStack() as stack:
            broadcast = stack.enter_context(contextlib.closing(Broadcast(1 << 16)))
            mine = [stack.enter_context(broadcast.subscribe()) for _ in range(readers)]
            if slowly:
                stack.enter_context(partner(_read_slowly, mine, cpu=seats.server))
            yield functools.partial(_publishing, broadcast, batch)

    return opened


# The first is what the others are compared with.
COPIES = (
    Contestant(MEMCPY, _memcpy, batch=16, samples=10),
    Contestant(PIPE, _pipe, batch=8, samples=10),
    Contestant(QUEUE, _queue, batch=8, samples=10),
    Contestant(BROADCAST, _broadcast, batch=5, samples=10),
)
PUBLISHING = (
    Contestant(ONE_READER, _read(1, slowly=True), batch=5000, samples=10),
    Contestant(MANY_READERS, _read(READERS, slowly=True), batch=5000, samples=10),
    Contestant(IDLE_READERS, _read(READERS, slowly=False), batch=5000, samples=10),
)
