"""Forks while threads are in the middle of operations: none of what they hold, wait for or ring stays so in the child."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial

import pytest

from tests.conformance.backends import PATIENCE, SOON, apart
from tests.conformance.test_forks import in_a_fork
from underpass import (
    Barrier,
    BrokenBarrierError,
    Condition,
    Mutex,
    Notification,
    Queue,
    ResetError,
    RWLock,
    Semaphore,
    TimedOut,
    WaitSet,
    select,
    wait_all,
    wait_any,
)
from underpass.sync import Latch, SpinLock

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")

FORKS = 10
THREADS = 2

# Does its whole operation, in whichever process, beside others who do the same.
Use = Callable[[], object]


def take(semaphore: Semaphore) -> Use:
    """Hold a unit for a moment."""

    def use() -> None:
        with semaphore.holding(timeout=PATIENCE):
            pass

    return use


def lock(it: Mutex | SpinLock) -> Use:
    """Hold it for a moment."""

    def use() -> None:
        with it.holding(timeout=PATIENCE):
            pass

    return use


def read_and_write() -> Use:
    """Read, and write, for a moment."""
    it = RWLock()

    def use() -> None:
        with it.reading(timeout=PATIENCE):
            pass
        with it.writing(timeout=PATIENCE):
            it.downgrade()

    return use


def notify_and_wait() -> Use:
    """Wait a moment for a notification, and notify."""
    it = Condition()

    def use() -> None:
        with it, suppress(TimedOut):
            it.wait(timeout=0.0005)
        with it:
            it.notify()

    return use


def arrive() -> Use:
    """Arrive at a latch of so many that it does not open, and wait a moment."""
    it = Latch(2**30)

    def use() -> None:
        it.count_down()
        with suppress(TimedOut):
            it.wait(timeout=0.0005)

    return use


def meet() -> Use:
    """Meet whoever comes, or break it."""
    it = Barrier(2)

    def use() -> None:
        try:
            it.wait(timeout=SOON)
        except (BrokenBarrierError, ResetError, TimedOut):
            it.reset()

    return use


def wait_for_many(wait: Callable[[Notification, Queue], object]) -> Callable[[], Use]:
    """Wait for several things, which change meanwhile."""

    def make() -> Use:
        news, jobs = Notification(), Queue(64, 8)

        def use() -> None:
            news.notify(1)
            with suppress(TimedOut):
                jobs.put(b"x", timeout=SOON)
            with suppress(TimedOut):
                wait(news, jobs)
            with suppress(TimedOut):
                jobs.get(timeout=0)

        return use

    return make


def wait_in_a_set(news: Notification, jobs: Queue) -> None:
    """Make a set, and wait in it."""
    with WaitSet() as members:
        members.add(news)
        members.add(jobs)
        members.wait(timeout=SOON)


USES: dict[str, Callable[[], Use]] = {
    "semaphore-arrival": lambda: take(Semaphore(2, fairness="arrival")),
    "semaphore-leased": lambda: take(Semaphore(2, leased=True)),
    "semaphore-leased-priority": lambda: take(Semaphore(2, leased=True, fairness="priority")),
    "mutex": lambda: lock(Mutex()),
    "mutex-priority": lambda: lock(Mutex(fairness="priority")),
    "spin-lock": lambda: lock(SpinLock()),
    "rwlock": read_and_write,
    "condition": notify_and_wait,
    "latch": arrive,
    "barrier": meet,
    "wait_any": wait_for_many(partial(wait_any, timeout=SOON)),
    "wait_all": wait_for_many(partial(wait_all, timeout=SOON)),
    "select": wait_for_many(lambda news, jobs: select(news.wait, jobs.get, timeout=SOON)),
    "wait-set": wait_for_many(wait_in_a_set),
}


@apart
@pytest.mark.parametrize("what", USES)
def test_child_goes_on_beside_the_threads_of_its_parent(what: str) -> None:
    use = USES[what]()
    stop = threading.Event()

    def repeat() -> None:
        while not stop.is_set():
            use()

    threads = [threading.Thread(target=repeat) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        codes = [in_a_fork(lambda: [use() for _ in range(3)]) for _ in range(FORKS)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert codes == [0] * FORKS


def test_a_child_holds_nothing_of_what_its_parent_holds() -> None:
    mutex, lock, leased, spin = Mutex(fairness="arrival"), RWLock(), Semaphore(1, leased=True), SpinLock()
    blocks = [
        partial(mutex.holding, timeout=SOON),
        partial(leased.holding, timeout=SOON),
        partial(spin.holding, timeout=SOON),
        partial(lock.writing, timeout=SOON),
    ]

    def refused(block: Callable[[], AbstractContextManager[object]]) -> bool:
        try:
            with block():
                return False
        except TimedOut:
            return True

    with mutex, leased.holding(), lock.reading(), spin:
        assert in_a_fork(lambda: all(refused(block) for block in blocks)) == 0
    for block in blocks:
        with block():
            pass
