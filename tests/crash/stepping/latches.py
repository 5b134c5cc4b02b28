"""Deaths inside Latch: an arrival has counted or it has not, and whoever waits for what is open goes."""

from contextlib import suppress
from functools import partial

from tests.crash.stepping.operation import Operation, Tally
from underpass import MisuseError, TimedOut
from underpass.sync import Latch


def is_open(latch: Latch) -> bool:
    return latch.count == 0


def count_down(latch: Latch) -> None:
    latch.count_down()


def open_it(latch: Latch) -> None:
    """Let all go, if the victim has not."""
    with suppress(MisuseError):
        latch.count_down()


def open_wide(latch: Latch) -> None:
    """The same, where two count for it."""
    with suppress(MisuseError):
        latch.count_down(2)


def known(latch: Latch) -> Latch:
    """Return it once this process has a life."""
    Latch(0).wait()
    return latch


def open_books(latch: Latch, _tally: Tally) -> int:
    assert latch.wait_nowait()
    return latch.count


OPERATIONS: list[Operation[Latch]] = [
    Operation(
        noun="Latch",
        verb="count_down",
        world=lambda: Latch(3),
        prepare=lambda latch: known(latch).count_down,
        again=count_down,
        books=lambda latch, _tally: latch.count,
    ),
    Operation(
        noun="Latch",
        verb="count_down, the last",
        world=lambda: Latch(1),
        prepare=lambda latch: known(latch).count_down,
        wait=lambda latch: latch.wait(),
        due=is_open,
        again=open_it,
        books=open_books,
    ),
    Operation(
        noun="Latch",
        verb="count_down, of two, the last",
        world=lambda: Latch(2),
        prepare=lambda latch: partial(known(latch).count_down, 2),
        wait=lambda latch: latch.wait(),
        due=is_open,
        again=open_wide,
        books=open_books,
    ),
    Operation(
        noun="Latch",
        verb="wait, asleep",
        world=lambda: Latch(1),
        prepare=lambda latch: latch.wait,
        partner=open_it,
        wait=lambda latch: latch.wait(),
        due=is_open,
        again=open_it,
        books=open_books,
    ),
    Operation(
        noun="Latch",
        verb="wait, timed out",
        world=lambda: Latch(1),
        prepare=lambda latch: lambda: latch.wait(timeout=0.002),
        raises=(TimedOut,),
        wait=lambda latch: latch.wait(),
        due=is_open,
        again=open_it,
        books=open_books,
    ),
]
