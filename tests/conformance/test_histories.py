"""Histories of real threads and real processes: each has to be one that a sequential object explains.

Every call is stamped before and after it by the clock that all processors share. What the lab asks of the schedules that it makes up
is asked here of those that happen.
"""

from __future__ import annotations

import random
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import pytest

pytest.importorskip("greenlet")

from tests.conformance.backends import Processes, Threads
from tests.conformance.histories import ACTORS, MOMENT, REFUSALS, explained
from underpass import (
    AtomicInt,
    Barrier,
    Event,
    MisuseError,
    Mutex,
    Notification,
    Once,
    Queue,
    RWLock,
    Semaphore,
    WouldBlock,
)
from underpass.data import Stack
from underpass.lab import NotLinearizable, models
from underpass.sync import Latch

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

World = Threads | Processes

TURNS = 40
_DROPS: tuple[Literal["drop_oldest", "drop_newest"], ...] = ("drop_oldest", "drop_newest")


# ── the objects ─────────────────────────────────────────────────────────────────────────────────────────────────────


if TYPE_CHECKING:
    Step: TypeAlias = Callable[[Any, random.Random], object]


@dataclass(frozen=True)
class Subject:
    """An object, what it should be, and what is done with it: any of these, again and again."""

    name: str
    make: Callable[[], Any]
    model: models.Model
    steps: list[Step]


def _hold(it: Any, dice: random.Random) -> None:
    it.acquire(timeout=MOMENT) if dice.random() < 0.5 else it.acquire_nowait()
    try:
        it.acquire_nowait()
        it.release()
    finally:
        it.release()


def _enter(it: Any, dice: random.Random) -> None:
    with it.reading(timeout=MOMENT) if dice.random() < 0.5 else it.writing(timeout=MOMENT):
        for inside in dice.choices([it.upgrade_nowait, it.downgrade, lambda: None], k=2):
            inside()


def _meet(it: Any, _dice: random.Random) -> None:
    it.wait(timeout=50 * MOMENT)


def _try_once(it: Any, dice: random.Random) -> None:
    """Run it; it is done in the end, so it fails at first."""
    with it.running(timeout=MOMENT):
        if dice.random() < 0.9:
            raise MisuseError("not yet")


def _subjects() -> list[Subject]:
    def semaphore(fairness: Any) -> Subject:
        steps: list[Step] = [
            lambda it, _dice: it.acquire(timeout=MOMENT),
            lambda it, _dice: it.acquire_nowait(),
            lambda it, dice: it.release(dice.choice([1, 1, 2])),
            lambda it, _dice: it.value,
        ]
        name, make = f"semaphore-{fairness}", lambda: Semaphore(2, limit=4, fairness=fairness)
        return Subject(name, make, models.Semaphore(2, limit=4), steps)

    def mutex(fairness: Any, *, recursive: bool) -> Subject:
        name, make = f"mutex-{fairness}", lambda: Mutex(fairness=fairness, recursive=recursive)
        return Subject(name, make, models.Mutex(recursive=recursive), [_hold, _hold, lambda it, _dice: it.release()])

    def rwlock(prefer: Any) -> Subject:
        return Subject(f"rwlock-{prefer}", lambda: RWLock(prefer=prefer), models.RWLock(), [_enter])

    return [
        *(semaphore(fairness) for fairness in ("barging", "arrival", "priority")),
        mutex("barging", recursive=True),
        mutex("arrival", recursive=False),
        mutex("priority", recursive=True),
        *(rwlock(prefer) for prefer in ("writers", "readers", "arrival")),
        Subject(
            "notification",
            Notification,
            models.Notification(),
            [
                lambda it, dice: it.notify(dice.randrange(1, 8)),
                lambda it, dice: it.set(dice.randrange(8), dice.randrange(8)),
                lambda it, dice: it.clear(dice.randrange(8)),
                lambda it, dice: it.wait_nowait(dice.randrange(1, 8)),
                lambda it, dice: it.wait(
                    dice.randrange(1, 8), all=dice.random() < 0.3, consume=dice.random() < 0.7, timeout=MOMENT
                ),
            ],
        ),
        Subject(
            "event",
            Event,
            models.Event(),
            [
                lambda it, _dice: it.set(),
                lambda it, _dice: it.clear(),
                lambda it, _dice: it.is_set(),
                lambda it, _dice: it.wait(timeout=MOMENT),
            ],
        ),
        Subject(
            "atomic",
            AtomicInt,
            models.AtomicInt(),
            [
                lambda it, dice: it.add(dice.choice([1, -1])),
                lambda it, dice: it.compare_exchange(dice.randrange(-1, 2), dice.randrange(-1, 2)),
                lambda it, dice: it.exchange(dice.randrange(-1, 2)),
                lambda it, _dice: it.load(),
                lambda it, dice: it.wait(dice.randrange(-1, 2), timeout=MOMENT),
                lambda it, _dice: it.wake(),
            ],
        ),
        Subject(
            "barrier",
            lambda: Barrier(2),
            models.Barrier(2),
            [
                *[_meet] * 6,
                lambda it, _dice: it.n_waiting,
                lambda it, _dice: it.broken,
                lambda it, _dice: it.reset(),
                lambda it, dice: it.abort() if dice.random() < 0.3 else it.broken,
            ],
        ),
        Subject("once", Once, models.Once(), [_try_once, lambda it, _dice: it.done]),
        Subject(
            "latch",
            lambda: Latch(TURNS),
            models.Latch(TURNS),
            [
                lambda it, dice: it.count_down(dice.choice([1, 1, 3])),
                lambda it, _dice: it.count,
                lambda it, _dice: it.wait(timeout=MOMENT),
            ],
        ),
        Subject(
            "stack",
            lambda: Stack(2),
            models.Stack(2),
            [
                lambda it, dice: it.push(dice.randrange(8)),
                lambda it, dice: it.push(dice.randrange(8)),
                lambda it, _dice: it.pop(timeout=MOMENT),
                lambda it, _dice: it.pop_nowait(),
                lambda it, _dice: it.depth,
                lambda it, dice: it.purge() if dice.random() < 0.1 else it.depth,
            ],
        ),
        Subject(
            "queue",
            lambda: Queue(2, 8),
            models.Queue(2),
            [
                lambda it, dice: it.put(dice.randbytes(4), timeout=MOMENT),
                lambda it, dice: it.put_nowait(dice.randbytes(4)),
                lambda it, _dice: it.get(timeout=MOMENT),
                lambda it, _dice: it.get_nowait(),
            ],
        ),
        *(
            Subject(
                f"queue-{when_full}",
                partial(Queue, 2, 8, when_full=when_full),
                models.Queue(2, when_full=when_full),
                [
                    lambda it, dice: it.put(dice.randbytes(4)),
                    lambda it, dice: it.put_nowait(dice.randbytes(4)),
                    lambda it, _dice: it.get_nowait(),
                    lambda it, _dice: it.dropped,
                ],
            )
            for when_full in _DROPS
        ),
    ]


@pytest.mark.parametrize("subject", _subjects(), ids=lambda subject: subject.name)
def test_some_order_explains_what_all_have_seen(machine: World, subject: Subject, dice: random.Random) -> None:
    seed = dice.randrange(2**32)

    def work(it: Any, number: int) -> None:
        mine = random.Random(f"{seed} {number}")
        for _ in range(TURNS):
            with suppress(*REFUSALS):
                mine.choice(subject.steps)(it, mine)

    explained(machine, subject.make(), subject.model, work)


# ── objects with a fault ────────────────────────────────────────────────────────────────────────────────────────────


def _nothing() -> None:
    pass


# What an actor does in the middle of an operation.
meanwhile: ContextVar[Callable[[], None]] = ContextVar("meanwhile", default=_nothing)


@dataclass
class Torn:
    """An object whose operations look first and act afterwards."""

    word: AtomicInt = field(default_factory=lambda: AtomicInt(0))

    def look(self) -> int:
        """Look, and let others do what they do."""
        found = self.word.load()
        meanwhile.get()()
        return found

    def add(self, value: int) -> int:
        before = self.look()
        self.word.store(before + value)
        return before

    def acquire_nowait(self) -> bool:
        if self.look():
            raise WouldBlock
        self.word.store(1)
        return True

    def wait_nowait(self, _bits: int) -> int:
        if self.look():
            raise WouldBlock
        self.word.store(1)
        return 1

    @contextmanager
    def running(self) -> Generator[Any]:
        """Have everybody run it."""
        self.look()
        yield SimpleNamespace(died=None)

    @contextmanager
    def writing(self) -> Generator[None]:
        """Let everybody in."""
        self.look()
        yield

    def wait(self) -> int:
        """Let go who has come, whoever is to come still."""
        return self.word.add(1)


def _write(it: Any) -> None:
    with it.writing():
        meanwhile.get()()


def _run(it: Any) -> None:
    with it.running():
        meanwhile.get()()


def _pass(it: Any) -> None:
    it.wait()
    meanwhile.get()()


FAULTS: dict[str, tuple[models.Model, Callable[[Any], object]]] = {
    "a lost update": (models.AtomicInt(), lambda it: it.add(1)),
    "a unit for two": (models.Semaphore(1), lambda it: it.acquire_nowait()),
    "a mutex for two": (models.Mutex(), lambda it: it.acquire_nowait()),
    "a flag for two": (models.Notification(1), lambda it: it.wait_nowait(1)),
    "two writers": (models.RWLock(), _write),
    "two who run it once": (models.Once(), _run),
    "passed alone": (models.Barrier(ACTORS), _pass),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_no_order_explains_is_found(machine: World, fault: str) -> None:
    model, operation = FAULTS[fault]
    inside, done = machine.flag(), machine.flag()

    def let_others() -> None:
        meanwhile.set(_nothing)
        inside.raise_(ACTORS - 1)
        for _ in range(ACTORS - 1):
            done.wait()

    def work(it: Any, number: int) -> None:
        if number == 0:
            meanwhile.set(let_others)
            operation(it)
            return
        inside.wait()
        with suppress(WouldBlock):
            operation(it)
        done.raise_()

    with pytest.raises(NotLinearizable):
        explained(machine, Torn(), model, work)
