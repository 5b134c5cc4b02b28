"""The examples: as threads, as coroutines and as processes of the lab; the same reads and writes in the same order.

The lost update stands in the documentation of all three packages, the transfer and the philosophers in that of frontrun, the lock in
two orders in that of interleave-test, the order that is shipped before it is there in that of detangle.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from underpass import AtomicInt, Mutex, Queue
from underpass.lab import World

# What a model gives: what its threads run, and what must be true when they have.
Model = tuple[Sequence[Callable[[], object]], Callable[[], bool]]


@dataclass(frozen=True, slots=True)
class Example:
    """One bug, in the three worlds.

    Args:
        name: What the table calls it.
        processes: For the lab.
        threads: Makes a new model of threads.
        coroutines: Runs once, and fails by an assertion or a deadlock.
    """

    name: str
    processes: Callable[[World], object]
    threads: Callable[[], Model]
    coroutines: Callable[[], Coroutine[Any, Any, None]]


# ── two add to one number: by one, or what is paid into an account ─────────────────────────────────────────────────────────


@dataclass
class Number:
    """Threads and tasks share it."""

    value: int = 0

    def add(self, more: int) -> None:
        """Read, and then write."""
        seen = self.value
        self.value = seen + more

    async def add_later(self, more: int) -> None:
        """Let others go on in between."""
        seen = self.value
        await asyncio.sleep(0)
        self.value = seen + more


def _adding(name: str, begin: int, first: int, second: int) -> Example:
    total = begin + first + second

    def processes(world: World) -> None:
        number = AtomicInt(begin)

        def add(more: int) -> None:
            number.store(number.load() + more)

        world.process(add, first)
        world.process(add, second)
        world.at_end(lambda: number.load() == total)

    def threads() -> Model:
        number = Number(begin)
        return [lambda: number.add(first), lambda: number.add(second)], lambda: number.value == total

    async def coroutines() -> None:
        number = Number(begin)
        await asyncio.gather(number.add_later(first), number.add_later(second))
        assert number.value == total

    return Example(name, processes, threads, coroutines)


# ── three philosophers, and two who take two locks ───────────────────────────────────────────────────────────────────────────


def _taking(name: str, pairs: Sequence[tuple[int, int]]) -> Example:
    def processes(world: World) -> None:
        locks = [Mutex() for _ in pairs]

        def take(first: int, second: int) -> None:
            with locks[first], locks[second]:
                pass

        for pair in pairs:
            world.process(take, *pair)

    def threads() -> Model:
        locks = [threading.Lock() for _ in pairs]

        def taking(first: int, second: int) -> Callable[[], None]:
            def take() -> None:
                with locks[first], locks[second]:
                    pass

            return take

        return [taking(*pair) for pair in pairs], lambda: True

    async def coroutines() -> None:
        locks = [asyncio.Lock() for _ in pairs]

        async def take(first: int, second: int) -> None:
            async with locks[first]:
                await asyncio.sleep(0)
                async with locks[second]:
                    pass

        await asyncio.gather(*(take(*pair) for pair in pairs))

    return Example(name, processes, threads, coroutines)


# ── what is created must not be shipped before ───────────────────────────────────────────────────────────────────────────────


def _shipping() -> Example:
    def processes(world: World) -> None:
        events = Queue(2, 8)
        world.process(events.put, b"created", name="create")
        world.process(events.put, b"shipped", name="ship")
        world.at_end(lambda: events.get_nowait() == b"created")

    def threads() -> Model:
        events: list[str] = []
        return [lambda: events.append("created"), lambda: events.append("shipped")], lambda: events[0] == "created"

    async def coroutines() -> None:
        events: list[str] = []

        async def tell(event: str) -> None:
            await asyncio.sleep(0.005)
            events.append(event)

        await asyncio.gather(tell("created"), tell("shipped"))
        assert events[0] == "created"

    return Example("shipped before it is created", processes, threads, coroutines)


EXAMPLES = (
    _adding("lost update", 0, 1, 1),
    _adding("bank transfer", 100, 50, 25),
    _taking("two locks in two orders", [(0, 1), (1, 0)]),
    _taking("dining philosophers 3", [(0, 1), (1, 2), (2, 0)]),
    _shipping(),
)
