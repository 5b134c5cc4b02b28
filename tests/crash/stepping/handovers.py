"""Deaths inside a Semaphore that hands its units over: a unit that somebody waits for is taken, or given to who lives."""

import os
import struct
from collections.abc import Callable
from pathlib import Path

from tests.crash.stepping.operation import Operation
from tests.crash.stepping.semaphores import acquire, give, give_and_take, take_and_give, value
from underpass import Semaphore, TimedOut, WouldBlock

NAME = "it"
# Where its words are, its waiters, and their slots, each so long; and what its state is once it was served. See layout/semaphore.rs
# and layout/waiters.rs.
WORDS, WAITERS, SLOTS, SLOT, COUNT = 384, 64, 128, 40, 64
QUEUED = 1 << 31
GRANTED, RETURNED = 2, 5


def made(units: int) -> Callable[[], Semaphore]:
    return lambda: Semaphore.create(NAME, units, fairness="arrival")


def is_due(_semaphore: Semaphore) -> bool:
    """Say whether a unit is there that whoever sleeps has to get: free, being handed over, or left by who is dead."""
    words = (Path(os.environ["UNDERPASS_DIR"]) / NAME).read_bytes()[WORDS:]
    word, _resets, handing = struct.unpack_from("<IIQ", words)
    (occupied,) = struct.unpack_from("<Q", words, WAITERS)
    states = [
        struct.unpack_from("<I", words, SLOTS + SLOT * number)[0] for number in range(COUNT) if occupied >> number & 1
    ]
    return bool(word & ~QUEUED or handing or GRANTED in states or RETURNED in states)


def entered(semaphore: Semaphore) -> Semaphore:
    """Return it once this process has a life."""
    Semaphore(0, fairness="arrival").reset()
    return semaphore


def close(semaphore: Semaphore) -> None:
    semaphore.unlink()
    semaphore.close()


def taker_without_patience(semaphore: Semaphore) -> Callable[[], object]:
    it = entered(semaphore)
    return lambda: it.acquire(timeout=0.002)


def releaser_of_two(semaphore: Semaphore) -> Callable[[], object]:
    it = entered(semaphore)
    return lambda: it.release(2)


def give_two(semaphore: Semaphore) -> None:
    semaphore.release(2)


OPERATIONS: list[Operation[Semaphore]] = [
    Operation(
        noun="Semaphore",
        verb="acquire, by arrival",
        world=made(3),
        prepare=lambda semaphore: semaphore.acquire,
        again=lambda semaphore: semaphore.acquire(),
        books=value,
        contend=take_and_give,
        close=close,
    ),
    Operation(
        noun="Semaphore",
        verb="acquire, by arrival, asleep",
        world=made(0),
        prepare=lambda semaphore: entered(semaphore).acquire,
        partner=give,
        wait=acquire,
        due=is_due,
        again=give,
        books=value,
        close=close,
    ),
    Operation(
        noun="Semaphore",
        verb="acquire, by arrival, timed out",
        world=made(0),
        prepare=taker_without_patience,
        raises=(TimedOut,),
        wait=acquire,
        due=is_due,
        again=give,
        books=value,
        close=close,
    ),
    Operation(
        noun="Semaphore",
        verb="acquire_nowait, by arrival, refused",
        world=made(0),
        prepare=lambda semaphore: entered(semaphore).acquire_nowait,
        raises=(WouldBlock,),
        wait=acquire,
        due=is_due,
        again=give,
        books=value,
        close=close,
    ),
    Operation(
        noun="Semaphore",
        verb="release, by arrival",
        world=made(0),
        prepare=lambda semaphore: entered(semaphore).release,
        wait=acquire,
        due=is_due,
        contend=give_and_take,
        again=give,
        books=value,
        close=close,
    ),
    Operation(
        noun="Semaphore",
        verb="release of two, by arrival",
        world=made(0),
        prepare=releaser_of_two,
        wait=acquire,
        due=is_due,
        again=give_two,
        books=value,
        close=close,
    ),
    Operation(
        noun="Semaphore",
        verb="reset, by arrival",
        world=made(0),
        prepare=lambda semaphore: entered(semaphore).reset,
        wait=acquire,
        due=is_due,
        again=lambda semaphore: semaphore.reset(),
        books=value,
        close=close,
    ),
]
