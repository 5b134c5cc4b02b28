"""Deaths inside Mutex, of whichever fairness, and SpinLock: it is had or free, and who never came has held nothing."""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tests.crash.stepping.children import Child
from tests.crash.stepping.elsewhere import Elsewhere
from tests.crash.stepping.handovers import COUNT, GRANTED, RETURNED, SLOT, SLOTS, WAITERS, WORDS
from tests.crash.stepping.operation import AnyOperation, Operation, Tally, nothing
from underpass import Mutex, OwnerDiedError, TimedOut, WouldBlock
from underpass.sync import SpinLock

NAME = "it"
SLEEPERS = 1 << 31
# What the word of one that is handed over is when nobody living is in it. See layout/mutex.rs.
FREE, GIVEN, OWNER_DEAD = 0, SLEEPERS, 0x7FFF

Lock = Mutex | SpinLock
Prepare = Callable[[Lock], Callable[[], object]]


def hold(lock: Lock) -> str:
    """Hold it for a moment; whether its last owner died."""
    try:
        lock.acquire()
    except OwnerDiedError:
        with lock.recovering():
            return "repaired"
    lock.release()
    return "held"


def have(lock: Lock) -> None:
    """Hold it for a moment, whoever had it before."""
    hold(lock)


def contend(lock: Lock, _tally: Tally) -> None:
    hold(lock)


def books(lock: Lock, _tally: Tally) -> tuple[str, str]:
    """Return whether the last owner died; afterwards it is whole and free."""
    found = hold(lock)
    lock.acquire_nowait()
    lock.release()
    return found, lock.statistics().state


def held(lock: Lock) -> Lock:
    lock.acquire()
    return lock


def release(lock: Lock) -> None:
    lock.release()


def is_free(lock: Lock) -> bool:
    return lock.statistics().state != "held"


def is_on_its_way(lock: Lock) -> bool:
    """Say whether whoever sleeps has to get it, or the news: nobody living holds it, or it is on its way to somebody."""
    words = (Path(os.environ["UNDERPASS_DIR"]) / NAME).read_bytes()[WORDS:]
    (word,) = struct.unpack_from("<I", words)
    (occupied,) = struct.unpack_from("<Q", words, WAITERS)
    states = [
        struct.unpack_from("<I", words, SLOTS + SLOT * number)[0] for number in range(COUNT) if occupied >> number & 1
    ]
    if GRANTED in states or RETURNED in states or word in {FREE, GIVEN}:
        return True
    return word & ~SLEEPERS == OWNER_DEAD or lock.statistics().state == "owner died"


def twice(lock: Lock) -> Lock:
    return held(held(lock))


def recovered(lock: Lock) -> Callable[[], object]:
    block = lock.recovering()
    assert block.__enter__() is not None
    return partial(block.__exit__, None, None, None)


def fails_to_recover(lock: Lock) -> Callable[[], object]:
    block = lock.recovering()
    block.__enter__()
    error = ValueError("not repaired")
    return partial(block.__exit__, ValueError, error, None)


def forget(lock: Lock) -> None:
    lock.unlink()
    lock.close()


@dataclass(frozen=True)
class Sort:
    """One sort of lock."""

    noun: str
    make: Callable[[], Lock]
    # What its operations are called besides.
    how: str = ""
    # Whoever waits for it has to go on.
    due: Callable[[Lock], bool] = is_free
    close: Callable[[Lock], object] = nothing
    # Of those who sleep the first is served first. Where not, it is not asked who of two was told of a death.
    in_turn: bool = True

    def left_by_the_dead(self) -> Lock:
        """Return one whose owner has died."""
        lock = self.make()
        owner = Child("first owner", lambda: held(lock) and None)
        owner.result()
        owner.close()
        return lock

    def held_elsewhere(self) -> Elsewhere[Lock]:
        """Return one that another process holds."""
        lock = self.make()
        return Elsewhere(lock, lock.holding)

    def operations(self) -> list[AnyOperation]:
        """All that is done with it."""
        how, dead = self.how, self.left_by_the_dead
        return [
            self.free(f"acquire{how}", self.make, lambda lock: lock.acquire),
            self.taken(f"acquire{how}, asleep", lambda lock: lock.acquire),
            self.refused(f"acquire{how}, timed out", lambda lock: partial(lock.acquire, timeout=0.002), TimedOut),
            self.refused(f"acquire_nowait{how}, refused", lambda lock: lock.acquire_nowait, WouldBlock),
            self.owned(f"release{how}", self.make, lambda lock: held(lock).release),
            self.free(f"recovering{how}, entered", dead, lambda lock: lock.recovering().__enter__),
            self.taken(f"recovering{how}, entered from sleep", lambda lock: lock.recovering().__enter__),
            self.owned(f"recovering{how}, left", dead, recovered),
            self.owned(f"recovering{how}, left by an exception", dead, fails_to_recover),
        ]

    def free(self, verb: str, world: Callable[[], Lock], prepare: Prepare) -> AnyOperation:
        """What is done where nobody holds it."""
        return replace(self._here(verb, world, prepare), contend=contend)

    def owned(self, verb: str, world: Callable[[], Lock], prepare: Prepare) -> AnyOperation:
        """What its owner does."""
        return replace(self._here(verb, world, prepare), wait=hold)

    def taken(self, verb: str, prepare: Prepare) -> AnyOperation:
        """What sleeps: the thread that inflicts the deaths holds it, and is the partner."""
        wait = hold if self.in_turn else have
        return replace(self._here(verb, lambda: held(self.make()), prepare), wait=wait, partner=release)

    def refused(self, verb: str, prepare: Prepare, error: type[Exception]) -> AnyOperation:
        """What ends without it: another process holds it."""

        def close(elsewhere: Elsewhere[Lock]) -> None:
            elsewhere.close()
            self.close(elsewhere.it)

        return Operation[Elsewhere[Lock]](
            noun=self.noun,
            verb=verb,
            world=self.held_elsewhere,
            prepare=lambda elsewhere: prepare(elsewhere.it),
            raises=(error,),
            wait=lambda elsewhere: hold(elsewhere.it),
            due=lambda elsewhere: self.due(elsewhere.it),
            again=Elsewhere[Lock].let_go,
            books=lambda elsewhere, tally: books(elsewhere.it, tally),
            close=close,
        )

    def _here(self, verb: str, world: Callable[[], Lock], prepare: Prepare) -> Operation[Lock]:
        return Operation(
            noun=self.noun,
            verb=verb,
            world=world,
            prepare=prepare,
            due=self.due,
            again=nothing,
            books=books,
            close=self.close,
        )


BARGING = Sort("Mutex", Mutex)
FAIR = Sort(
    "Mutex",
    lambda: Mutex.create(NAME, fairness="arrival"),
    how=", by arrival",
    due=is_on_its_way,
    close=forget,
)
LENDING = Sort("Mutex", partial(Mutex, inherit_priority=True), how=", lending", in_turn=False)
RECURSIVE = Sort("Mutex", partial(Mutex, recursive=True))

OPERATIONS: list[AnyOperation] = [
    *BARGING.operations(),
    RECURSIVE.owned("acquire, once more", RECURSIVE.make, lambda lock: held(lock).acquire),
    RECURSIVE.owned("release, of the second", RECURSIVE.make, lambda lock: twice(lock).release),
    *FAIR.operations(),
    *LENDING.operations(),
    *Sort("SpinLock", SpinLock).operations(),
]
