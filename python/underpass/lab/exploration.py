"""Explorations: schedules of a program until one breaks it, there are no more, or there were enough."""

import random
import time
from collections.abc import Callable

from underpass._core import Lab
from underpass.lab.autopsy import Origin, examine, write
from underpass.lab.coverage import Interrupted, Report, bounds
from underpass.lab.failure import Failure
from underpass.lab.jobs import ALONE, check_jobs, share, worker_seed
from underpass.lab.judge import judge
from underpass.lab.program import World
from underpass.lab.progress import progress
from underpass.lab.real import Diverged, force
from underpass.lab.search import Found, Searcher, Tally
from underpass.lab.settings import Settings
from underpass.lab.stage import Program, Stage
from underpass.lab.stray import stray

# Who chooses where nobody was asked for.
_RANDOM, _ORDERLY = "portfolio", "dpor"


def explore(  # noqa: PLR0913 - what there is to say, each by its name
    program: Program,
    *,
    schedules: int = 10_000,
    kills: int = 0,
    faults: int = 0,
    early: bool = True,
    preemptions: int | None = None,
    strategy: str | None = None,
    seed: int | None = None,
    steps: int = 2_000,
    jobs: int | None = None,
    lines: bool = False,
    real: bool = False,
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
        early: Time-outs may fire while somebody can go on, and in any order, as on a machine that is busy. False: only when
            nobody can, and in the order of their deadlines: for programs whose time-outs are meant never to fire, or in order.
        preemptions: The most times in one schedule that somebody who could go on has to wait; None: any number.
        strategy: Who chooses: ``walk``, ``turns``, ``pct``, ``pos``, ``urw``, ``surw``, or ``portfolio``, in which these take turns;
            ``dpor``, which runs one schedule of each class; ``every``, which runs all. None: the portfolio, and for schedules beyond
            the first 500 ``dpor`` too, in one of the processes or for half of the rest: it may find that there are no more.
        seed: Where the dice start; the same seed gives, with the same ``jobs``, the same schedules. The default is drawn, and
            reported.
        steps: How long a schedule is before all get their turns in order; one twice as long is a livelock.
        jobs: How many processes run them; None: one for each CPU that this process may use, and only one if it has other
            threads, or if the strategy goes through the schedules in order.
        lines: Every line of the program's own code is a point at which the exploration chooses, too: a process may be overtaken, or
            die, between two lines that use no shared object. Slower, by ten times and more. A global variable that one process
            writes and another reads fails the schedule: real processes would not share it.
        real: Force a schedule that fails on real processes too, as `replay` does; the failure says what happened there.

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
    settings = Settings(schedules, kills, faults, early, preemptions, strategy, seed, steps, jobs, lines)
    return run(program, settings, real=real)


def replay(program: Program, token: str, *, steps: int = 2_000, lines: bool = False, real: bool = False) -> None:
    """Run the one schedule that a token describes, with the same ``steps`` and ``lines`` as the exploration that found it.

    With ``real`` it is forced on real processes as well: each is forked, sleeps in the kernel, is killed with SIGKILL and stopped with
    SIGSTOP where the schedule says so, and its objects are files in a space that is removed afterwards. Everybody asks for a turn at
    the same points as in the lab, and whoever should sleep is seen asleep before the next has its turn. Only the clock is the lab's: a
    time-out fires when the schedule says so.

    Args:
        program: What was explored.
        token: What its failure says.
        steps: Those of the exploration.
        lines: Those of the exploration.
        real: Force the schedule on real processes too.

    Raises:
        Failure: It fails, as it did; with ``real``, on real processes too.
        Diverged: It does not fail, and cannot be followed to its end: it is another program's, or the program has changed since. Or
            real processes do something else than those of the lab, or cannot be made to. It says at which step, and why.
        DiedError: The process that conducts the others was killed.
        ValueError: The token is not one.

    Example:
        >>> from underpass import AtomicInt, lab
        >>> def program(world):
        ...     number = AtomicInt()
        ...     world.process(number.add, 1)
        ...     world.process(number.add, 1)
        ...     world.at_end(lambda: number.load() == 2)
        >>> lab.replay(program, "0.1x2.0", real=True)
    """
    __tracebackhide__ = True
    repeat(program, token, Settings(steps=steps, lines=lines), real=real)


Commands = Callable[[str], tuple[str, ...]]
"""Which commands replay a token."""


def run(program: Program, settings: Settings, commands: Commands | None = None, *, real: bool = False) -> Report:
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

    def found(broken: Found) -> Origin:
        return Origin(title, asked.steps, broken.number + 1, seed, budgets, asked.lines, commands)

    def report(*, interrupted: bool = False) -> Report:
        return Report(
            title, _called(asked), seed, tally.schedules, tally.exhausted, tally.steps,
            time.perf_counter() - begun, asked.kills, asked.faults, asked.preemptions, jobs, interrupted,
            tally.classes, tally.covered, tally.pruned,
        )  # fmt: skip

    try:
        with progress(title, asked.schedules) as tell:
            _search(searcher, asked, seed, jobs, tally, tell)
        if tally.found is None:
            return report()
        failure = examine(program, found(tally.found), tally.found.token, tally.found.verdict)
    except KeyboardInterrupt as error:
        # Making it small may be what took too long.
        broken = tally.found
        as_found = None if broken is None else Failure(write(program, found(broken), broken.token))
        raise Interrupted(report(interrupted=True), as_found) from error
    raise on_real_processes(program, failure, asked) if real else failure


def _search(  # noqa: PLR0913, PLR0917 - those of Searcher.run, and who searches
    searcher: Searcher, asked: Settings, seed: int, jobs: int, tally: Tally, tell: Callable[[Tally], object]
) -> None:
    strategy, left = asked.strategy or _RANDOM, asked.schedules - ALONE
    both = asked.strategy is None and left > 0
    searcher.run(strategy, seed, ALONE if both or jobs > 1 else asked.schedules, tally, tell)
    if left <= 0 or tally.over:
        return
    if jobs > 1:
        strategies = [_ORDERLY if both else strategy] + [strategy] * (jobs - 1)
        share(searcher, strategies, seed, left, tally, tell)
    elif both:
        searcher.run(_ORDERLY, seed, left // 2, tally, tell)
        if not tally.over:
            searcher.run(strategy, worker_seed(seed, 0), left - left // 2, tally, tell)


def _called(asked: Settings) -> str:
    """Return what reports call the strategies."""
    return asked.strategy or (_RANDOM if asked.schedules <= ALONE else f"{_RANDOM}, {_ORDERLY}")


def repeat(
    program: Program, token: str, settings: Settings, commands: Commands | None = None, *, real: bool = False
) -> None:
    """Replay; a failure names the commands that do so again."""
    __tracebackhide__ = True
    steps, lines = settings.steps, settings.lines
    lab = Lab.replay(token, steps=steps)
    stage = Stage(lab, program, lines=lines)
    verdict = stage.replay(judge)
    strayed = stray(stage) if verdict is None else None
    if strayed is not None:
        raise strayed
    told = _forced(program, token, settings) if real else None
    if verdict is not None:
        raise Failure(write(program, Origin(name(program), steps, lines=lines, commands=commands), lab.token), told)


def on_real_processes(program: Program, failure: Failure, settings: Settings) -> Failure:
    """Return the failure with what happens to its schedule on real processes."""
    try:
        told = _forced(program, failure.token, settings)
    except Diverged as error:
        told = str(error)
    return Failure(failure.trace, told)


def _forced(program: Program, token: str, settings: Settings) -> str | None:
    forced = force(program, token, settings.steps, lines=settings.lines)
    if forced.real is not None:
        return f"the same {forced.real.kind}: {forced.real.summary}"
    if forced.lab is not None:
        return f"not tried: a {forced.lab.kind} is told of Python objects that only the lab's processes share"
    return None


def name(program: Callable[[World], object]) -> str:
    """Return what reports call a program."""
    return getattr(program, "__qualname__", repr(program)).replace("<locals>.", "")
