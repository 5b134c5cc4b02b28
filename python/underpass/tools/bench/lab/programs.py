"""Programs with a bug each, as the literature has them: lost updates and wakes, ABBA, SCTBench's twostage and reorder, deaths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from underpass import AtomicInt, Event, Mutex, Queue, Semaphore
from underpass.lab import World


@dataclass(frozen=True, slots=True)
class Bug:
    """A program that is wrong in some schedules, with at most so many deaths."""

    name: str
    program: Callable[[World], object]
    kills: int = 0


def lost_update(world: World) -> None:
    """Two read a number, add one and write it back."""
    number = AtomicInt()

    def increment() -> None:
        number.store(number.load() + 1)

    world.process(increment)
    world.process(increment)
    world.at_end(lambda: number.load() == 2)  # noqa: PLR2004  both


def abba(world: World) -> None:
    """Two take two locks in different orders, one at its beginning, the other at its end; four make noise."""
    first, second = Mutex(), Mutex()
    noise = [AtomicInt() for _ in range(4)]

    def forth() -> None:
        with first, second:
            pass
        make(noise[0])

    def back() -> None:
        make(noise[1])
        with second, first:
            pass

    def make(number: AtomicInt) -> None:
        for _ in range(20):
            number.add(1)

    world.process(forth)
    world.process(back)
    world.process(make, noise[2], name="third")
    world.process(make, noise[3], name="fourth")


def lost_wake_up(world: World) -> None:
    """One forgets what was told before it listens; the other has six things to do before it tells."""
    told, noise = Event(), AtomicInt()

    def listen() -> None:
        told.clear()
        told.wait()

    def tell() -> None:
        for _ in range(6):
            noise.add(1)
        told.set()

    world.process(listen)
    world.process(tell)


def killed_lock_holder(world: World) -> None:
    """The unit of a semaphore stands for a lock: who dies with it leaves nobody in."""
    lock, number = Semaphore(1), AtomicInt()

    def visit() -> None:
        for _ in range(2):
            with lock.holding():
                number.store(number.load() + 1)

    for _ in range(3):
        world.process(visit)


def killed_taker(world: World) -> None:
    """Who has got a job and dies has it still."""
    jobs, results = Queue(2, 8), Queue(2, 8)
    jobs.put(b"job")

    def work() -> None:
        results.put(jobs.get())

    for _ in range(2):
        world.process(work, servant=True)
    world.process(results.get, mortal=False, name="collect")


def two_stage(world: World) -> None:
    """Twenty set a number under one lock, and another from it under another lock; a reader sees the first without the second."""
    first, second = Mutex(), Mutex()
    one, other = AtomicInt(), AtomicInt()

    def write() -> None:
        with first:
            one.store(1)
        with second:
            other.store(one.load() + 1)

    def read() -> None:
        with first:
            seen = one.load()
        with second:
            assert not seen or other.load()

    for _ in range(20):
        world.process(write)
    world.process(read)


def reorder(world: World) -> None:
    """Ten set one number and then another; a reader sees the first without the second."""
    one, other = AtomicInt(), AtomicInt()

    def write() -> None:
        one.store(1)
        other.store(1)

    def read() -> None:
        assert not one.load() or other.load()

    for _ in range(10):
        world.process(write)
    world.process(read)


def alternation(world: World) -> None:
    """Two count together, five times each, and must not do so in turns all the way."""
    count, in_turns = AtomicInt(), AtomicInt()

    def step(first: int) -> None:
        turns = range(first, 10, 2)
        seen = [count.add(1) for _ in turns]
        if seen == list(turns):
            in_turns.add(1)

    world.process(step, 0)
    world.process(step, 1)
    world.at_end(lambda: in_turns.load() < 2)  # noqa: PLR2004  both


BUGS = (
    Bug("lost update", lost_update),
    Bug("ABBA with noise", abba),
    Bug("lost wake-up", lost_wake_up),
    Bug("killed lock holder", killed_lock_holder, kills=1),
    Bug("killed taker", killed_taker, kills=1),
    Bug("two-stage with 20 writers", two_stage),
    Bug("reorder with 10", reorder),
    Bug("alternation of depth 10", alternation),
)
