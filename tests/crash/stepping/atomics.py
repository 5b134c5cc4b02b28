"""Deaths inside AtomicInt."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from tests.crash.stepping.operation import Operation, Tally
from underpass import AtomicInt, TimedOut, WouldBlock

# Of the contender, whose changes are told apart from all others by their size.
MUCH = 1 << 32
LOOK = 0.002


def known(number: AtomicInt) -> AtomicInt:
    """Return it once this process has a life."""
    with suppress(TimedOut):
        number.wait(number.load(), timeout=0.0001)
    return number


def wait(number: AtomicInt) -> str:
    number.wait(0)
    return "went"


def wait_and_load(number: AtomicInt) -> str:
    number.wait(0)
    return f"went at {number.load()}"


def is_changed(number: AtomicInt) -> bool:
    return number.load() != 0


def add_and_subtract(number: AtomicInt, _tally: Tally) -> None:
    number.add(MUCH)
    number.sub(MUCH)


def add_one(number: AtomicInt) -> None:
    number.add(1)


def value(number: AtomicInt, _tally: Tally) -> int:
    """Return the number. Afterwards nobody seems to wait, and a wait ends in its time."""
    found = number.load()
    assert number.statistics().waiters == 0
    with suppress(TimedOut):
        number.wait(found, timeout=LOOK)
        raise AssertionError("let go without a change")
    assert number.wake(1) == 0
    return found


def value_without_much(number: AtomicInt, tally: Tally) -> int:
    """Return the number, without what a store has kept of the contender's additions."""
    found = value(number, tally)
    return (found + MUCH // 2) % MUCH - MUCH // 2


def changes(
    verb: str, change: Callable[[AtomicInt], Callable[[], object]], *, first: int = 0, contend: bool = True
) -> Operation[AtomicInt]:
    """Return an operation that changes the number."""
    return Operation(
        noun="AtomicInt",
        verb=verb,
        world=lambda: AtomicInt(first),
        prepare=lambda number: change(known(number)),
        wait=wait if first == 0 else None,
        due=is_changed,
        contend=add_and_subtract if contend else None,
        again=add_one,
        books=value_without_much,
    )


OPERATIONS: list[Operation[AtomicInt]] = [
    changes("add", lambda number: partial(number.add, 5)),
    Operation(
        noun="AtomicInt",
        verb="add, first of a process",
        world=AtomicInt,
        prepare=lambda number: partial(number.add, 5),
        wait=wait,
        due=is_changed,
        again=add_one,
        books=value,
    ),
    changes("sub", lambda number: partial(number.sub, 5)),
    changes("or_", lambda number: partial(number.or_, 6)),
    changes("xor", lambda number: partial(number.xor, 6)),
    changes("and_", lambda number: partial(number.and_, ~2), first=7),
    changes("store", lambda number: partial(number.store, 5)),
    changes("exchange", lambda number: partial(number.exchange, 5)),
    # Alone and with a waiter: the contender's additions would refuse it.
    changes("compare_exchange", lambda number: partial(number.compare_exchange, 0, 5), contend=False),
    changes("compare_exchange, refused", lambda number: partial(number.compare_exchange, 1, 5), contend=False),
    Operation(
        noun="AtomicInt",
        verb="wait, satisfied",
        world=lambda: AtomicInt(3),
        prepare=lambda number: partial(known(number).wait, 0),
        contend=add_and_subtract,
        again=add_one,
        books=value,
    ),
    Operation(
        noun="AtomicInt",
        verb="wait, asleep",
        world=AtomicInt,
        prepare=lambda number: partial(known(number).wait, 0),
        partner=lambda number: number.store(4),
        wait=wait,
        due=is_changed,
        again=add_one,
        books=value,
    ),
    Operation(
        noun="AtomicInt",
        verb="wait, asleep, chosen with another",
        world=AtomicInt,
        prepare=lambda number: partial(known(number).wait, 0),
        partner=lambda number: number.wake(2),
        wait=wait,
        # Two were let go, and no more than two wait.
        due=lambda _: True,
        again=add_one,
        books=value,
    ),
    Operation(
        noun="AtomicInt",
        verb="wait, asleep, chosen",
        world=AtomicInt,
        prepare=lambda number: partial(known(number).wait, 0),
        # The dead one's choice is passed on: the waiter goes before the number changes.
        partner=lambda number: number.wake(),
        wait=wait_and_load,
        again=add_one,
        books=value,
    ),
    Operation(
        noun="AtomicInt",
        verb="wait, timed out",
        world=AtomicInt,
        prepare=lambda number: partial(known(number).wait, 0, timeout=LOOK),
        raises=(TimedOut,),
        wait=wait,
        due=is_changed,
        again=add_one,
        books=value,
    ),
    Operation(
        noun="AtomicInt",
        verb="wait_nowait, refused",
        world=AtomicInt,
        prepare=lambda number: partial(known(number).wait_nowait, 0),
        raises=(WouldBlock,),
        wait=wait,
        due=is_changed,
        again=add_one,
        books=value,
    ),
    Operation(
        noun="AtomicInt",
        verb="wake",
        world=AtomicInt,
        prepare=lambda number: known(number).wake,
        wait=wait_and_load,
        again=add_one,
        books=value,
    ),
]
