"""Damaged files of objects: opened and used, each gives a result or an error of ours; no signal, no hang."""

from __future__ import annotations

import os
import random
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.hostile.broadcasts import Broadcasts, WaitingBroadcasts
from tests.hostile.mutations import Damage, Verbs, damage, survive
from tests.hostile.pools import Pools
from tests.hostile.rings import Rings
from tests.hostile.stacks import Stacks
from tests.hostile.subjects import SUBJECTS, Subject
from underpass import CorruptedError, Gate, Port, TimedOut
from underpass.data import MpscRing, SpscRing

if TYPE_CHECKING:
    from pathlib import Path

SOME, MANY = 2_000, 100_000


def write(file: int, image: bytes, change: Damage | None = None) -> None:
    """Give a file its bytes back, and then the damage."""
    if os.fstat(file).st_size != len(image):
        os.ftruncate(file, len(image))
    os.pwrite(file, image, 0)
    if change:
        for offset, data in change.writes:
            os.pwrite(file, data, offset)
        if change.length is not None:
            os.ftruncate(file, change.length)


def seeds(count: int) -> range:
    """Draw where to start, in CI always the same; the same seed is the same damage."""
    start = 1 if os.environ.get("UNDERPASS_CI") == "1" else random.randrange(2**32)
    print(f"seeds {start} to {start + count - 1}")  # noqa: T201 - shown when it fails
    return range(start, start + count)


ALL: list[Subject] = [
    *SUBJECTS,
    Broadcasts(),
    WaitingBroadcasts(),
    Pools(),
    Rings(SpscRing),
    Rings(MpscRing),
    Stacks(),
]


def damage_files(subject: Subject, space: Path, numbers: range) -> None:
    subject.make()
    path = space / subject.name
    image = path.read_bytes()
    locks = subject.locks(len(image))
    file = os.open(path, os.O_RDWR)

    def attack(seed: int, verbs: Verbs) -> None:
        dice = random.Random(seed)
        if dice.random() < 0.7:
            write(file, image, damage(dice, image, locks, may_cut=True))
            it = verbs(subject.open)
        else:
            # Under the hands of somebody who has it open.
            write(file, image)
            it = subject.open()
            for offset, data in damage(dice, image, locks, may_cut=False).writes:
                os.pwrite(file, data, offset)
        if it is not None:
            subject.use(it, dice, verbs)
            it.close()

    outcomes = survive(attack, numbers)
    os.close(file)
    path.unlink()
    assert not outcomes.faults, "\n".join(outcomes.faults)
    # Both happen, or the damage is not what it says.
    assert 0 < outcomes.refused < outcomes.used == len(numbers)


@pytest.mark.parametrize("subject", ALL, ids=lambda subject: subject.name)
def test_damaged_object_is_an_error_of_ours_or_works(private_space: Path, subject: Subject) -> None:
    damage_files(subject, private_space, seeds(SOME))


@pytest.mark.deep
@pytest.mark.parametrize("subject", ALL, ids=lambda subject: subject.name)
def test_damaged_object_many_times(private_space: Path, subject: Subject) -> None:
    damage_files(subject, private_space, seeds(MANY))


def answer(port: Port, verbs: Verbs) -> None:
    request = verbs(lambda: port.receive(timeout=0))
    if request is not None:
        verbs(lambda: (request.peer, request.data, request.reply(b"y")))


def damage_ports(space: Path, numbers: range) -> None:
    def attack(seed: int, verbs: Verbs) -> None:
        dice = random.Random(seed)
        port = Port.create("desk", message_size=100)
        path = space / "desk"
        file = os.open(path, os.O_RDWR)
        image = os.pread(file, 4096, 0)
        gate = None if dice.random() < 0.6 else Gate.open("desk")
        if gate is not None and dice.random() < 0.5:
            with suppress(TimedOut):
                gate.call(b"before", timeout=0)
        for offset, data in damage(dice, image, [], may_cut=False).writes:
            os.pwrite(file, data, offset)
        if gate is None:
            gate = verbs(lambda: Gate.open("desk"))
        if isinstance(gate, Gate):
            caller = gate
            verbs(lambda: caller.call(b"x" * dice.randrange(120), timeout=dice.choice((0, 0.0003))))
            for _ in range(2):
                answer(port, verbs)
            verbs(lambda: caller.call_into(b"x", bytearray(10), timeout=0))
            verbs(lambda: (repr(caller), caller.message_size, caller.name))
            caller.close()
        verbs(lambda: (port.statistics(), repr(port)))
        port.close()
        os.close(file)
        path.unlink(missing_ok=True)  # a header that names somebody else keeps its name

    outcomes = survive(attack, numbers)
    assert not outcomes.faults, "\n".join(outcomes.faults)
    assert 0 < outcomes.refused < outcomes.used == len(numbers)


def test_damaged_port_is_an_error_of_ours_or_works(private_space: Path) -> None:
    damage_ports(private_space, seeds(SOME))


@pytest.mark.deep
def test_damaged_port_many_times(private_space: Path) -> None:
    damage_ports(private_space, seeds(MANY))


def test_faults_are_found_and_told_with_their_seed() -> None:
    def attack(seed: int, verbs: Verbs) -> None:
        verbs(lambda: (_ for _ in ()).throw(CorruptedError("ours")))
        if seed == 12:
            os.kill(os.getpid(), signal.SIGKILL)
        if seed == 15:
            raise RuntimeError("not ours")

    outcomes = survive(attack, range(10, 20))
    assert [fault.splitlines()[0] for fault in outcomes.faults] == [
        "seed 12: SIGKILL",
        "seed 15: Traceback (most recent call last):",
    ]
    assert (outcomes.used, outcomes.refused) == (8, 8)
