"""How many schedules a second: three processes with six operations each.

It is a second of CPU time: nobody sleeps, and what else the machine does is not the lab's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Generator, Iterator

from underpass import AtomicInt, Mutex, Queue
from underpass.lab import World
from underpass.lab.search import Searcher, Tally
from underpass.lab.settings import Settings
from underpass.lab.stage import Program
from underpass.tools.bench.measure import Absent, Contestant, Effort, Row, Sampler, compete
from underpass.tools.bench.placement import Placement, Seats

COUNTER, LOCK, QUEUE = "AtomicInt: add", "Mutex and AtomicInt: acquire, add, release", "Queue: put, get"


def _add(count: AtomicInt) -> None:
    for _ in range(6):
        count.add(1)


def counter(world: World) -> None:
    """Nobody waits."""
    count = AtomicInt()
    for _ in range(3):
        world.process(_add, count)


def _add_alone(count: AtomicInt, lock: Mutex) -> None:
    for _ in range(2):
        lock.acquire()
        count.add(1)
        lock.release()


def lock(world: World) -> None:
    """Those who come later wait."""
    count, lock = AtomicInt(), Mutex()
    for _ in range(3):
        world.process(_add_alone, count, lock)


def _put_and_get(queue: Queue) -> None:
    for _ in range(3):
        queue.put(b"item")
        queue.get()


def queue(world: World) -> None:
    """They find it empty, and full."""
    queue = Queue(2, 8)
    for _ in range(3):
        world.process(_put_and_get, queue)


def _contestant(name: str, program: Program) -> Contestant:
    @contextlib.contextmanager
    def opened(_seats: Seats, batch: int) -> Generator[Sampler]:
        def sample(count: int) -> list[float]:
            return [_time(program, seed, batch) for seed in range(1, count + 1)]

        yield sample

    return Contestant(name, opened, batch=1_000, samples=3)


def _time(program: Program, seed: int, schedules: int) -> float:
    searcher, tally = Searcher(program, Settings()), Tally()
    started = time.process_time_ns()
    searcher.run("portfolio", seed, schedules, tally, lambda _: None)
    return (time.process_time_ns() - started) / tally.schedules


def measure(group: str, effort: Effort) -> Iterator[Row | Absent]:
    """Run schedules of each program in turns."""
    contestants = [_contestant(COUNTER, counter), _contestant(LOCK, lock), _contestant(QUEUE, queue)]
    for outcome in compete(group, contestants, Placement.ONE_CPU, effort):
        yield dataclasses.replace(outcome, unit="schedules/s") if isinstance(outcome, Row) else outcome
