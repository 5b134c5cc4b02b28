"""How often one who waits is overtaken: never where it has a place in line, and without a bound where all barge."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("greenlet")

from underpass import AtomicInt, Mutex, RWLock, Semaphore, lab
from underpass.sync import SpinLock

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

RIVALS, ROUNDS = 2, 2

Block = tuple[Any, "Callable[[Any], AbstractContextManager[object]]"]


def overtaken(make: Callable[[], Any], inside: Callable[[Any], AbstractContextManager[object]], most: int) -> Any:
    """One waits when the others come, who go in and out again and again: so many of them may go in before it does."""

    def program(world: lab.World) -> None:
        it, overtakes, served = make(), AtomicInt(), AtomicInt()

        def wait() -> None:
            with inside(it):
                served.store(1)

        def rival() -> None:
            for _ in range(ROUNDS):
                with inside(it):
                    if not served.load():
                        assert overtakes.add(1) < most, "overtaken"

        def begin() -> None:
            with inside(it):
                patient = world.process(wait)
                while not world.asleep(patient):
                    world.step()
                for _ in range(RIVALS):
                    world.process(rival)

        world.process(begin)

    return program


STRONG: dict[str, Block] = {
    "semaphore-arrival": (lambda: Semaphore(1, fairness="arrival"), Semaphore.holding),
    "semaphore-priority": (lambda: Semaphore(1, fairness="priority"), Semaphore.holding),
    "mutex-arrival": (lambda: Mutex(fairness="arrival"), Mutex.holding),
    "mutex-priority": (lambda: Mutex(fairness="priority"), Mutex.holding),
    "rwlock-arrival": (lambda: RWLock(prefer="arrival"), RWLock.writing),
    "rwlock-writers": (lambda: RWLock(prefer="writers"), RWLock.writing),
}
WEAK: dict[str, Block] = {
    "semaphore": (lambda: Semaphore(1), Semaphore.holding),
    "mutex": (Mutex, Mutex.holding),
    "spin-lock": (SpinLock, SpinLock.holding),
}


# A walk: of strategies with priorities, one may let the first one look for ever whether another sleeps.
explore = partial(lab.explore, strategy="walk", early=False, seed=7, jobs=1)


@pytest.mark.parametrize("name", STRONG)
def test_nobody_who_comes_later_goes_before_one_in_line(name: str) -> None:
    make, inside = STRONG[name]
    explore(overtaken(make, inside, 0), schedules=100)


@pytest.mark.parametrize("name", WEAK)
def test_where_all_barge_one_may_be_overtaken_by_all_who_come(name: str) -> None:
    """Each time: so there is no bound."""
    make, inside = WEAK[name]
    with pytest.raises(lab.Failure, match="overtaken"):
        explore(overtaken(make, inside, RIVALS * ROUNDS - 1), schedules=3_000)
