"""The stack, as the hostile tests make and use it."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

from tests.hostile.mutations import HEADER, Verbs, in_any_order
from underpass.data import Stack

if TYPE_CHECKING:
    import random

CAPACITY = 8
# The words, the places with 64 to spare, and then the waiters, whose lock stands behind their bits.
LOCK = HEADER + 64 + (CAPACITY + 64) * 8 + 8
SHORT = 0.0003


class Stacks:
    name = "stack"

    def make(self) -> None:
        stack = Stack.create(self.name, CAPACITY)
        for word in range(5):
            stack.push(word)
        stack.close()

    def open(self) -> Stack:
        return Stack.open(self.name)

    def locks(self, size: int) -> list[int]:
        assert size > LOCK
        return [LOCK]

    def use(self, it: Stack, dice: random.Random, verbs: Verbs) -> None:
        pause = dice.choice((0, 0, 0, SHORT))
        in_any_order(
            dice,
            verbs,
            [
                it.pop_nowait,
                lambda: it.pop(timeout=pause),
                lambda: it.pop(timeout=pause),
                lambda: it.push(dice.randrange(2**64)),
                lambda: it.push(1),
                it.purge if dice.random() < 0.2 else it.statistics,
                lambda: (it.depth, it.capacity, it.statistics(), repr(it)),
                lambda: pickle.loads(pickle.dumps(it)),  # noqa: S301 - our own bytes
            ],
        )
