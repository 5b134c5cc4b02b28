"""Deaths inside Once: it has run or it has not, and nobody waits for the dead."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial

from tests.crash.stepping.children import Child
from tests.crash.stepping.elsewhere import Elsewhere
from tests.crash.stepping.operation import AnyOperation, Operation, Tally
from tests.crash.stepping.operation import nothing as leave_it
from underpass import Once, TimedOut
from underpass.sync import OnceTurn

# Long enough for a sleep, in seconds.
LOOK = 0.002


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


def leave_by_an_exception(once: Once) -> Callable[[], object]:
    """Begin it; what ends it in vain."""
    return partial(begun(once).__exit__, FailedError, FailedError(), None)


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


def left_by_the_dead() -> Once:
    """Return one whose runner has died."""
    once = Once()
    runner = Child("first runner", lambda: begun(once) and None)
    runner.result()
    runner.close()
    return once


def run_elsewhere() -> Elsewhere[Once]:
    """Return one that another process runs."""
    once = Once()
    return Elsewhere(once, once.running)


def nobody_runs(elsewhere: Elsewhere[Once]) -> bool:
    """Say whether whoever waits has to go on: it is done, or its runner is dead."""
    return elsewhere.it.statistics().state != "running"


def begin_elsewhere(elsewhere: Elsewhere[Once]) -> AbstractContextManager[OnceTurn | None]:
    return begun(elsewhere.it)


def run_by_another(
    verb: str, prepare: Callable[[Once], Callable[[], object]], raises: tuple[type[BaseException], ...] = ()
) -> Operation[Elsewhere[Once]]:
    """What somebody does who finds another at it."""
    return Operation(
        noun="Once",
        verb=verb,
        world=run_elsewhere,
        prepare=lambda elsewhere: prepare(known(elsewhere.it)),
        raises=raises,
        wait=lambda elsewhere: take_part(elsewhere.it),
        due=nobody_runs,
        again=Elsewhere[Once].let_go,
        books=lambda elsewhere, tally: books(elsewhere.it, tally),
        close=Elsewhere[Once].close,
    )


ELSEWHERE: list[Operation[Elsewhere[Once]]] = [
    replace(
        run_by_another("call, asleep", lambda once: partial(once.call, nothing)),
        partner=Elsewhere[Once].ask,
    ),
    replace(
        run_by_another("call, asleep, taken over", lambda once: partial(once.call, nothing)),
        partner=Elsewhere[Once].lose,
        unordered="of two that sleep when the runner dies, either takes over",
        again=leave_it,
        # It has begun, and has not come to its end.
        partly=(begin_elsewhere,),
    ),
    run_by_another("call, timed out", lambda once: partial(once.call, nothing, timeout=LOOK), (TimedOut,)),
]

HERE: list[Operation[Once]] = [
    Operation(
        noun="Once",
        verb="call",
        world=Once,
        prepare=lambda once: partial(known(once).call, nothing),
        contend=contend,
        again=leave_it,
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
        again=leave_it,
        books=books,
        partly=(begun,),
    ),
    Operation(
        noun="Once",
        verb="running, entered",
        world=Once,
        prepare=lambda once: known(once).running().__enter__,
        contend=contend,
        again=leave_it,
        books=books,
    ),
    Operation(
        noun="Once",
        verb="running, of a dead runner's",
        world=left_by_the_dead,
        prepare=lambda once: known(once).running().__enter__,
        contend=contend,
        again=leave_it,
        books=books,
    ),
    *(
        Operation(
            noun="Once",
            verb=verb,
            world=Once,
            prepare=prepare,
            wait=take_part,
            due=has_to_go,
            again=leave_it,
            books=books,
        )
        for verb, prepare in (("running, left", leave), ("running, left by an exception", leave_by_an_exception))
    ),
]

OPERATIONS: list[AnyOperation] = [*HERE, *ELSEWHERE]
