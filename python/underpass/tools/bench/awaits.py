"""From a notification to the coroutine that goes on, beside a raw eventfd in the same loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Coroutine, Generator

from underpass import Notification
from underpass.tools.bench.measure import Contestant, Sampler
from underpass.tools.bench.placement import Seats, UnavailableError

EVENTFD = "eventfd, asyncio"
NOTIFICATION = "Notification.aio, asyncio"
EVENTFD_UVLOOP = "eventfd, uvloop"
NOTIFICATION_UVLOOP = "Notification.aio, uvloop"

Loop = asyncio.AbstractEventLoop


async def _eventfd(loop: Loop, count: int) -> list[float]:
    """What a program would write that needs nothing but a wake."""
    samples: list[float] = []
    descriptor, started, woken = os.eventfd(0, os.EFD_NONBLOCK), 0, loop.create_future()

    def ring() -> None:
        nonlocal started
        started = time.perf_counter_ns()
        os.eventfd_write(descriptor, 1)

    def readable() -> None:
        os.eventfd_read(descriptor)
        woken.set_result(None)

    loop.add_reader(descriptor, readable)
    try:
        for _ in range(count):
            woken = loop.create_future()
            loop.call_soon(ring)
            await woken
            samples.append(float(time.perf_counter_ns() - started))
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return samples


async def _notification(loop: Loop, count: int) -> list[float]:
    samples: list[float] = []
    with contextlib.closing(Notification()) as news:
        started, wait = 0, news.aio.wait

        def ring() -> None:
            nonlocal started
            started = time.perf_counter_ns()
            news.notify(1)

        for _ in range(count):
            loop.call_soon(ring)
            await wait()
            samples.append(float(time.perf_counter_ns() - started))
    return samples


def _uvloop() -> Loop:
    try:
        import uvloop
    except ImportError:
        raise UnavailableError("uvloop is not installed") from None
    return uvloop.new_event_loop()


def _contestant(
    name: str, make: Callable[[], Loop], wakes: Callable[[Loop, int], Coroutine[None, None, list[float]]]
) -> Contestant:
    @contextlib.contextmanager
    def opened(_seats: Seats, _batch: int) -> Generator[Sampler]:
        with contextlib.closing(make()) as loop:
            yield lambda count: loop.run_until_complete(wakes(loop, count))
            loop.run_until_complete(loop.shutdown_asyncgens())

    return Contestant(name, opened, samples=200)


# The notifier runs in the loop itself, so that no scheduler of the kernel's is in what is measured.
AWAITS = (
    _contestant(EVENTFD, asyncio.new_event_loop, _eventfd),
    _contestant(NOTIFICATION, asyncio.new_event_loop, _notification),
)
AWAITS_UVLOOP = (
    _contestant(EVENTFD_UVLOOP, _uvloop, _eventfd),
    _contestant(NOTIFICATION_UVLOOP, _uvloop, _notification),
)
