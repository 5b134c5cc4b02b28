"""A pipe, as the hostile tests make and use it."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

from tests.hostile.mutations import HEADER, Verbs, in_any_order
from underpass import Pipe

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

SHORT = 0.0003


class Pipes:
    name = "pipe"

    def make(self) -> None:
        pipe = Pipe.create(self.name, 100)
        pipe.write(b"x" * 90)
        pipe.read(70)
        pipe.write(b"y" * 50)

    def open(self) -> Pipe:
        return Pipe.open(self.name)

    def locks(self, size: int) -> list[int]:
        assert size > HEADER
        return [HEADER, HEADER + 128]  # the writers', the readers': layout/pipe.rs

    def use(self, it: Pipe, dice: random.Random, verbs: Verbs) -> None:
        pause = dice.choice((0, 0, 0, SHORT))

        def putting() -> None:
            with it.putting():
                it.write(b"from a registered writer", timeout=0)

        operations: list[Callable[[], object]] = [
            lambda: it.write(b"z" * dice.randrange(200), timeout=pause),
            lambda: it.read(dice.randrange(200), timeout=pause),
            lambda: it.read_into(bytearray(60), timeout=pause),
            lambda: it.read_some(1000, timeout=pause),
            putting,
            it.reset if dice.random() < 0.2 else it.statistics,
            lambda: (it.depth, it.capacity, it.statistics(), repr(it)),
            lambda: pickle.loads(pickle.dumps(it)),  # noqa: S301 - our own bytes
        ]
        in_any_order(dice, verbs, operations)
        if dice.random() < 0.2:
            verbs(it.shutdown)
            in_any_order(dice, verbs, operations)
