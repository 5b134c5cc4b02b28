"""Damaged bells: who waits for many, and who rings, gets a result or an error of ours; no signal, no hang."""

from __future__ import annotations

import os
import random
import struct
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.hostile.mutations import EDGES, HEADER, WIDE_EDGES, Verbs, survive
from tests.hostile.subjects import SHORT, in_any_order
from tests.hostile.test_files import MANY, SOME, seeds
from underpass import Event, Queue, Semaphore, TimedOut, WaitSet, select, wait_all, wait_any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Where an object says which bells are rung for it. See layout/bell.rs.
WATCHERS = 128
# In the table of lives: how many bells are reserved, where they are, and how long each is. See lives.rs.
COUNT, TABLE, BELL, BELLS = HEADER + 12, 4096 + 4096 * 64 + 32_768 * 128, 320, 1024
# The words of a bell: owner, rings, socket, calls, the marks, and how many waits have begun.
OWNER, MARKS, WAITS = 0, 16, 272


def draw(dice: random.Random, known: int) -> tuple[int, bytes]:
    """Draw a change of the table: a word of a bell that somebody has or of any other, its marks, how many there are."""
    if dice.random() < 0.15:
        return COUNT, struct.pack("<I", dice.choice((0, 1, 63, 64, 65, 1000, 1023, 1024, 1025, dice.getrandbits(32))))
    bell = TABLE + BELL * dice.choice((*range(known), dice.randrange(BELLS)))
    if dice.random() < 0.3:
        word = bell + MARKS + 8 * dice.randrange((WAITS - MARKS) // 8)
        return word, struct.pack("<Q", dice.choice((0, dice.getrandbits(64), *WIDE_EDGES)))
    word = bell + dice.choice((0, 4, 8, 12, WAITS))
    return word, struct.pack(
        "<I", dice.choice((dice.choice(EDGES) % (1 << 32), dice.getrandbits(32), dice.randrange(4)))
    )


class Scene:
    """Objects that are waited for together, and the bytes that say who is rung."""

    def __init__(self, space: Path) -> None:
        self.units, self.stop = Semaphore.create("units", 0), Event.create("stop")
        self.jobs = Queue.create("jobs", 1, 8)
        # The table: a descriptor of it that is closed would end this process's life there, so it stays open.
        self.table = os.open(space / ".lives", os.O_RDWR)
        self.files = [os.open(space / name, os.O_RDWR) for name in ("units", "stop", "jobs")]
        with suppress(TimedOut):
            wait_any(*self.all, timeout=SHORT)
        (self.known,) = struct.unpack("<I", os.pread(self.table, 4, COUNT))
        self.bells = os.pread(self.table, BELL * BELLS, TABLE)

    @property
    def all(self) -> tuple[Semaphore, Event, Queue]:
        """What is waited for."""
        return self.units, self.stop, self.jobs

    def mend(self) -> None:
        """Give the bells back what they were."""
        os.pwrite(self.table, struct.pack("<I", self.known), COUNT)
        os.pwrite(self.table, self.bells, TABLE)
        for file in self.files:
            os.pwrite(file, bytes(HEADER - WATCHERS), WATCHERS)

    def damage(self, dice: random.Random) -> None:
        """Change some of their bytes, and who is rung."""
        for _ in range(dice.choice((1, 1, 2, 6))):
            where, what = draw(dice, known=2)
            os.pwrite(self.table, what, where)
        for file in self.files:
            if dice.random() < 0.5:
                word = struct.pack("<Q", dice.choice((1, 2, dice.getrandbits(64), (1 << 64) - 1)))
                os.pwrite(file, word, WATCHERS + 8 * dice.randrange((HEADER - WATCHERS) // 8))

    def attack(self, seed: int, verbs: Verbs) -> None:
        """Damage what somebody uses who waits already, and use it on."""
        dice = random.Random(seed)
        self.mend()
        # Its bell is this process's, which is forked.
        members = WaitSet()
        for what in self.all:
            members.add(what)
        with suppress(TimedOut):
            wait_any(*self.all, timeout=0.0001)
        self.damage(dice)
        self.use(members, dice, verbs)
        verbs(members.close)

    def use(self, members: WaitSet, dice: random.Random, verbs: Verbs) -> None:
        """Wait for many in every way, and ring in between."""

        def wait_in_a_set() -> None:
            with WaitSet() as others:
                for what in (*self.all, self.jobs.room):
                    others.add(what, repr)
                others.remove(self.stop)
                others.dispatch(timeout=SHORT)

        waits: list[Callable[[], object]] = [
            partial(wait_any, *self.all, timeout=SHORT),
            partial(wait_any, *self.all, timeout=0),
            partial(wait_all, self.units, self.stop, timeout=SHORT),
            partial(select, self.units.acquire, self.jobs.get, timeout=SHORT),
            wait_in_a_set,
            partial(members.wait, timeout=SHORT),
            partial(members.ready, everything=True),
            members.fileno,
            self.stop.set,
            self.units.release,
            partial(self.jobs.put, b"x", timeout=0),
            self.stop.clear,
        ]
        in_any_order(dice, verbs, waits)
        # In order too: somebody is announced, and rung.
        for verb in (waits[0], self.stop.set, partial(members.wait, timeout=SHORT), self.stop.clear):
            verbs(verb)

    def close(self) -> None:
        """End it."""
        self.mend()
        for what in self.all:
            what.unlink()
            what.close()
        for file in self.files:
            os.close(file)


def damage_bells(space: Path, numbers: range) -> None:
    scene = Scene(space)

    outcomes = survive(scene.attack, numbers)
    scene.close()
    assert not outcomes.faults, "\n".join(outcomes.faults)
    # Both happen, or the damage is not what it says.
    assert 0 < outcomes.refused < outcomes.used == len(numbers)


def test_damaged_bells_are_an_error_of_ours_or_work(private_space: Path) -> None:
    damage_bells(private_space, seeds(SOME))


@pytest.mark.deep
def test_damaged_bells_many_times(private_space: Path) -> None:
    damage_bells(private_space, seeds(MANY))
