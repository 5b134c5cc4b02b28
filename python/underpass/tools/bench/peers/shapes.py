"""What is measured of every peer, and how: one shape each, so that nobody gets a better loop than the others.

A peer is *made* before the other process is forked (descriptors, names, addresses), and each process then opens its own end.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from underpass.tools.bench.measure import Contestant, Sampler, timed
from underpass.tools.bench.partners import PATIENCE, partner
from underpass.tools.bench.placement import Seats, UnavailableError

MESSAGE = bytes(64)

_FORK = multiprocessing.get_context("fork")

# Makes what both processes need, in a directory of the measurement's own.
Made = Callable[[Path], AbstractContextManager[Any]]
# Opens an end of what was made, as an operation to repeat.
Opened = Callable[[Any], AbstractContextManager[Callable[[], object]]]
# Opens an end of what was made, as an operation that moves so many messages.
Moved = Callable[[Any], AbstractContextManager[Callable[[int], object]]]


def needed(module: str) -> Any:
    """A peer's module.

    Raises:
        UnavailableError: It is not installed.
    """
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        raise UnavailableError("not installed")
    return importlib.import_module(module)


@contextlib.contextmanager
def nothing(_directory: Path) -> Generator[None]:
    """For peers that need nothing made."""
    yield


@contextlib.contextmanager
def directory(place: Path) -> Generator[Path]:
    """For peers that need a place for a socket."""
    yield place


@dataclass(frozen=True, slots=True)
class Echo:
    """A request goes, a reply comes back.

    Args:
        name: What the table calls it.
        module: What must be importable; empty for the standard library.
        made: What both ends need.
        serve: Answers for ever, in the other process.
        trip: Opens the client's end as one round trip.
        sleeps: Whether whoever waits leaves the CPU to others.
    """

    name: str
    module: str
    made: Made
    serve: Callable[[Any], object]
    trip: Opened
    sleeps: bool = True

    def contestant(self, *, batch: int = 1, samples: int = 20) -> Contestant:
        """The round trip, as a contestant."""
        return Contestant(self.name, functools.partial(_trips, self), batch=batch, samples=samples)


@contextlib.contextmanager
def _trips(echo: Echo, seats: Seats, batch: int) -> Generator[Sampler]:
    with (
        place_of(echo.module) as place,
        echo.made(place) as made,
        partner(echo.serve, made, cpu=seats.server),
        echo.trip(made) as trip,
    ):
        yield timed(trip, batch)


@dataclass(frozen=True, slots=True)
class Flow:
    """Messages go one way, from some processes to one.

    Args:
        name: What the table calls it.
        module: What must be importable; empty for the standard library.
        made: What all ends need.
        producer: Opens a producer's end.
        consumer: Opens the consumer's end.
    """

    name: str
    module: str
    made: Made
    producer: Moved
    consumer: Moved

    def contestant(self, producers: int, *, batch: int = 2000) -> Contestant:
        """So many producers and one consumer, as a contestant. Times are those of one message."""
        return Contestant(self.name, functools.partial(_flows, self, producers), batch=batch, samples=3)


@contextlib.contextmanager
def _flows(flow: Flow, producers: int, seats: Seats, batch: int) -> Generator[Sampler]:
    """Times batches by the consumer's clock: from its first message to its last, so that nobody's start counts."""
    with contextlib.ExitStack() as opened:
        made = opened.enter_context(flow.made(opened.enter_context(place_of(flow.module))))
        orders: list[Connection] = []
        for _ in range(producers):
            here, there = _FORK.Pipe()
            opened.enter_context(here)
            opened.enter_context(there)
            opened.enter_context(partner(_produce, flow, made, there, cpu=seats.server))
            orders.append(here)
        consume = opened.enter_context(flow.consumer(made))
        each = max(1, batch // producers)

        def sample(count: int) -> list[float]:
            samples: list[float] = []
            for _ in range(count):
                for order in orders:
                    order.send(each)
                consume(1)
                started = time.perf_counter_ns()
                consume(each * producers - 1)
                samples.append((time.perf_counter_ns() - started) / (each * producers - 1))
            return samples

        yield sample


def _produce(flow: Flow, made: Any, orders: Connection) -> None:
    with flow.producer(made) as produce:
        while True:
            produce(orders.recv())


@contextlib.contextmanager
def place_of(module: str) -> Generator[Path]:
    """A directory for one measurement of a peer that is installed."""
    if module:
        needed(module)
    with tempfile.TemporaryDirectory(prefix="underpass-peers-") as place:
        yield Path(place)


def served(poll: Callable[[float], bool]) -> None:
    """Wait for a server that is starting."""
    deadline = time.monotonic() + PATIENCE
    while not poll(0.01):
        if time.monotonic() > deadline:
            raise UnavailableError(f"its server did not start within {PATIENCE:.0f} s")
