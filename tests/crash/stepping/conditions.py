"""Deaths inside Condition: no notification goes with the dead, and the mutex is given back or found."""

import os
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.crash.stepping.operation import Operation, Tally
from underpass import Condition, OwnerDiedError, TimedOut

# Long enough for a sleep, in seconds.
LOOK = 0.002
NAME = "it"
# Where what is pending is, and the slots. See layout/condition.rs and layout/waiters.rs.
PENDING, SLOTS, SLOT, COUNT = 768, 896, 40, 64
GRANTED, RETURNED = 2, 5


class News:
    """A condition, and what the survivor found."""

    def __init__(self) -> None:
        self.condition = Condition.create(NAME)
        self.found = 0

    def hold(self) -> str:
        """Hold its mutex for a moment; whether the last owner died."""
        with self.condition.recovering() as died:
            return "repaired" if died else "held"

    def come(self) -> str:
        """Wait until notified."""
        self.hold()
        try:
            with self.condition:
                self.condition.wait()
        except OwnerDiedError:
            # Told of by whoever had the mutex, or notified and then told.
            self.hold()
        return "came"

    def is_due(self) -> bool:
        """Say whether somebody was granted a wake-up and has not come, or is to be."""
        words = (Path(os.environ["UNDERPASS_DIR"]) / NAME).read_bytes()
        (pending,) = struct.unpack_from("<Q", words, PENDING)
        states = [struct.unpack_from("<I", words, SLOTS + SLOT * number)[0] for number in range(COUNT)]
        return bool(pending) or GRANTED in states or RETURNED in states

    def notify_the_rest(self) -> None:
        self.found = self.condition.notify_all()

    def close(self) -> None:
        self.condition.unlink()
        self.condition.close()


def known(it: News) -> Condition:
    """Return it once this process has a life."""
    Condition().notify()
    return it.condition


def held(it: News) -> Condition:
    it.condition.acquire()
    return it.condition


def notify(it: News, _tally: Tally) -> None:
    it.condition.notify()


def books(it: News, _tally: Tally) -> tuple[int, str, int]:
    assert not it.condition.statistics().n_waiting
    return it.found, it.hold(), it.condition.notify_all()


def release(it: News) -> None:
    it.condition.release()


def wait(it: News) -> Callable[[], object]:
    return held(it).wait


OPERATIONS: list[Operation[News]] = [
    Operation(
        noun="Condition",
        verb="notify",
        world=News,
        prepare=lambda it: known(it).notify,
        wait=News.come,
        due=News.is_due,
        contend=notify,
        again=News.notify_the_rest,
        books=books,
        close=News.close,
    ),
    Operation(
        noun="Condition",
        verb="notify_all",
        world=News,
        prepare=lambda it: known(it).notify_all,
        wait=News.come,
        due=News.is_due,
        again=News.notify_the_rest,
        books=books,
        close=News.close,
    ),
    Operation(
        noun="Condition",
        verb="wait, in vain",
        world=News,
        prepare=lambda it: partial(held(it).wait, timeout=LOOK),
        raises=(TimedOut,),
        unordered="whoever notifies while it waits in vain is heard",
        partly=(release,),
        contend=notify,
        again=News.notify_the_rest,
        books=books,
        close=News.close,
    ),
    Operation(
        noun="Condition",
        verb="wait, one is notified",
        world=News,
        prepare=wait,
        partly=(release,),
        partner=lambda it: it.condition.notify(),
        wait=News.come,
        due=News.is_due,
        again=News.notify_the_rest,
        books=books,
        close=News.close,
    ),
    Operation(
        noun="Condition",
        verb="wait, all are notified",
        world=News,
        prepare=wait,
        partly=(release,),
        partner=lambda it: it.condition.notify_all(),
        wait=News.come,
        due=News.is_due,
        again=News.notify_the_rest,
        books=books,
        close=News.close,
    ),
]
