"""Deaths inside a Mutex that is handed over: it is had, or given to who lives, and who never came has held nothing."""

import os
import struct
from functools import partial
from pathlib import Path

from tests.crash.stepping.children import Child
from tests.crash.stepping.handovers import COUNT, GRANTED, RETURNED, SLOT, SLOTS, WAITERS, WORDS
from tests.crash.stepping.mutexes import books, contend, held, hold
from tests.crash.stepping.operation import Operation, nothing
from tests.crash.stepping.owners import Elsewhere, fails_to_recover, last, recover, recovered, release
from underpass import Mutex, TimedOut, WouldBlock

NAME = "it"
SLEEPERS = 1 << 31
# What the word is that nobody living is in. See layout/mutex.rs.
FREE, GIVEN, OWNER_DEAD = 0, SLEEPERS, 0x7FFF


def made() -> Mutex:
    return Mutex.create(NAME, fairness="arrival")


def held_here() -> Mutex:
    """Return one that the thread which inflicts the deaths holds: it is the partner."""
    return held(made())


def left_by_the_dead() -> Mutex:
    mutex = made()
    owner = Child("first owner", mutex.acquire)
    owner.result()
    owner.close()
    return mutex


def is_due(mutex: Mutex) -> bool:
    """Say whether whoever sleeps has to get it, or the news: nobody living holds it, or it is on its way to somebody."""
    words = (Path(os.environ["UNDERPASS_DIR"]) / NAME).read_bytes()[WORDS:]
    (word,) = struct.unpack_from("<I", words)
    (occupied,) = struct.unpack_from("<Q", words, WAITERS)
    states = [
        struct.unpack_from("<I", words, SLOTS + SLOT * number)[0] for number in range(COUNT) if occupied >> number & 1
    ]
    if GRANTED in states or RETURNED in states or word in {FREE, GIVEN}:
        return True
    return word & ~SLEEPERS == OWNER_DEAD or mutex.statistics().state == "owner died"


def close(mutex: Mutex) -> None:
    mutex.unlink()
    mutex.close()


def held_elsewhere() -> Elsewhere:
    return Elsewhere(made)


def close_elsewhere(elsewhere: Elsewhere) -> None:
    elsewhere.close()
    close(elsewhere.mutex)


ELSEWHERE: list[Operation[Elsewhere]] = [
    Operation(
        noun="Mutex",
        verb="acquire, by arrival, timed out",
        world=held_elsewhere,
        prepare=lambda elsewhere: partial(elsewhere.mutex.acquire, timeout=0.002),
        raises=(TimedOut,),
        wait=lambda elsewhere: hold(elsewhere.mutex),
        due=lambda elsewhere: is_due(elsewhere.mutex),
        again=Elsewhere.let_go,
        books=lambda elsewhere, tally: last(elsewhere.mutex, tally),
        close=close_elsewhere,
    ),
    Operation(
        noun="Mutex",
        verb="acquire_nowait, by arrival, refused",
        world=held_elsewhere,
        prepare=lambda elsewhere: elsewhere.mutex.acquire_nowait,
        raises=(WouldBlock,),
        wait=lambda elsewhere: hold(elsewhere.mutex),
        due=lambda elsewhere: is_due(elsewhere.mutex),
        again=Elsewhere.let_go,
        books=lambda elsewhere, tally: last(elsewhere.mutex, tally),
        close=close_elsewhere,
    ),
]

OWNERS: list[Operation[Mutex]] = [
    Operation(
        noun="Mutex",
        verb="acquire, by arrival",
        world=made,
        prepare=lambda mutex: mutex.acquire,
        contend=contend,
        again=hold,
        books=books,
        close=close,
    ),
    Operation(
        noun="Mutex",
        verb="acquire, by arrival, asleep",
        world=held_here,
        prepare=lambda mutex: mutex.acquire,
        partner=release,
        wait=hold,
        due=is_due,
        again=nothing,
        books=last,
        close=close,
    ),
    Operation(
        noun="Mutex",
        verb="release, by arrival",
        world=made,
        prepare=lambda mutex: held(mutex).release,
        wait=hold,
        due=is_due,
        again=hold,
        books=books,
        close=close,
    ),
    Operation(
        noun="Mutex",
        verb="recovering, by arrival, entered",
        world=left_by_the_dead,
        prepare=recover,
        contend=contend,
        again=nothing,
        books=last,
        close=close,
    ),
    Operation(
        noun="Mutex",
        verb="recovering, by arrival, entered from sleep",
        world=held_here,
        prepare=recover,
        partner=release,
        wait=hold,
        due=is_due,
        again=nothing,
        books=last,
        close=close,
    ),
    Operation(
        noun="Mutex",
        verb="recovering, by arrival, left",
        world=left_by_the_dead,
        prepare=recovered,
        wait=hold,
        due=is_due,
        again=nothing,
        books=last,
        close=close,
    ),
    Operation(
        noun="Mutex",
        verb="recovering, by arrival, left by an exception",
        world=left_by_the_dead,
        prepare=fails_to_recover,
        wait=hold,
        due=is_due,
        again=nothing,
        books=last,
        close=close,
    ),
]

OPERATIONS = [*OWNERS, *ELSEWHERE]
