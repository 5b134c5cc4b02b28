"""Arrays of 16 MiB from one process to one other, which looks at none of their bytes."""

from __future__ import annotations

import contextlib
import importlib.util
import multiprocessing
from collections.abc import Callable, Generator
from itertools import repeat
from typing import Any

import underpass
from underpass.tools.bench.measure import Contestant, Sampler
from underpass.tools.bench.placement import Seats, UnavailableError
from underpass.tools.bench.queues import moving
from underpass.tools.bench.standard import ending, uninterrupted

ARRAYS = "underpass.ObjectQueue, an array of 16 MiB"
PEER_ARRAYS = "multiprocessing.Queue, an array of 16 MiB"

BYTES = 16 << 20
# One that is written, one that is queued, one that is read.
BLOCKS = 3

_FORK = multiprocessing.get_context("fork")


def _array() -> object:
    if importlib.util.find_spec("numpy") is None:
        raise UnavailableError("numpy is not installed")
    import numpy as np

    return np.ones(BYTES, np.uint8)


@contextlib.contextmanager
def _ours(obj: object, seats: Seats, batch: int, **sizes: Any) -> Generator[Sampler]:
    with (
        contextlib.closing(underpass.ObjectQueue[Any](**sizes)) as queue,
        moving(_repeated(lambda: queue.put(obj)), _repeated(queue.get), seats, batch) as sampler,
    ):
        yield sampler


@contextlib.contextmanager
def _peer(obj: object, seats: Seats, batch: int) -> Generator[Sampler]:
    queue: multiprocessing.Queue[Any] = _FORK.Queue(64)
    with (
        ending(queue),
        moving(_repeated(lambda: queue.put(obj)), _repeated(queue.get), seats, batch) as sampler,
    ):
        yield uninterrupted(sampler)


def _repeated(verb: Callable[[], object]) -> Callable[[int], None]:
    def run(count: int) -> None:
        for _ in repeat(None, count):
            verb()

    return run


OBJECTS = (
    Contestant(PEER_ARRAYS, lambda seats, batch: _peer(_array(), seats, batch), batch=5, samples=5),
    Contestant(
        ARRAYS,
        lambda seats, batch: _ours(_array(), seats, batch, blocks=BLOCKS, block_size=BYTES + 4096),
        batch=20,
        samples=5,
    ),
)
