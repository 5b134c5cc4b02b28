"""Deaths inside Mutex where somebody else has it, had it and died, or has it twice."""

import mmap
import os
from collections.abc import Callable
from functools import partial

from tests.crash.stepping.children import Child, until
from tests.crash.stepping.mutexes import contend, hold, is_free
from tests.crash.stepping.operation import Operation, Tally, nothing
from underpass import Mutex, TimedOut, WouldBlock


def last(mutex: Mutex, _tally: Tally) -> tuple[str, str]:
    """Return whether the last owner died; afterwards it is whole and free."""
    found = hold(mutex)
    mutex.acquire_nowait()
    mutex.release()
    return found, mutex.statistics().state


def held_here() -> Mutex:
    """Return one that the thread which inflicts the deaths holds: it is the partner."""
    mutex = Mutex()
    mutex.acquire()
    return mutex


def release(mutex: Mutex) -> None:
    mutex.release()


def left_by_the_dead() -> Mutex:
    """Return one whose owner has died."""
    mutex = Mutex()
    owner = Child("first owner", mutex.acquire)
    owner.result()
    owner.close()
    return mutex


def twice(mutex: Mutex) -> Mutex:
    mutex.acquire()
    mutex.acquire()
    return mutex


def recover(mutex: Mutex) -> Callable[[], object]:
    return mutex.recovering().__enter__


def recovered(mutex: Mutex) -> Callable[[], object]:
    block = mutex.recovering()
    assert block.__enter__() is not None
    return partial(block.__exit__, None, None, None)


def fails_to_recover(mutex: Mutex) -> Callable[[], object]:
    block = mutex.recovering()
    block.__enter__()
    error = ValueError("not repaired")
    return partial(block.__exit__, ValueError, error, None)


class Elsewhere:
    """A mutex that another process holds, until somebody tells it not to."""

    def __init__(self, make: Callable[[], Mutex] = Mutex) -> None:
        self.mutex = make()
        self._page = mmap.mmap(-1, 2)
        self._owner = Child("owner", self._own)
        until(lambda: self._page[0] == 1, "the owner does not come to own it")

    def _own(self) -> None:
        self.mutex.acquire()
        self._page[0] = 1
        parent = os.getppid()
        until(lambda: self._page[1] == 1 or os.getppid() != parent, "nobody wants the mutex")
        self.mutex.release()

    def let_go(self) -> None:
        """Have it released, and wait for that."""
        self._page[1] = 1
        until(lambda: is_free(self.mutex), "the owner does not release")

    def close(self) -> None:
        self._owner.close()
        self._page.close()


ELSEWHERE: list[Operation[Elsewhere]] = [
    Operation(
        noun="Mutex",
        verb="acquire, timed out",
        world=Elsewhere,
        prepare=lambda elsewhere: partial(elsewhere.mutex.acquire, timeout=0.002),
        raises=(TimedOut,),
        wait=lambda elsewhere: hold(elsewhere.mutex),
        due=lambda elsewhere: is_free(elsewhere.mutex),
        again=Elsewhere.let_go,
        books=lambda elsewhere, tally: last(elsewhere.mutex, tally),
        close=Elsewhere.close,
    ),
    Operation(
        noun="Mutex",
        verb="acquire_nowait, refused",
        world=Elsewhere,
        prepare=lambda elsewhere: elsewhere.mutex.acquire_nowait,
        raises=(WouldBlock,),
        wait=lambda elsewhere: hold(elsewhere.mutex),
        due=lambda elsewhere: is_free(elsewhere.mutex),
        again=Elsewhere.let_go,
        books=lambda elsewhere, tally: last(elsewhere.mutex, tally),
        close=Elsewhere.close,
    ),
]

OWNERS: list[Operation[Mutex]] = [
    Operation(
        noun="Mutex",
        verb="acquire, asleep",
        world=held_here,
        prepare=lambda mutex: mutex.acquire,
        partner=release,
        wait=hold,
        due=is_free,
        again=nothing,
        books=last,
    ),
    Operation(
        noun="Mutex",
        verb="acquire, once more",
        world=partial(Mutex, recursive=True),
        prepare=lambda mutex: (mutex.acquire(), mutex)[1].acquire,
        wait=hold,
        due=is_free,
        again=nothing,
        books=last,
    ),
    Operation(
        noun="Mutex",
        verb="release, of the second",
        world=partial(Mutex, recursive=True),
        prepare=lambda mutex: twice(mutex).release,
        wait=hold,
        due=is_free,
        again=nothing,
        books=last,
    ),
    Operation(
        noun="Mutex",
        verb="recovering, entered",
        world=left_by_the_dead,
        prepare=recover,
        contend=contend,
        again=nothing,
        books=last,
    ),
    Operation(
        noun="Mutex",
        verb="recovering, entered from sleep",
        world=held_here,
        prepare=recover,
        partner=release,
        wait=hold,
        due=is_free,
        again=nothing,
        books=last,
    ),
    Operation(
        noun="Mutex",
        verb="recovering, left",
        world=left_by_the_dead,
        prepare=recovered,
        wait=hold,
        due=is_free,
        again=nothing,
        books=last,
    ),
    Operation(
        noun="Mutex",
        verb="recovering, left by an exception",
        world=left_by_the_dead,
        prepare=fails_to_recover,
        wait=hold,
        due=is_free,
        again=nothing,
        books=last,
    ),
]

OPERATIONS = [*OWNERS, *ELSEWHERE]
