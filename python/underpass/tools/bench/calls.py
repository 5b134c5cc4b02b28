"""Round trips of a call: 64 bytes through a gate to `Port.serve_bytes` with a Python handler, and back."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Generator
from itertools import repeat

from underpass import Gate, Port, Space
from underpass.tools.bench.measure import Contestant, Sampler, timed
from underpass.tools.bench.partners import PATIENCE, SleepWatch, partner
from underpass.tools.bench.placement import Seats
from underpass.tools.bench.spaces import private_space

CALL = "underpass call"

MESSAGE = bytes(64)


@contextlib.contextmanager
def served(handler: Callable[[bytes], bytes], cpu: int | None) -> Generator[tuple[Gate, int]]:
    """A gate to a process that serves a handler, and that process's pid."""
    with private_space() as space, partner(_serve, space, handler, cpu=cpu) as server:
        gate = Gate.open("bench", space=space, timeout=PATIENCE)
        try:
            yield gate, server
        finally:
            gate.close()


def call(*, batch: int, samples: int) -> Contestant:
    """The call, as a contestant."""
    return Contestant(CALL, _calls, batch=batch, samples=samples)


@contextlib.contextmanager
def _calls(seats: Seats, batch: int) -> Generator[Sampler]:
    with served(_echo, seats.server) as (gate, server):
        if seats.asleep:
            with SleepWatch(server) as watch:
                yield timed(functools.partial(gate.call, MESSAGE), batch, before=watch.wait)
        else:
            yield functools.partial(_time_calls, gate.call, batch)


def _time_calls(call: Callable[[bytes], bytes], batch: int, count: int) -> list[float]:
    """The loop around the call is as short as Python allows: it is part of what is measured."""
    samples: list[float] = []
    for _ in range(count):
        started = time.perf_counter_ns()
        for _ in repeat(None, batch):
            call(MESSAGE)
        samples.append((time.perf_counter_ns() - started) / batch)
    return samples


def _serve(space: Space, handler: Callable[[bytes], bytes]) -> None:
    Port.create("bench", space=space).serve_bytes(handler)


def _echo(data: bytes) -> bytes:
    return data
