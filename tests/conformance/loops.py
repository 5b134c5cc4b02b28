"""The event loops that awaiting cases run on, and how they see that a task waits."""

import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio
import uvloop

from tests.conformance.backends import PATIENCE, Actor, Flag, Processes, Threads
from underpass import BrokenBarrierError, ClosedError, ResetError
from underpass.aio import running

T = TypeVar("T")

LOOPS: dict[str, tuple[str, dict[str, object]]] = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}


# libuv keeps a pipe for signals from its first loop on, for good: no test's.
uvloop.new_event_loop().close()


class EventLoop:
    """One of them."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, main: Callable[[], Awaitable[T]]) -> T:
        """Run ``main()`` to its end."""
        backend, options = LOOPS[self.name]
        return anyio.run(main, backend=backend, backend_options=options)


def waiting() -> int:
    """How many tasks of this loop wait for objects."""
    here = running.reactor()
    return here.waiting + sum(seat.waiting for seat in here.seats.values())


def later(world: Threads | Processes, do: Callable[[], T]) -> tuple[Flag, Actor[T]]:
    """One that does it when it is told to, started before the loop: a fork of a running one is in it."""
    go = world.flag()

    def act() -> T:
        go.wait()
        return do()

    return go, world.start(act)


async def ended(verb: Callable[[], Awaitable[object]], into: list[Any], name: object = None) -> None:
    """Note that a verb of that name returned, or without one what it returned; or how it ended."""
    try:
        returned = await verb()
        into.append(returned if name is None else name)
    except (BrokenBarrierError, ResetError, ClosedError) as error:
        into.append(type(error))


async def until(condition: Callable[[], object], what: str = "the condition") -> None:
    """Let others run until ``condition`` holds; a watchdog fails the test."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {PATIENCE} s"
        await anyio.sleep(0.0005)


async def until_waiting(count: int) -> None:
    """Let others run until so many tasks wait."""
    await until(lambda: waiting() == count, f"{count} waiting tasks")
