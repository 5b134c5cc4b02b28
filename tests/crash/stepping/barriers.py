"""Deaths inside Barrier: the generation passes, or is broken for all who wait; nobody waits for the dead."""

import os
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.crash.stepping.operation import Operation, Tally
from underpass import Barrier, BrokenBarrierError, ResetError, TimedOut

# Long enough for a sleep, in seconds.
LOOK = 0.002
NAME = "it"
MET = "whoever comes while it waits in vain lets it pass"
# Where its words are, and the processes that it knows. See layout/barrier.rs.
WORDS, KNOWN = 384, 64


class Meeting:
    """A barrier, and how the survivor finds it."""

    def __init__(self, parties: int) -> None:
        self.barrier = Barrier.create(NAME, parties)
        self.found: tuple[str, ...] = ()

    def end(self) -> str:
        """Wait for all others; how that ended. Who broke it is another process each time."""
        try:
            return f"index {self.barrier.wait()}"
        except BrokenBarrierError as error:
            return error.cause
        except ResetError:
            return "reset"

    def is_due(self) -> bool:
        """Say whether whoever sleeps here has to be told: of how it ended, or of the victim, which is known and dead."""
        words = (Path(os.environ["UNDERPASS_DIR"]) / NAME).read_bytes()[WORDS:]
        ending, broken, *known = struct.unpack_from(f"<QQ{KNOWN}I", words)
        return bool(ending or broken or sum(map(bool, known)) > 1)

    def look_and_break(self) -> None:
        """Come, and look how it is; that lets the waiter leave."""
        try:
            self.barrier.wait(timeout=0)
            self.found = ("passed",)
        except TimedOut:
            # It was whole; who was known and has died shows now.
            self.found = (self.end().replace("timed out", "whole"),)
        except BrokenBarrierError as error:
            self.found = (error.cause,)

    def look_after_abort(self) -> None:
        """The same, where whoever aborts it may be the one who finds the victim dead."""
        self.look_and_break()
        self.found = tuple(found.replace("died", "aborted") for found in self.found)

    def look_after_reset(self) -> None:
        """The same, where the waiter was let go: its process is known, and may have ended by now."""
        self.look_and_break()
        self.found = tuple(found.replace("died", "whole") for found in self.found)

    def reset(self) -> None:
        self.found = (str(self.barrier.broken),)
        self.barrier.reset()

    def close(self) -> None:
        self.barrier.unlink()
        self.barrier.close()


def meeting(parties: int) -> Callable[[], Meeting]:
    return lambda: Meeting(parties)


def broken() -> Meeting:
    it = Meeting(2)
    it.barrier.abort()
    return it


def known(it: Meeting) -> Barrier:
    """Return it once this process is known."""
    it.barrier.join()
    return it.barrier


def stranger(it: Meeting) -> Barrier:
    """Return it once this process has a life, and is not known here."""
    Barrier(1).wait()
    return it.barrier


def wait_shortly(barrier: Barrier) -> Callable[[], object]:
    return lambda: barrier.wait(timeout=LOOK)


def pass_alone(it: Meeting, _tally: Tally) -> None:
    """Come to one of one party: a contender for the lock."""
    with suppress(BrokenBarrierError):
        it.barrier.wait()
    it.barrier.reset()


def books(it: Meeting, _tally: Tally) -> tuple[object, ...]:
    """Say how it was found; then it is whole, and works."""
    barrier = it.barrier
    barrier.reset()
    assert (barrier.broken, barrier.n_waiting, barrier.statistics().waiters) == (False, 0, 0)
    if barrier.parties > 1:
        with suppress(TimedOut):
            barrier.wait(timeout=0)
        assert barrier.broken
    else:
        assert barrier.wait() == 0
    return it.found


OPERATIONS: list[Operation[Meeting]] = [
    Operation(
        noun="Barrier",
        verb="wait, alone",
        world=meeting(1),
        prepare=lambda it: stranger(it).wait,
        contend=pass_alone,
        again=Meeting.reset,
        books=books,
        close=Meeting.close,
    ),
    Operation(
        noun="Barrier",
        verb="wait, the last",
        world=meeting(2),
        # Alone it breaks it; with a waiter that has come, both pass, or the waiter is told of the death.
        prepare=lambda it: wait_shortly(known(it)),
        raises=(TimedOut,),
        unordered=MET,
        wait=Meeting.end,
        due=Meeting.is_due,
        again=Meeting.look_and_break,
        books=books,
        close=Meeting.close,
    ),
    Operation(
        noun="Barrier",
        verb="wait, the last, first of a process",
        world=meeting(2),
        prepare=lambda it: wait_shortly(it.barrier),
        raises=(TimedOut,),
        partly=(lambda it: it.barrier.join(),),
        unordered=MET,
        wait=Meeting.end,
        due=Meeting.is_due,
        again=Meeting.look_and_break,
        books=books,
        close=Meeting.close,
    ),
    Operation(
        noun="Barrier",
        verb="wait, asleep",
        world=meeting(2),
        prepare=lambda it: known(it).wait,
        partner=Meeting.end,
        again=Meeting.look_and_break,
        books=books,
        close=Meeting.close,
    ),
    Operation(
        noun="Barrier",
        verb="wait, asleep, aborted",
        world=meeting(3),
        prepare=lambda it: known(it).wait,
        raises=(BrokenBarrierError,),
        partner=lambda it: it.barrier.abort(),
        again=Meeting.look_after_abort,
        books=books,
        close=Meeting.close,
    ),
    Operation(
        noun="Barrier",
        verb="wait, timed out",
        world=meeting(3),
        prepare=lambda it: wait_shortly(known(it)),
        raises=(TimedOut,),
        wait=Meeting.end,
        due=Meeting.is_due,
        again=Meeting.look_and_break,
        books=books,
        close=Meeting.close,
    ),
    Operation(
        noun="Barrier",
        verb="join",
        world=meeting(2),
        prepare=lambda it: stranger(it).join,
        wait=Meeting.end,
        due=Meeting.is_due,
        again=Meeting.look_and_break,
        books=books,
        close=Meeting.close,
    ),
    Operation(
        noun="Barrier",
        verb="abort",
        world=meeting(2),
        prepare=lambda it: stranger(it).abort,
        wait=Meeting.end,
        due=Meeting.is_due,
        again=Meeting.look_and_break,
        books=books,
        close=Meeting.close,
    ),
    Operation(
        noun="Barrier",
        verb="reset",
        world=meeting(2),
        prepare=lambda it: stranger(it).reset,
        wait=Meeting.end,
        due=Meeting.is_due,
        again=Meeting.look_after_reset,
        books=books,
        close=Meeting.close,
    ),
    Operation(
        noun="Barrier",
        verb="reset, of a broken one",
        world=broken,
        prepare=lambda it: stranger(it).reset,
        again=Meeting.reset,
        books=books,
        close=Meeting.close,
    ),
]
