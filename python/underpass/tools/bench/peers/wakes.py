"""From a wake to the sleeper that runs: one way, by the one clock of the machine."""

from __future__ import annotations

import contextlib
import functools
import mmap
import struct
import time
from collections.abc import Generator

from underpass.tools.bench.measure import Contestant, Sampler
from underpass.tools.bench.partners import PATIENCE, SleepWatch, partner
from underpass.tools.bench.peers import ours, posix, standard_wakes
from underpass.tools.bench.peers.shapes import Wake, place_of
from underpass.tools.bench.placement import Seats, UnavailableError

_STAMP = struct.Struct("q")


@contextlib.contextmanager
def _wakes(wake: Wake, seats: Seats, _batch: int) -> Generator[Sampler]:
    with (
        place_of(wake.module) as place,
        wake.made(place) as made,
        mmap.mmap(-1, mmap.PAGESIZE) as page,
        partner(_sleep_and_stamp, wake, made, page, cpu=seats.server) as sleeper,
        SleepWatch(sleeper) as watch,
    ):

        def one() -> float:
            watch.wait()
            _STAMP.pack_into(page, 0, 0)
            woken = time.monotonic_ns()
            wake.wake(made)
            return float(_stamped(page) - woken)

        yield lambda count: [one() for _ in range(count)]


def _sleep_and_stamp(wake: Wake, made: object, page: mmap.mmap) -> None:
    while True:
        wake.sleep(made)
        _STAMP.pack_into(page, 0, time.monotonic_ns())


def _stamped(page: mmap.mmap) -> int:
    """When the sleeper ran. Looks without sleeping."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        (stamp,) = _STAMP.unpack_from(page, 0)
        if stamp:
            return stamp
    raise UnavailableError(f"the sleeper did not wake within {PATIENCE:.0f} s")


WAKES = tuple(
    Contestant(wake.name, functools.partial(_wakes, wake), samples=20)
    for wake in (*standard_wakes.WAKES, posix.WAKE, ours.WAKE)
)
