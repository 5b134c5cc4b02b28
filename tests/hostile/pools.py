"""A pool, as the hostile tests make and use it."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

from tests.hostile.mutations import HEADER, Verbs, in_any_order
from underpass import Block, Pool, wait_any

if TYPE_CHECKING:
    import random

SHORT = 0.0003


class Pools:
    name = "pool"

    def make(self) -> None:
        pool = Pool.create(self.name, 4, 100, more={300: 2})
        held = [pool.alloc(size) for size in (10, 100, 200)]
        held[0].release()

    def open(self) -> Pool:
        return Pool.open(self.name)

    def locks(self, size: int) -> list[int]:
        assert size > HEADER
        return []

    def use(self, it: Pool, dice: random.Random, verbs: Verbs) -> None:
        pause = dice.choice((0, 0, 0, SHORT))
        held = list[Block]()

        def take() -> None:
            held.append(it.alloc(dice.randrange(1 + max(it.sizes)), timeout=pause))
            held[-1][:] = b"x" * len(held[-1])

        def hand_on() -> None:
            held.append(pickle.loads(pickle.dumps(held.pop())))  # noqa: S301 - our own bytes

        def forge() -> None:
            mine = it.alloc(timeout=0)
            reference = bytearray(mine.hand_on())
            reference[dice.randrange(8, 24)] = dice.randrange(256)
            held.append(it.receive(bytes(reference)))

        in_any_order(
            dice,
            verbs,
            [
                *[take] * 4,
                hand_on,
                forge,
                lambda: held.pop().release(),
                lambda: [bytes(block) for block in held],
                lambda: wait_any(it.room_for(dice.randrange(1 + max(it.sizes))), timeout=pause),
                lambda: (it.free, it.sizes, it.statistics(), repr(it)),
                lambda: pickle.loads(pickle.dumps(it)),  # noqa: S301 - our own bytes
            ],
        )
