"""Seeded damage to shared bytes, and the children that meet it: whoever dies is known by the seed it died of."""

from __future__ import annotations

import mmap
import os
import random
import signal
import struct
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from underpass import CorruptedError, MismatchError, UnderpassError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

T = TypeVar("T")

# One damaged object is opened, used and closed within that many seconds, or its process hangs.
PATIENCE = 20
# More faults than these are not looked for: one is enough to fail.
ENOUGH = 5
HEADER = 384

# What words are compared with, shifted by and counted in: where off-by-one lives.
EDGES = sorted(
    {0, 1, 2, 3, 4, 5, 7, 8, 9, 63, 64, 65, 0x1234_5678}
    | {power + step for bit in (8, 15, 16, 28, 29, 30, 31, 32) for power in (1 << bit,) for step in (-1, 0, 1)}
)
WIDE_EDGES = [1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, (1 << 64) - 64]
# A thread that nobody is: no slot reaches that generation in a test. A lock that it holds is inherited.
DEAD_THREAD = 0x7FFF_8000
SLEEPERS = 1 << 31


@dataclass(frozen=True)
class Damage:
    """What is written where, and how long the file is then; None: as it was."""

    writes: Sequence[tuple[int, bytes]]
    length: int | None = None


def damage(dice: random.Random, image: bytes, locks: Iterable[int], *, may_cut: bool) -> Damage:
    """Draw one to six changes of an object's bytes: header, words, indices, lengths, payload.

    `locks` are the offsets of the words that say who holds a lock inside the object. All who may write to a space are
    trusted not to claim a lock for somebody who lives: these words change to what a death leaves there, and to nothing else.
    """
    locked = sorted(locks)
    writes: list[tuple[int, bytes]] = []
    for _ in range(dice.choice((1, 1, 1, 2, 3, 6))):
        # The header, the words behind it, what is in use of most, and then wherever.
        end = dice.choice((128, HEADER + 64, HEADER + 320, 4096, len(image)))
        start = 0 if dice.random() < 0.4 else HEADER
        offset = dice.randrange(start, max(start + 8, min(end, len(image))))
        if dice.random() < 0.1 and locked:
            dead = DEAD_THREAD | dice.randrange(1 << 15) | dice.choice((0, SLEEPERS))
            writes.append((dice.choice(locked), struct.pack("<I", dead)))
            continue
        if dice.random() < 0.15:
            data = dice.randbytes(dice.choice((1, 2, 4, 8, 64)))
        elif dice.random() < 0.2:
            offset &= ~7
            data = struct.pack("<Q", dice.choice(WIDE_EDGES) if dice.random() < 0.5 else dice.choice(EDGES))
        else:
            offset &= ~3
            there = dice.randrange(0, min(4096, len(image)) - 3) & ~3
            (copied,) = struct.unpack_from("<I", image, there)
            (here,) = struct.unpack_from("<I", image, offset) if offset + 4 <= len(image) else (0,)
            near = (here + dice.choice((-2, -1, 1, 2))) % (1 << 32)
            flipped = here ^ 1 << dice.randrange(32)
            value = dice.choice((dice.choice(EDGES) % (1 << 32), copied, near, flipped, dice.getrandbits(32)))
            data = struct.pack("<I", value)
        data = data[: len(image) - offset]
        if not any(offset < lock + 4 and lock < offset + len(data) for lock in locked):
            writes.append((offset, data))
    length = None
    if may_cut and dice.random() < 0.05:
        length = dice.choice(
            (0, 1, HEADER - 1, HEADER, HEADER + 64, len(image) - 1, len(image) + 4096, dice.randrange(len(image)))
        )
    return Damage(writes, length)


@dataclass
class Outcomes:
    """What became of the damaged objects: in how many the damage was told."""

    used: int = 0
    refused: int = 0
    faults: list[str] = field(default_factory=list[str])


class Verbs:
    """Runs operations one after the other: each gives a result or an error of ours. Counts those that tell of the damage."""

    refused = 0

    def __call__(self, operation: Callable[[], T], *others: type[Exception]) -> T | None:
        try:
            return operation()
        except (CorruptedError, MismatchError):
            self.refused += 1
        except (UnderpassError, *others):
            pass
        return None


def survive(attack: Callable[[int, Verbs], None], seeds: range) -> Outcomes:
    """Run ``attack`` for every seed in children that may die; a dead one's successor goes on behind its last seed."""
    outcomes = Outcomes()
    shared = mmap.mmap(-1, 4096)
    seed = seeds.start
    while seed < seeds.stop and len(outcomes.faults) < ENOUGH:
        shared[:] = bytes(4096)
        child = os.fork()
        if child == 0:
            _be_attacked(attack, range(seed, seeds.stop), shared)
        _, status = os.waitpid(child, 0)
        last, used, refused, failed = struct.unpack_from("<qqqq", shared)
        outcomes.used += used
        outcomes.refused += refused
        if status == 0:
            break
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            what = f"hangs for {PATIENCE} s" if number == signal.SIGALRM else signal.Signals(number).name
        else:
            what = shared[32 : 32 + failed].decode() if failed else f"ended with {status}"
        outcomes.faults.append(f"seed {last}: {what}")
        seed = last + 1
    shared.close()
    return outcomes


def _be_attacked(attack: Callable[[int, Verbs], None], seeds: range, shared: mmap.mmap) -> None:
    # The default of SIGALRM ends the process from any state: no code of ours has to run for it.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    used = refused = 0
    try:
        for seed in seeds:
            struct.pack_into("<qqq", shared, 0, seed, used, refused)
            signal.alarm(PATIENCE)
            verbs = Verbs()
            attack(seed, verbs)
            used += 1
            refused += verbs.refused > 0
        struct.pack_into("<qqq", shared, 0, seeds.stop, used, refused)
    except BaseException:  # noqa: BLE001 - told to the parent, which fails the test
        text = traceback.format_exc().encode()[-4000:]
        struct.pack_into("<q", shared, 24, len(text))
        shared[32 : 32 + len(text)] = text
        os._exit(1)
    os._exit(0)


def in_any_order(dice: random.Random, verbs: Verbs, operations: list[Callable[[], object]]) -> None:
    """Do all of them, in an order that is drawn."""
    dice.shuffle(operations)
    for operation in operations:
        verbs(operation, IndexError)
