"""A megabyte from one process to two others, of which each gets every message."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from underpass import Broadcast
from underpass.tools.bench.measure import Contestant, Sampler
from underpass.tools.bench.partners import PATIENCE, partner
from underpass.tools.bench.peers.shapes import Made, Moved, directory, needed, place_of
from underpass.tools.bench.placement import Seats, UnavailableError

SIZE = 1 << 20
MESSAGE = b"x" * SIZE
READERS = 2

OURS = "underpass.Broadcast, when_full='wait'"
ZEROMQ = "pyzmq XPUB/SUB"

_FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True, slots=True)
class Fan:
    """Messages go from one process to several, of which each gets all.

    Args:
        name: What the table calls it.
        module: What must be importable; empty for the standard library.
        made: What all ends need.
        writer: Opens the writer's end; it returns once all readers are there.
        reader: Opens a reader's end.
    """

    name: str
    module: str
    made: Made
    writer: Moved
    reader: Moved

    def contestant(self, *, batch: int = 50) -> Contestant:
        """The fan, as a contestant. Times are those of one message, until the last reader has it."""
        return Contestant(self.name, functools.partial(_fans, self), batch=batch, samples=3)


@contextlib.contextmanager
def _fans(fan: Fan, seats: Seats, batch: int) -> Generator[Sampler]:
    with contextlib.ExitStack() as opened:
        made = opened.enter_context(fan.made(opened.enter_context(place_of(fan.module))))
        readers: list[Connection] = []
        for _ in range(READERS):
            orders, ours = _FORK.Pipe()
            opened.enter_context(orders)
            opened.enter_context(ours)
            opened.enter_context(partner(_read, fan, made, ours, cpu=seats.server))
            readers.append(orders)
        write = opened.enter_context(fan.writer(made))
        for reader in readers:
            _told(reader)

        def sample(count: int) -> list[float]:
            samples: list[float] = []
            for _ in range(count):
                for reader in readers:
                    reader.send(batch)
                started = time.perf_counter_ns()
                write(batch)
                for reader in readers:
                    _told(reader)
                samples.append((time.perf_counter_ns() - started) / batch)
            return samples

        yield sample


def _told(reader: Connection) -> None:
    if not reader.poll(PATIENCE):
        raise UnavailableError(f"a reader did not get everything within {PATIENCE:.0f} s")
    reader.recv()


def _read(fan: Fan, made: Any, orders: Connection) -> None:
    with fan.reader(made) as read:
        while True:
            orders.send(None)
            read(orders.recv())


# ── underpass ───────────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def _broadcast(_place: Path) -> Generator[Broadcast]:
    with contextlib.closing(Broadcast(8 * SIZE, when_full="wait")) as broadcast:
        yield broadcast


@contextlib.contextmanager
def _publishing(broadcast: Broadcast) -> Generator[Callable[[int], object]]:
    def publish(count: int) -> None:
        for _ in range(count):
            broadcast.publish(MESSAGE)

    yield publish


@contextlib.contextmanager
def _subscribed(broadcast: Broadcast) -> Generator[Callable[[int], object]]:
    with broadcast.subscribe() as mine:

        def get(count: int) -> None:
            for _ in range(count):
                mine.get()

        yield get


# ── pyzmq ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _address(place: Path) -> str:
    return f"ipc://{place}/socket"


@contextlib.contextmanager
def _publisher(place: Path) -> Generator[Callable[[int], object]]:
    zmq = needed("zmq")
    # Of the sockets that publish the one that says who has come; no limit, as it would drop what exceeds it.
    with zmq.Context() as context, context.socket(zmq.XPUB) as socket:
        socket.linger = 0
        socket.sndhwm = 0
        socket.xpub_verboser = 1
        socket.bind(_address(place))
        for _ in range(READERS):
            if not socket.poll(PATIENCE * 1000):
                raise UnavailableError(f"nobody subscribed within {PATIENCE:.0f} s")
            socket.recv()

        def publish(count: int) -> None:
            for _ in range(count):
                socket.send(MESSAGE)

        yield publish


@contextlib.contextmanager
def _subscriber(place: Path) -> Generator[Callable[[int], object]]:
    zmq = needed("zmq")
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.linger = 0
        socket.rcvhwm = 0
        socket.subscribe(b"")
        socket.connect(_address(place))

        def get(count: int) -> None:
            for _ in range(count):
                socket.recv()

        yield get


FANS = (
    Fan(OURS, "", _broadcast, _publishing, _subscribed),
    Fan(ZEROMQ, "zmq", directory, _publisher, _subscriber),
)
