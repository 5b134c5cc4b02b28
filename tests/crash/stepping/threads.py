"""Deaths of a process with two threads: what the other one has or waits for dies with it, wherever the first is.

The other one stays where it is: the stepper's breakpoints are for one thread.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.crash.stepping import mutexes, rwlocks
from tests.crash.stepping.children import SLEEPS, system_call, until
from tests.crash.stepping.operation import AnyOperation, Company, Operation
from underpass import RWLock, TimedOut, WouldBlock

# Long enough for a sleep, in seconds.
LOOK = 0.002


def beside_one_that_sleeps(act: Callable[[], object]) -> None:
    """Have another thread of this process sleep in the library."""
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    until(
        lambda: SLEEPS.match(system_call(Path(f"/proc/self/task/{thread.native_id}"))) is not None,
        "the other thread does not fall asleep",
    )


def beside_one_that_has(act: Callable[[], object]) -> None:
    """Have another thread of this process do this, and live on."""
    done, end = threading.Event(), threading.Event()

    def body() -> None:
        act()
        done.set()
        end.wait()

    threading.Thread(target=body, daemon=True).start()
    done.wait()


def behind_its_own(lock: mutexes.Lock) -> Callable[[], object]:
    """Have the other thread wait for what another process holds."""
    beside_one_that_sleeps(lock.acquire)
    return lock.acquire_nowait


def refused_by_its_own(lock: mutexes.Lock) -> Callable[[], object]:
    """Have the other thread hold it."""
    beside_one_that_has(lock.acquire)
    return lambda: lock.acquire(timeout=LOOK)


def barred_by_its_own(lock: RWLock) -> Callable[[], object]:
    """Have the other thread read."""
    beside_one_that_has(lambda: lock.reading().__enter__())
    return lock.writing(timeout=LOOK).__enter__


def of_mutex(sort: mutexes.Sort) -> AnyOperation:
    """Return what is done with a mutex, of whichever fairness."""
    it = sort.owned(f"acquire{sort.how}, timed out, held by a thread of its own", sort.make, refused_by_its_own)
    return replace(it, raises=(TimedOut,))


def unsolved(sort: mutexes.Sort) -> AnyOperation:
    """Return the line whose survivors do not always come through (CAVEATS, known faults): not in the table until that is understood."""
    return sort.refused(f"acquire_nowait{sort.how}, refused, behind a thread of its own", behind_its_own, WouldBlock)


LOCKS: list[Operation[RWLock]] = [
    Operation(
        noun="RWLock",
        verb="writing, timed out, beside a reader of its own",
        world=RWLock,
        prepare=barred_by_its_own,
        raises=(TimedOut,),
        wait=rwlocks.write,
        due=rwlocks.is_due,
        again=rwlocks.write,
        books=rwlocks.books,
    )
]

ALIVE = dict.fromkeys(Company, "its other thread may act then, and the stepper's breakpoints are for one thread")

OPERATIONS: list[AnyOperation] = [
    replace(line, alive=ALIVE) for line in (of_mutex(mutexes.BARGING), of_mutex(mutexes.FAIR), *LOCKS)
]
