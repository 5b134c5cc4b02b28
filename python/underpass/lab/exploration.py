"""Explorations: schedules of a program until one breaks it, there are no more, or there were enough."""

import random
import time
from collections.abc import Callable

import greenlet

from underpass._core import Lab
from underpass.lab.autopsy import Search, examine, write
from underpass.lab.coverage import Interrupted, Report, bounds
from underpass.lab.failure import Failure
from underpass.lab.jobs import ALONE, check_jobs, share
from underpass.lab.judge import judge
from underpass.lab.program import World
from underpass.lab.progress import progress
from underpass.lab.search import Found, Searcher, Tally
from underpass.lab.settings import Settings
from underpass.lab.stage import Program, Stage


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
    jobs: int | None = None,
    lines: bool = False,
) -> Report:
    """Run schedules of a program until one fails.

    Each schedule runs ``program(world)`` anew, and then the processes that it has started, one at a time. Every operation
    of a shared object, and every sleep and wake inside it, is a point at which the exploration chooses: who goes on, which
    time-out fires, and, with ``kills`` and ``faults``, who dies, stops, wakes without cause, or finds no room. The objects are
    the real ones; only the kernel below them is simulated, with a clock that stands still until a time-out fires.

    Who comes to its end by itself has to give back what it took: a lock, a lease or a loan, a registration as a putter, a call that
    waits for its reply. What it still holds then is a leak.

    A terminal sees how far it is if it takes longer than a second (``pip install underpass[cli]``). Schedules beyond the first 500
    run in forked processes: what they change in this one's memory is lost.

    Args:
        program: Makes the objects and starts the processes: `World.process`.
        schedules: The most schedules to run.
        kills: The most deaths in one schedule.
        faults: The most faults in one schedule: stops, sleeps that end without a cause, puts and loans that may fail for want of
            room and do, objects that cannot be made because the space is full.
        early: Time-outs may fire while somebody can go on. False: only when nobody can, for programs whose time-outs
            are meant never to fire.
        preemptions: The most times in one schedule that somebody who could go on has to wait; None: any number.
        strategy: Who chooses.
        seed: Where the dice start; the same seed gives, with the same ``jobs``, the same schedules. The default is drawn, and
            reported.
        steps: How long a schedule is before all get their turns in order; one twice as long is a livelock.
        jobs: How many processes run them; None: one for each CPU that this process may use, and only one if it has other
            threads, or if the strategy goes through the schedules in order.
        lines: Every line of the program's own code is a point at which the exploration chooses, too: a process may be overtaken, or
            die, between two lines that use no shared object. Slower, by ten times and more. A global variable that one process
            writes and another reads fails the schedule: real processes would not share it.

    Returns:
        What was covered.

    Raises:
        Failure: A schedule failed: an AssertionError that shows it and says how to repeat it.
        Interrupted: Ctrl-C: a KeyboardInterrupt that says what was covered.
        DiedError: A process that ran schedules was killed.
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
    __tracebackhide__ = True
    return run(program, Settings(schedules, kills, faults, early, preemptions, strategy, seed, steps, jobs, lines))


def replay(program: Program, token: str, *, steps: int = 2_000, lines: bool = False) -> None:
    """Run the one schedule that a token describes, with the same ``steps`` and ``lines`` as the exploration that found it.

    Raises:
        Failure: It fails, as it did.
        ValueError: The token is not one.
    """
    __tracebackhide__ = True
    repeat(program, token, Settings(steps=steps, lines=lines))


Commands = Callable[[str], tuple[str, ...]]
"""Which commands replay a token."""


def run(program: Program, settings: Settings, commands: Commands | None = None) -> Report:
    """Explore; a failure names the commands that replay it."""
    __tracebackhide__ = True
    asked = settings
    if asked.schedules < 1:
        raise ValueError(f"schedules={asked.schedules}: run at least one")
    jobs = check_jobs(asked.jobs, asked.strategy) if asked.schedules > ALONE else 1
    seed = random.SystemRandom().randrange(1, 2**32) if asked.seed is None else asked.seed
    searcher = Searcher(program, asked)
    title, budgets = name(program), bounds(asked.kills, asked.faults, asked.preemptions)
    tally = Tally()
    begun = time.perf_counter()

    def found(broken: Found) -> Search:
        return Search(title, asked.steps, broken.number + 1, seed, budgets, asked.lines, commands)

    def report(*, interrupted: bool = False) -> Report:
        return Report(
            title, asked.strategy, seed, tally.schedules, tally.exhausted, tally.steps,
            time.perf_counter() - begun, asked.kills, asked.faults, asked.preemptions, jobs, interrupted,
            tally.classes, tally.covered, tally.pruned,
        )  # fmt: skip

    try:
        with progress(title, asked.schedules) as tell:
            searcher.run(seed, asked.schedules if jobs == 1 else ALONE, tally, tell)
            if jobs > 1 and not tally.over:
                share(searcher, seed, asked.schedules - ALONE, tally, tell, jobs)
        if tally.found is None:
            return report()
        failure = examine(program, found(tally.found), tally.found.token, tally.found.verdict.kind)
    except KeyboardInterrupt as error:
        # Making it small may be what took too long.
        broken = tally.found
        as_found = None if broken is None else Failure(write(program, found(broken), broken.token))
        raise Interrupted(report(interrupted=True), as_found) from error
    raise failure


def repeat(program: Program, token: str, settings: Settings, commands: Commands | None = None) -> None:
    """Replay; a failure names the commands that do so again."""
    __tracebackhide__ = True
    steps, lines = settings.steps, settings.lines
    lab = Lab.replay(token, steps=steps)
    lab.begin(greenlet.getcurrent().switch)
    verdict = Stage(lab, program, lines=lines).run(judge)
    if verdict is not None:
        raise Failure(write(program, Search(name(program), steps, lines=lines, commands=commands), lab.token))


def name(program: Callable[[World], object]) -> str:
    """Return what reports call a program."""
    return getattr(program, "__qualname__", repr(program)).replace("<locals>.", "")
