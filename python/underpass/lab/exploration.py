"""Explorations: schedules of a program until one breaks it, there are no more, or there were enough."""

import gc
import random
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

import greenlet

from underpass._core import Lab
from underpass.lab.autopsy import Search, examine, write
from underpass.lab.failure import Failure
from underpass.lab.judge import judge
from underpass.lab.program import World
from underpass.lab.stage import Program, Stage

# Collections of garbage between schedules: what a schedule leaves is nearly always freed at once.
SWEEP_EVERY = 2_000


@final
@dataclass(frozen=True)
class Report:
    """What an exploration has covered: it is printed when nothing was found."""

    program: str
    strategy: str
    seed: int
    schedules: int
    """Schedules that were run to their end."""
    exhausted: bool
    """There is no other schedule within the budgets."""
    steps: int
    """Choices made, in all of them."""
    seconds: float
    kills: int
    faults: int
    preemptions: int | None

    def __str__(self) -> str:
        bounds = _bounds(self.kills, self.faults, self.preemptions)
        within = f", {bounds}" if bounds else ""
        if self.exhausted:
            return f"{self.program}: exhausted: {self.schedules:,} schedules{within}"
        return (
            f"{self.program}: not exhausted: {self.schedules:,} schedules ({self.strategy}, seed {self.seed}){within}"
        )


def explore(  # noqa: PLR0913 - what there is to say, each by its name
    program: Program,
    *,
    schedules: int = 10_000,
    kills: int = 0,
    faults: int = 0,
    early: bool = True,
    preemptions: int | None = None,
    strategy: str = "portfolio",
    seed: int | None = None,
    steps: int = 2_000,
) -> Report:
    """Run schedules of a program until one fails.

    Each schedule runs ``program(world)`` anew, and then the processes that it has started, one at a time. Every operation
    of a shared object, and every sleep and wake inside it, is a point at which the exploration chooses: who goes on, which
    time-out fires, and, with ``kills`` and ``faults``, who dies, stops, or wakes without cause. The objects are the real ones;
    only the kernel below them is simulated, with a clock that stands still until a time-out fires.

    Args:
        program: Makes the objects and starts the processes: `World.process`.
        schedules: The most schedules to run.
        kills: The most deaths in one schedule.
        faults: The most stops and wakes without cause in one schedule.
        early: Time-outs may fire while somebody can go on. False: only when nobody can, for programs whose time-outs
            are meant never to fire.
        preemptions: The most times in one schedule that somebody who could go on has to wait; None: any number.
        strategy: Who chooses.
        seed: Where the dice start; the same seed gives the same schedules. The default is drawn, and reported.
        steps: How long a schedule is before all get their turns in order; one twice as long is a livelock.

    Returns:
        What was covered.

    Raises:
        Failure: A schedule failed: an AssertionError that shows it and says how to repeat it.
        ValueError: An argument is out of range.

    Example:
        >>> from underpass import Mutex, lab
        >>> def visit(door):
        ...     with door:
        ...         pass
        >>> def program(world):
        ...     door = Mutex()
        ...     world.process(visit, door)
        ...     world.process(visit, door)
        >>> lab.explore(program, schedules=100, seed=1).schedules
        100
    """
    if schedules < 1:
        raise ValueError(f"schedules={schedules}: run at least one")
    start = random.SystemRandom().randrange(1, 2**32) if seed is None else seed
    lab = Lab(strategy, start, kills=kills, faults=faults, early=early, preemptions=preemptions, steps=steps)
    stage = Stage(lab, program)
    begun = time.perf_counter()
    done = taken = 0
    exhausted = False
    with _quiet_collector():
        while done < schedules:
            if not lab.begin(greenlet.getcurrent().switch):
                exhausted = True
                break
            verdict = stage.run(judge)
            done += 1
            taken += lab.steps
            if verdict is not None:
                budgets = _bounds(kills, faults, preemptions)
                raise examine(program, Search(_name(program), steps, done, start, budgets), lab.token, verdict.kind)
            if done % SWEEP_EVERY == 0:
                gc.collect()
    seconds = time.perf_counter() - begun
    return Report(_name(program), strategy, start, done, exhausted, taken, seconds, kills, faults, preemptions)


def replay(program: Program, token: str, *, steps: int = 2_000) -> None:
    """Run the one schedule that a token describes.

    Raises:
        Failure: It fails, as it did.
        ValueError: The token is not one.
    """
    lab = Lab.replay(token, steps=steps)
    lab.begin(greenlet.getcurrent().switch)
    verdict = Stage(lab, program).run(judge)
    if verdict is not None:
        raise Failure(write(program, Search(_name(program), steps), lab.token))


def _bounds(kills: int, faults: int, preemptions: int | None) -> str:
    bounds = [
        f"≤ {count} {what}{'s' if count > 1 else ''}" for count, what in ((kills, "kill"), (faults, "fault")) if count
    ]
    if preemptions is not None:
        bounds.append(f"≤ {preemptions} preemptions")
    return ", ".join(bounds)


def _name(program: Callable[[World], object]) -> str:
    return getattr(program, "__qualname__", repr(program)).replace("<locals>.", "")


@contextmanager
def _quiet_collector() -> Generator[None]:
    """Have garbage collected between schedules: a collection inside one would run finalizers at a place of its own choice."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
