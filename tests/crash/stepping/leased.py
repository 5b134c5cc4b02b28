"""Deaths inside a leased Semaphore: what the victim had acquired is free, and whoever waits for it goes on; no unit twice."""

import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from tests.crash.stepping.children import Child, until
from tests.crash.stepping.operation import Operation, Tally
from underpass import ResetError, Semaphore, TimedOut, WouldBlock

Fairness = Literal["barging", "arrival"]


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


class Elsewhere:
    """One whose unit another process holds, until somebody tells it not to."""

    def __init__(self, fairness: Fairness) -> None:
        self.semaphore = made(1, fairness)()
        self._page = mmap.mmap(-1, 2)
        self._holder = Child("holder", self._hold)
        until(lambda: self._page[0] == 1, "the holder does not come to hold it")

    def _hold(self) -> None:
        with self.semaphore.holding():
            self._page[0] = 1
            parent = os.getppid()
            until(lambda: self._page[1] == 1 or os.getppid() != parent, "nobody wants the unit")
        self._page[0] = 0

    def ask(self) -> None:
        """Have it release: it may have to wait for a lock that the victim holds, where it is held."""
        self._page[1] = 1

    def let_go(self) -> None:
        """Have it release, and wait for that."""
        self.ask()
        until(lambda: self._page[0] == 0, "the holder does not release")

    def close(self) -> None:
        self._holder.close()
        self._page.close()


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


def asleep(fairness: Fairness) -> list[Operation[Elsewhere]]:
    """What is done where another process holds the unit."""
    how = f"leased, {fairness}"

    def wait(elsewhere: Elsewhere) -> str:
        return use(elsewhere.semaphore)

    def is_due(elsewhere: Elsewhere) -> bool:
        return is_free(elsewhere.semaphore)

    def books(elsewhere: Elsewhere, tally: Tally) -> int:
        return value(elsewhere.semaphore, tally)

    return [
        Operation(
            noun="Semaphore",
            verb=f"acquire, {how}, asleep",
            world=lambda: Elsewhere(fairness),
            prepare=lambda elsewhere: known(elsewhere.semaphore).acquire,
            partner=Elsewhere.ask,
            wait=wait,
            due=is_due,
            again=Elsewhere.let_go,
            books=books,
            close=Elsewhere.close,
        ),
        Operation(
            noun="Semaphore",
            verb=f"acquire, {how}, timed out",
            world=lambda: Elsewhere(fairness),
            prepare=lambda elsewhere: lambda: elsewhere.semaphore.acquire(timeout=0.002),
            raises=(TimedOut,),
            wait=wait,
            due=is_due,
            again=Elsewhere.let_go,
            books=books,
            close=Elsewhere.close,
        ),
        Operation(
            noun="Semaphore",
            verb=f"acquire_nowait, {how}, refused",
            world=lambda: Elsewhere(fairness),
            prepare=lambda elsewhere: known(elsewhere.semaphore).acquire_nowait,
            raises=(WouldBlock,),
            wait=wait,
            due=is_due,
            again=Elsewhere.let_go,
            books=books,
            close=Elsewhere.close,
        ),
    ]


OPERATIONS = [
    *operations("barging"),
    *operations("arrival"),
    *asleep("barging"),
    *asleep("arrival"),
]
