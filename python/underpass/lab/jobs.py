"""A search on several CPUs: forked workers, each with dice of its own.

What is found does not depend on who is faster. The schedules of all workers stand in one order, the first of each, then the second of
each, ...; of the schedules that fail the first in that order counts, so a failure is believed when every worker has passed it.
So is that there are no more, which the one that goes through them in order may find.
"""

import os
import pickle
import random
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from ctypes import CDLL
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import connection
from typing import Any, NamedTuple, final

from underpass.errors import DiedError
from underpass.lab.search import IN_ORDER, Found, Searcher, Tally

# Schedules that the exploring process runs by itself before it forks: what fails soon, and what is short, is done by then.
ALONE = 500
# Seconds that a worker has to end by itself once nobody listens to it.
_GRACE = 1.0
_PR_SET_PDEATHSIG = 1


Search = Callable[[Tally, Callable[[Tally], object]], object]
"""Counts what it does, and tells it."""


class Unheard(Exception):
    """Nobody listens to a worker any more."""


class Raised(NamedTuple):
    """The program itself raised, while it was set up."""

    number: int
    error: BaseException


class Exhausted(NamedTuple):
    """There was no other schedule."""

    number: int


Outcome = Found | Raised | Exhausted
"""What ends a search before its schedules are run; all have a number among those of their worker."""


def check_jobs(jobs: int | None, strategy: str | None) -> int:
    """Return how many processes search: what was asked for, or what there is."""
    divisible = strategy not in IN_ORDER
    if jobs is None:
        # A fork takes only the thread that makes it, and others' locks stay locked for ever.
        alone = not divisible or threading.active_count() > 1
        return 1 if alone else len(os.sched_getaffinity(0))
    if jobs < 1:
        raise ValueError(f"jobs={jobs}: one at least has to search")
    if jobs > 1 and not divisible:
        raise ValueError(f"jobs={jobs}: '{strategy}' goes through the schedules in order and cannot be divided: jobs=1")
    return jobs


@final
@dataclass(slots=True)
class Worker:
    """One of them, as the exploring process sees it."""

    place: int
    pid: int
    pidfd: int
    inbox: "connection.Connection[Any, Any]"
    tally: Tally = field(default_factory=Tally)
    outcome: Outcome | None = None
    over: bool = False


def share(  # noqa: PLR0913, PLR0917 - those of Searcher.run, but for one strategy for each who searches
    searcher: Searcher, strategies: list[str], seed: int, limit: int, tally: Tally, tell: Callable[[Tally], object]
) -> None:
    """Run up to ``limit`` schedules in forked workers, and count in ``tally``, which is told now and then.

    Raises:
        DiedError: A worker died.
    """
    before, jobs = replace(tally), len(strategies)
    workers: list[Worker] = []
    try:
        for place, strategy in enumerate(strategies):
            quota = limit // jobs + (place < limit % jobs)
            search = partial(searcher.run, strategy, worker_seed(seed, place), quota)
            _start(search, place, workers)
        while (outcome := first(workers)) is None and not all(worker.over for worker in workers):
            listening = {worker.inbox: worker for worker in workers if not worker.over}
            for ready in connection.wait(listening):
                _hear(listening[ready], jobs)  # pyright: ignore[reportArgumentType] - what it was given
            _add(tally, before, workers)
            tell(tally)
    except KeyboardInterrupt:
        # What has been found is found, though an earlier one may be missed.
        tally.found = _numbered(_earliest(workers), jobs, before.run)
        raise
    finally:
        _end(workers)
    if outcome is not None and isinstance(outcome[1], Raised):
        raise outcome[1].error
    tally.exhausted = outcome is not None and isinstance(outcome[1], Exhausted)
    tally.found = _numbered(outcome, jobs, before.run)


def _add(tally: Tally, before: Tally, workers: list[Worker]) -> None:
    """Count what all have done."""
    told = [worker.tally for worker in workers]
    tally.schedules = before.schedules + sum(one.schedules for one in told)
    tally.pruned = before.pruned + sum(one.pruned for one in told)
    tally.steps = before.steps + sum(one.steps for one in told)
    for one in told:
        if one.classes is not None or one.covered is not None:
            tally.classes, tally.covered = one.classes, one.covered


def worker_seed(seed: int, place: int) -> int:
    """Return where the dice of a worker start."""
    return random.Random(f"{seed}/{place}").getrandbits(64)  # noqa: S311 - it has to be repeatable


# ── which failure counts ────────────────────────────────────────────────────────────────────────────────────────────────


def _earliest(workers: list[Worker]) -> tuple[Worker, Outcome] | None:
    """Return who has come upon the earliest schedule that fails, or found no more, as far as is known."""
    found = [(worker.outcome.number, worker.place, worker) for worker in workers if worker.outcome is not None]
    if not found:
        return None
    *_, worker = min(found)
    assert worker.outcome is not None
    return worker, worker.outcome


def first(workers: list[Worker]) -> tuple[Worker, Outcome] | None:
    """Return the same once everybody else has passed that schedule."""
    earliest = _earliest(workers)
    if earliest is None:
        return None
    place, number = earliest[0].place, earliest[1].number
    passed = (worker.over or worker.tally.run >= number + (worker.place < place) for worker in workers)
    return earliest if all(passed) else None


def _numbered(outcome: tuple[Worker, Outcome] | None, jobs: int, before: int) -> Found | None:
    """Return a worker's failure with its number in the order of all schedules."""
    if outcome is None:
        return None
    worker, found = outcome
    if not isinstance(found, Found):
        return None
    return found._replace(number=before + found.number * jobs + worker.place)


# ── workers, from outside ───────────────────────────────────────────────────────────────────────────────────────────────


def _start(search: Search, place: int, workers: list[Worker]) -> None:
    """Fork one more; whoever is interrupted right after that finds it among the others, and ends it."""
    inbox, outbox = connection.Pipe(duplex=False)
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    with _no_interrupt():
        pid = os.fork()
        if pid == 0:
            for other in workers:
                other.inbox.close()
                os.close(other.pidfd)
            inbox.close()
            _work(search, outbox, parent)
        outbox.close()
        workers.append(Worker(place, pid, os.pidfd_open(pid), inbox))


@contextmanager
def _no_interrupt() -> Generator[None]:
    """Put Ctrl-C off: a child is not to unwind what its parent was doing."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _hear(worker: Worker, jobs: int) -> None:
    try:
        message = worker.inbox.recv()
    except (EOFError, OSError, pickle.UnpicklingError):
        raise _died(worker, jobs) from None
    worker.tally, worker.outcome, worker.over = message


def _died(worker: Worker, jobs: int) -> DiedError:
    ended = os.waitid(os.P_PIDFD, worker.pidfd, os.WEXITED | os.WNOWAIT)
    killed = ended is not None and ended.si_code in {os.CLD_KILLED, os.CLD_DUMPED}
    how = f"was killed by {signal.Signals(ended.si_status).name}" if ended is not None and killed else "exited"
    hint = "; the kernel kills with SIGKILL where memory runs out" if how.endswith("SIGKILL") else ""
    return DiedError(
        f"worker {worker.place + 1} of {jobs} (pid {worker.pid}) {how} after {worker.tally.schedules:,} schedules{hint}: "
        "jobs=1 explores without workers",
        pid=worker.pid,
    )


def _end(workers: list[Worker]) -> None:
    """Leave no process. Who still searches ends when it finds that nobody listens, or is killed."""
    for worker in workers:
        worker.inbox.close()
    for worker in workers:
        if not connection.wait([worker.pidfd], _GRACE):
            signal.pidfd_send_signal(worker.pidfd, signal.SIGKILL)
        os.close(worker.pidfd)
        os.waitpid(worker.pid, 0)


# ── a worker, from inside ───────────────────────────────────────────────────────────────────────────────────────────────


def _work(search: Search, outbox: "connection.Connection[Any, Any]", parent: int) -> None:
    """Search, tell how far it is, and exit: it never returns into what the parent was doing."""
    status = 1

    def tell(told: Tally, outcome: Outcome | None = None, *, over: bool = False) -> None:
        try:
            outbox.send((told, outcome, over))
        except BrokenPipeError:
            raise Unheard from None

    try:
        _end_with(parent)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all: the parent decides
        tally = Tally()
        try:
            search(tally, tell)
        except Unheard:
            raise
        except BaseException as error:  # noqa: BLE001 - raised where the exploration was called
            tell(tally, Raised(tally.run, _portable(error)), over=True)
        else:
            tell(tally, Exhausted(tally.run) if tally.exhausted else tally.found, over=True)
        status = 0
    except Unheard:
        status = 0  # what it would have found does not count
    except BaseException:  # noqa: BLE001 - nothing may leave this function
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _end_with(parent: int) -> None:
    """Have the kernel end this process with its parent, however that ends."""
    CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _portable(error: BaseException) -> BaseException:
    """Return the error if it can travel, or one that says the same; where it was raised goes along as a note."""
    told = "".join(traceback.format_exception(error)).rstrip()
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:  # noqa: BLE001 - whatever its own methods raise
        error = RuntimeError(f"the program raised {type(error).__name__}: {error}")
    error.add_note(f"raised in a worker:\n{told}")
    return error
