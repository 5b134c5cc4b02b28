"""The rings, as the hostile tests make and use them."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

from tests.hostile.mutations import HEADER, Verbs, in_any_order
from underpass import wait_any
from underpass.data import Loan, MpscRing, Packet, SpscRing

if TYPE_CHECKING:
    import random

CAPACITY = 256
SHORT = 0.0003


class Rings:
    def __init__(self, of: type[SpscRing | MpscRing]) -> None:
        self.of = of
        self.name = of.__name__

    def make(self) -> None:
        ring = self.of.create(self.name, CAPACITY)
        for size in (10, 100, 20, 30):
            ring.write(b"x" * size)
        ring.read()
        ring.read()
        ring.claim(8).abandon()
        ring.write(b"y" * 40)
        ring.close()

    def open(self) -> SpscRing | MpscRing:
        return self.of.open(self.name)

    def locks(self, size: int) -> list[int]:
        assert size > HEADER
        return []

    def use(self, it: SpscRing | MpscRing, dice: random.Random, verbs: Verbs) -> None:
        pause = dice.choice((0, 0, 0, SHORT))
        held = list[Loan]()
        taken = list[Packet]()

        def claim() -> None:
            held.append(it.claim(dice.randrange(140), timeout=pause))
            held[-1][:] = b"x" * len(held[-1])

        def take() -> None:
            taken.append(it.take(timeout=pause))
            assert len(bytes(taken[-1])) == len(taken[-1])

        in_any_order(
            dice,
            verbs,
            [
                *[lambda: it.write(b"x" * dice.randrange(140), timeout=pause)] * 3,
                *[lambda: it.read(timeout=pause)] * 3,
                *[claim] * 2,
                *[take] * 2,
                lambda: held.pop().commit(0),
                lambda: held.pop().abandon(),
                lambda: taken.pop().free(),
                lambda: taken.pop().put_back(),
                lambda: wait_any(it, it.room_for(dice.randrange(128)), timeout=pause),
                lambda: (it.depth, it.capacity, it.next_size, it.statistics(), repr(it)),
                lambda: pickle.loads(pickle.dumps(it)),  # noqa: S301 - our own bytes
            ],
        )
