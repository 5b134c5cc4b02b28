"""Deaths inside Once: it has run or it has not, and nobody waits for the dead."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

from tests.crash.stepping.operation import Operation, Tally
from underpass import Once
from underpass.sync import OnceTurn


class FailedError(Exception):
    """What the victim's function raises."""


def fail() -> None:
    raise FailedError


def nothing() -> None:
    """Be what is run."""


def take_part(once: Once) -> str:
    """Run it if it is to be run; what there was to do."""
    with once.running() as turn:
        if turn is None:
            return "done"
        return "taken over" if turn.died else "run"


def known(once: Once) -> Once:
    """Return it once this process has a life."""
    Once().call(nothing)
    return once


def begun(once: Once) -> AbstractContextManager[OnceTurn | None]:
    """Begin it, and return the block that it is run in."""
    block = once.running()
    block.__enter__()
    return block


def leave(once: Once) -> Callable[[], object]:
    """Begin it; what ends it."""
    return partial(begun(once).__exit__, None, None, None)


def contend(once: Once, _tally: Tally) -> None:
    take_part(once)


def books(once: Once, _tally: Tally) -> str:
    found = take_part(once)
    assert once.statistics().state == "done"
    assert once.call(fail) is False
    return found


def has_to_go(_once: Once) -> bool:
    """Say that nobody has it who lives: the waiter runs it, or finds it done."""
    return True


def done() -> Once:
    once = Once()
    once.call(nothing)
    return once


OPERATIONS: list[Operation[Once]] = [
    Operation(
        noun="Once",
        verb="call",
        world=Once,
        prepare=lambda once: partial(known(once).call, nothing),
        contend=contend,
        again=lambda _once: None,
        books=books,
        # It has begun, and has not come to its end.
        partly=(begun,),
    ),
    Operation(
        noun="Once",
        verb="call, done",
        world=done,
        prepare=lambda once: partial(known(once).call, fail),
        again=take_part,
        books=books,
    ),
    Operation(
        noun="Once",
        verb="call, which raises",
        world=Once,
        prepare=lambda once: partial(known(once).call, fail),
        raises=(FailedError,),
        again=lambda _once: None,
        books=books,
        partly=(begun,),
    ),
    Operation(
        noun="Once",
        verb="running, left",
        world=Once,
        prepare=leave,
        wait=take_part,
        due=has_to_go,
        again=lambda _once: None,
        books=books,
    ),
]
