"""Deaths inside a leased Semaphore: what the victim had acquired is free, and whoever waits for it goes on; no unit twice."""

from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from tests.crash.stepping.elsewhere import Elsewhere
from tests.crash.stepping.operation import Operation, Tally
from underpass import ResetError, Semaphore, TimedOut, WouldBlock

Fairness = Literal["barging", "arrival", "priority"]


def made(units: int, fairness: Fairness) -> Callable[[], Semaphore]:
    return lambda: Semaphore(units, leased=True, fairness=fairness)


def known(semaphore: Semaphore) -> Semaphore:
    """Return it once this process has a life."""
    Semaphore(0, leased=True).reset()
    return semaphore


def holds(semaphore: Semaphore) -> Semaphore:
    """Return it once this process holds a unit of it."""
    semaphore.acquire()
    return semaphore


def use(semaphore: Semaphore) -> str:
    """Take a unit and give it back."""
    try:
        semaphore.acquire()
    except ResetError:
        return "reset"
    semaphore.release()
    return "used"


def contend(semaphore: Semaphore, _tally: Tally) -> None:
    use(semaphore)


def is_free(semaphore: Semaphore) -> bool:
    return semaphore.value > 0


def value(semaphore: Semaphore, _tally: Tally) -> int:
    """Return the units that can be had, with nobody left who holds any."""
    left = semaphore.value
    for _ in range(left):
        semaphore.acquire_nowait()
    with suppress(WouldBlock):
        semaphore.acquire_nowait()
        return left + 1
    if left:
        semaphore.release(left)
    assert len(semaphore.statistics().holders) == 0
    return left


def held_elsewhere(fairness: Fairness) -> Elsewhere[Semaphore]:
    """Return one whose unit another process holds."""
    semaphore = made(1, fairness)()
    return Elsewhere(semaphore, semaphore.holding)


def operations(fairness: Fairness) -> list[Operation[Semaphore]]:
    """What is done where a unit is free, or held by the victim itself."""
    how = f"leased, {fairness}"
    return [
        Operation(
            noun="Semaphore",
            verb=f"acquire, {how}",
            world=made(2, fairness),
            prepare=lambda semaphore: known(semaphore).acquire,
            contend=contend,
            again=use,
            books=value,
        ),
        Operation(
            noun="Semaphore",
            verb=f"acquire, {how}, first of a process",
            world=made(1, fairness),
            prepare=lambda semaphore: semaphore.acquire,
            contend=contend,
            again=use,
            books=value,
        ),
        Operation(
            noun="Semaphore",
            verb=f"release, {how}",
            world=made(1, fairness),
            prepare=lambda semaphore: holds(semaphore).release,
            wait=use,
            due=is_free,
            again=use,
            books=value,
        ),
        Operation(
            noun="Semaphore",
            verb=f"release, {how}, while others use it",
            world=made(2, fairness),
            prepare=lambda semaphore: holds(semaphore).release,
            contend=contend,
            again=use,
            books=value,
        ),
        Operation(
            noun="Semaphore",
            verb=f"reset, {how}",
            world=made(1, fairness),
            prepare=lambda semaphore: holds(semaphore).reset,
            wait=use,
            due=is_free,
            again=use,
            books=value,
        ),
    ]


def asleep(fairness: Fairness) -> list[Operation[Elsewhere[Semaphore]]]:
    """What is done where another process holds the unit."""
    how = f"leased, {fairness}"

    def wait(elsewhere: Elsewhere[Semaphore]) -> str:
        return use(elsewhere.it)

    def is_due(elsewhere: Elsewhere[Semaphore]) -> bool:
        return is_free(elsewhere.it)

    def books(elsewhere: Elsewhere[Semaphore], tally: Tally) -> int:
        return value(elsewhere.it, tally)

    return [
        Operation(
            noun="Semaphore",
            verb=f"acquire, {how}, asleep",
            world=lambda: held_elsewhere(fairness),
            prepare=lambda elsewhere: known(elsewhere.it).acquire,
            partner=Elsewhere[Semaphore].ask,
            wait=wait,
            due=is_due,
            again=Elsewhere[Semaphore].let_go,
            books=books,
            close=Elsewhere[Semaphore].close,
        ),
        Operation(
            noun="Semaphore",
            verb=f"acquire, {how}, timed out",
            world=lambda: held_elsewhere(fairness),
            prepare=lambda elsewhere: lambda: elsewhere.it.acquire(timeout=0.002),
            raises=(TimedOut,),
            wait=wait,
            due=is_due,
            again=Elsewhere[Semaphore].let_go,
            books=books,
            close=Elsewhere[Semaphore].close,
        ),
        Operation(
            noun="Semaphore",
            verb=f"acquire_nowait, {how}, refused",
            world=lambda: held_elsewhere(fairness),
            prepare=lambda elsewhere: known(elsewhere.it).acquire_nowait,
            raises=(WouldBlock,),
            wait=wait,
            due=is_due,
            again=Elsewhere[Semaphore].let_go,
            books=books,
            close=Elsewhere[Semaphore].close,
        ),
    ]


OPERATIONS = [
    *operations("barging"),
    *operations("arrival"),
    *asleep("barging"),
    *asleep("arrival"),
]
