"""How many classes of schedules there are until the reduction has gone through them all."""

from __future__ import annotations

from collections.abc import Iterator

from underpass import AtomicInt, Event, Mutex
from underpass.lab import World
from underpass.lab.search import Searcher, Tally
from underpass.lab.settings import Settings
from underpass.lab.stage import Program
from underpass.tools.bench.measure import Absent, Effort, Row
from underpass.tools.bench.placement import Placement, pinned, seats

PHILOSOPHERS, LOST_WAKE_UP, REORDER = "dining philosophers 3", "lost wake-up", "reorder 4"
LIMIT = 20_000


def philosophers(world: World) -> None:
    """Three forks, and each takes the left one first."""
    forks = [Mutex() for _ in range(3)]

    def eat(left: int, right: int) -> None:
        with forks[left], forks[right]:
            pass

    for number in range(3):
        world.process(eat, number, (number + 1) % 3)


def lost_wake_up(world: World) -> None:
    """One forgets what was told before it listens."""
    told = Event()

    def listen() -> None:
        told.clear()
        told.wait()

    world.process(listen)
    world.process(told.set, name="tell")


def reorder(world: World) -> None:
    """Three set one number and then another; a fourth reads both."""
    one, other = AtomicInt(), AtomicInt()

    def write() -> None:
        one.store(1)
        other.store(-1)

    def read() -> None:
        one.load()
        other.load()

    for _ in range(3):
        world.process(write)
    world.process(read)


PROGRAMS: dict[str, Program] = {PHILOSOPHERS: philosophers, LOST_WAKE_UP: lost_wake_up, REORDER: reorder}


def measure(group: str, _effort: Effort) -> Iterator[Row | Absent]:
    """Go through all schedules of each, also beyond those that fail."""
    with pinned(seats(Placement.ONE_CPU).client):
        for name, program in PROGRAMS.items():
            classes = exhaust(program)
            if classes is None:
                yield Absent(group, name, Placement.ONE_CPU, f"not exhausted after {LIMIT:,} schedules")
            else:
                yield _row(group, name, float(classes))


def exhaust(program: Program, limit: int = LIMIT) -> int | None:
    """Return how many classes of schedules there are; None: more schedules than the limit."""
    tally = Tally()
    # Nobody judges: one that ends in a deadlock is a class like any other.
    searcher = Searcher(program, Settings(), judge=lambda _stage, _end: None)
    searcher.run("dpor", 0, limit, tally, lambda _: None)
    return tally.classes if tally.exhausted else None


def _row(group: str, name: str, classes: float) -> Row:
    return Row(
        group=group,
        name=name,
        placement=Placement.ONE_CPU,
        median=classes,
        p99=classes,
        samples=1,
        batch=1,
        rounds=(classes,),
        reference=None,
        ratio=None,
        unit="classes",
    )
