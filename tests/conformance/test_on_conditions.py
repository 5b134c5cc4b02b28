"""A condition is the most general: a semaphore, an event and a queue are built on it, and are what they should be."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

pytest.importorskip("greenlet")

from tests.conformance.backends import Processes, Threads
from tests.conformance.histories import ACTORS, MOMENT, REFUSALS, explained
from underpass import AtomicInt, Condition, Mutex, WouldBlock, lab
from underpass.lab import models

if TYPE_CHECKING:
    from collections.abc import Callable

World = Threads | Processes

TURNS = 30


class Semaphore:
    """Units."""

    def __init__(self, value: int) -> None:
        self._changed, self._units = Condition(), AtomicInt(value)

    def acquire(self, *, timeout: float | None = None) -> bool:
        with self._changed:
            self._changed.wait_for(self._units.load, timeout=timeout)
            self._units.sub(1)
            return True

    def acquire_nowait(self) -> bool:
        with self._changed:
            if not self._units.load():
                raise WouldBlock
            self._units.sub(1)
            return True

    def release(self, count: int = 1) -> None:
        with self._changed:
            self._units.add(count)
            self._changed.notify(count)

    @property
    def value(self) -> int:
        return self._units.load()


class HastySemaphore(Semaphore):
    """One with a fault: who is told of a unit takes it, though another may have been faster."""

    def acquire(self, *, timeout: float | None = None) -> bool:
        with self._changed:
            if not self._units.load():
                self._changed.wait(timeout=timeout)
            self._units.sub(1)
            return True


class Event:
    """A flag."""

    def __init__(self) -> None:
        self._changed, self._flag = Condition(), AtomicInt()

    def set(self) -> None:
        with self._changed:
            self._flag.store(1)
            self._changed.notify_all()

    def clear(self) -> None:
        with self._changed:
            self._flag.store(0)

    def is_set(self) -> bool:
        return bool(self._flag.load())

    def wait(self, *, timeout: float | None = None) -> bool:
        with self._changed:
            return self._changed.wait_for(self._flag.load, timeout=timeout)


class Queue:
    """A bounded buffer: two conditions, one mutex."""

    def __init__(self, capacity: int) -> None:
        mutex = Mutex()
        self._filled, self._emptied = Condition(mutex), Condition(mutex)
        self._puts, self._gets, self._places = AtomicInt(), AtomicInt(), [AtomicInt() for _ in range(capacity)]

    def _size(self) -> int:
        return self._puts.load() - self._gets.load()

    def put(self, data: bytes, *, timeout: float | None = None) -> None:
        with self._emptied:
            self._emptied.wait_for(lambda: self._size() < len(self._places), timeout=timeout)
            self._places[self._puts.add(1) % len(self._places)].store(int.from_bytes(data, "big"))
            self._filled.notify()

    def get(self, *, timeout: float | None = None) -> bytes:
        with self._filled:
            self._filled.wait_for(self._size, timeout=timeout)
            data = self._places[self._gets.add(1) % len(self._places)].load()
            self._emptied.notify()
            return data.to_bytes(2, "big")


Step: TypeAlias = "Callable[[Any, float, random.Random], object]"


@dataclass(frozen=True)
class Built:
    """One of these, what it should be, and its operations: with how long they may wait, and dice."""

    make: Callable[[], Any]
    model: models.Model
    steps: list[Step]


BUILT = {
    "semaphore": Built(
        lambda: Semaphore(1),
        models.Semaphore(1),
        [
            lambda it, moment, _dice: it.acquire(timeout=moment),
            lambda it, _moment, _dice: it.acquire_nowait(),
            lambda it, _moment, dice: it.release(dice.choice([1, 2])),
            lambda it, _moment, _dice: it.value,
        ],
    ),
    "event": Built(
        Event,
        models.Event(),
        [
            lambda it, _moment, _dice: it.set(),
            lambda it, _moment, _dice: it.clear(),
            lambda it, _moment, _dice: it.is_set(),
            lambda it, moment, _dice: it.wait(timeout=moment),
        ],
    ),
    "queue": Built(
        lambda: Queue(2),
        models.Queue(2),
        [
            lambda it, moment, dice: it.put(dice.randbytes(2), timeout=moment),
            lambda it, moment, _dice: it.get(timeout=moment),
        ],
    ),
}

each = pytest.mark.parametrize("name", BUILT)


def work(steps: list[Step], turns: int, moment: float, seed: str, it: Any) -> None:
    """Do some of these, one after the other."""
    dice = random.Random(seed)
    for _ in range(turns):
        with suppress(*REFUSALS):
            dice.choice(steps)(it, moment, dice)


def explore(name: str, seed: int, make: Callable[[], Any] | None = None) -> None:
    """Run a random program of the lab in which each history has to be explained."""
    built = BUILT[name]

    def program(world: lab.World) -> None:
        it = lab.linearizable((make or built.make)(), built.model)
        for number in range(ACTORS):
            # Not as an argument: the operations cannot be pickled.
            world.process(partial(work, built.steps, 3, 1.0, f"{seed} {number}", it))

    lab.explore(program, schedules=60, seed=seed, jobs=1)


@each
def test_what_is_built_on_conditions_is_explained_by_the_same_model(
    machine: World, name: str, dice: random.Random
) -> None:
    built, seed = BUILT[name], dice.randrange(2**32)
    explained(
        machine, built.make(), built.model, lambda it, number: work(built.steps, TURNS, MOMENT, f"{seed} {number}", it)
    )


@each
def test_each_history_of_the_lab_is_explained(name: str, dice: random.Random) -> None:
    explore(name, dice.randrange(2**32))


def test_one_who_does_not_look_again_is_found() -> None:
    def is_explained(seed: int) -> bool:
        try:
            explore("semaphore", seed, lambda: HastySemaphore(1))
        except lab.Failure as failure:
            return "not linearizable" not in str(failure)
        return True

    assert not all(is_explained(seed) for seed in range(6))
