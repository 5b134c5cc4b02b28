"""The broadcast, as the hostile tests make and use it."""

from __future__ import annotations

import pickle
from functools import partial
from typing import TYPE_CHECKING

from tests.hostile.mutations import HEADER, Verbs
from tests.hostile.subjects import SHORT, in_any_order
from underpass import Broadcast, Subscription

if TYPE_CHECKING:
    import random


class Broadcasts:
    name = "broadcast"
    places = 0

    def create(self) -> Broadcast:
        return Broadcast.create(self.name, 512)

    def make(self) -> None:
        broadcast = self.create()
        for number in range(20):
            broadcast.publish(b"x" * (number * 10))
        broadcast.close()

    def open(self) -> Broadcast:
        return Broadcast.open(self.name)

    def locks(self, size: int) -> list[int]:
        assert size == HEADER + 128 + 64 * self.places + 512
        return [HEADER]

    def use(self, it: Broadcast, dice: random.Random, verbs: Verbs) -> None:
        pause = dice.choice((0, 0, 0, SHORT))
        readers = [verbs(partial(it.subscribe, start=start)) for start in ("now", "oldest", "oldest")]
        mine = [reader for reader in readers if isinstance(reader, Subscription)]
        reads = [
            verb for reader in mine for verb in (reader.get_nowait, lambda reader=reader: reader.get(timeout=pause))
        ]

        def lend(size: int) -> None:
            with it.loan(size, timeout=pause) as loan:
                loan[:1] = b"z"[:size]

        def take(reader: Subscription) -> None:
            with reader.take(timeout=pause) as lease:
                bytes(lease.value)

        in_any_order(
            dice,
            verbs,
            [
                *reads * 4,
                lambda: it.publish(b"y" * dice.randrange(it.message_size + 1), timeout=pause),
                lambda: it.publish_nowait(b"y"),
                lambda: lend(dice.randrange(it.message_size + 1)),
                *(partial(take, reader) for reader in mine),
                it.shutdown if dice.random() < 0.2 else it.statistics,
                lambda: (it.capacity, it.message_size, it.statistics(), repr(it)),
                lambda: [(reader.lost, reader.behind, repr(reader)) for reader in mine],
                lambda: pickle.loads(pickle.dumps(it)),  # noqa: S301 - our own bytes
                *(reader.close for reader in mine[2:]),
            ],
        )


class WaitingBroadcasts(Broadcasts):
    """Its writer waits for readers, of whom it is told what is not so."""

    name = "waiting-broadcast"
    places = 64

    def create(self) -> Broadcast:
        return Broadcast.create(self.name, 512, when_full="wait")
