"""Soak: producers and consumers of a queue are killed and started again all the time, and what was acknowledged arrives.

Each keeps a diary in a file of its own: a producer of the numbers whose ``put`` has returned, a consumer of those that it has taken,
before
it is done with them. So one that is in two diaries of consumers is the last in the first of them: its owner died of it.
"""

import random
import select
import struct
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import pytest

from tests.conformance.backends import ProcessActor, Processes
from underpass import Queue

PRODUCERS = CONSUMERS = 4
LONGEST = 200
# What a message begins with: who made it, its number there, and the check of what follows.
STAMP = struct.Struct("<III")
# What a diary says of it: who made it, and its number.
ENTRY = struct.Struct("<II")
# How long they are left alone between two deaths, in seconds.
PAUSE = 0.05

Entry = tuple[int, ...]
Order = Literal["fifo", "lifo", "priority"]

Put = Callable[[Queue, list[bytes]], None]


def one_by_one(queue: Queue, messages: list[bytes]) -> None:
    for message in messages:
        queue.put(message)


def together(queue: Queue, messages: list[bytes]) -> None:
    queue.put_many(messages)


def in_place(queue: Queue, messages: list[bytes]) -> None:
    for message in messages:
        with queue.loan(len(message)) as loan:
            memoryview(loan)[:] = message


def urgent(queue: Queue, messages: list[bytes]) -> None:
    for message in messages:
        queue.put(message, front=True)


PUTS: tuple[Put, ...] = (one_by_one, together, in_place, urgent)


def produce(queue: Queue, me: int, diary: Path) -> None:
    """Put messages until killed; those that were acknowledged are in the diary."""
    dice, number = random.Random(me), 0
    with diary.open("ab", buffering=0) as file:
        while True:
            put, count = dice.choice(PUTS), dice.randrange(1, 5)
            put(queue, [message(me, number + which, dice) for which in range(count)])
            file.write(b"".join(ENTRY.pack(me, number + which) for which in range(count)))
            number += count


def message(me: int, number: int, dice: random.Random) -> bytes:
    body = bytes([number % 251]) * dice.randrange(LONGEST)
    return STAMP.pack(me, number, zlib.crc32(body)) + body


def consume(queue: Queue, diary: Path) -> None:
    """Take messages until killed; each is checked and in the diary before it is done."""
    with diary.open("ab", buffering=0) as file:
        for lease in queue.leases():
            with lease:
                content = bytes(lease.value)
                me, number, check = STAMP.unpack_from(content)
                body = content[STAMP.size :]
                assert zlib.crc32(body) == check, f"message {number} of {me} is torn"
                file.write(ENTRY.pack(me, number))


@dataclass
class Crowd:
    """Who runs, who was killed, and where their diaries are."""

    world: Processes
    queue: Queue
    folder: Path
    running: list[ProcessActor[None]] = field(default_factory=list[ProcessActor[None]])
    count: int = 0

    def start(self, place: int) -> ProcessActor[None]:
        """Start the one for this place: producers have the first of them."""
        self.count += 1
        if place < PRODUCERS:
            return self.world.start(partial(produce, self.queue, self.count, self.folder / f"put-{self.count}"))
        return self.world.start(partial(consume, self.queue, self.folder / f"got-{self.count}"))

    def replace(self, place: int) -> None:
        """Kill the one in this place and start another."""
        self.end(self.running[place])
        self.running[place] = self.start(place)

    def end(self, actor: ProcessActor[None]) -> None:
        """Kill one; if it has ended by itself, fail with what it raised."""
        if actor.ended:
            actor.result()
        actor.kill()
        actor.abandon()

    def live_through(self, deaths: int, dice: random.Random) -> None:
        """Let them work, and kill one of them again and again; then producers end, and what is queued is got."""
        self.running = [self.start(place) for place in range(PRODUCERS + CONSUMERS)]
        for _ in range(deaths):
            select.select([], [], [], PAUSE)
            self.replace(dice.randrange(len(self.running)))
        for producer in self.running[:PRODUCERS]:
            self.end(producer)
        self.queue.join(timeout=60)
        for consumer in self.running[PRODUCERS:]:
            self.end(consumer)

    def account(self) -> int:
        """Compare what was acknowledged with what was got; how many messages were acknowledged."""
        put = {entry for diary in self.diaries("put-*") for entry in diary}
        got, unfinished = Counter[Entry](), Counter[Entry]()
        for diary in self.diaries("got-*"):
            got.update(diary)
            unfinished.update(diary[-1:])
        missing = put - got.keys()
        assert not missing, "acknowledged, and never got"
        again = [entry for entry, times in got.items() if times > 1 + unfinished[entry]]
        assert not again, "got by two, of whom the first was alive when it was done"
        return len(put)

    def diaries(self, pattern: str) -> Iterator[list[Entry]]:
        """What diaries of this kind say; they go with it."""
        for diary in self.folder.glob(pattern):
            content = diary.read_bytes()
            yield list(ENTRY.iter_unpack(content[: len(content) // ENTRY.size * ENTRY.size]))
            diary.unlink()


def soak(crowd: Crowd, dice: random.Random, deaths: int, enough: Callable[[], bool]) -> None:
    """Let the crowd live and die until it is enough, and account for every message again and again."""
    acknowledged = 0
    while not acknowledged or not enough():
        crowd.live_through(deaths, dice)
        acknowledged += crowd.account()
        now = crowd.queue.statistics()
        assert (now.depth, now.leases, now.loans) == (0, [], [])
    # All places are there still.
    crowd.queue.put_many([b"x"] * crowd.queue.capacity, timeout=0)
    print(f"{acknowledged:,} messages were acknowledged, while {crowd.count:,} of their makers and takers were killed")  # noqa: T201


@pytest.mark.parametrize("order", ["fifo", "lifo", "priority"])
def test_what_is_acknowledged_arrives(processes: Processes, tmp_path: Path, order: Order, dice: random.Random) -> None:
    soak(Crowd(processes, Queue(64, STAMP.size + LONGEST, order=order), tmp_path), dice, 25, lambda: True)


@pytest.mark.deep
def test_what_is_acknowledged_arrives_for_ten_minutes(
    processes: Processes, tmp_path: Path, dice: random.Random
) -> None:
    end = time.monotonic() + 600
    soak(Crowd(processes, Queue(64, STAMP.size + LONGEST), tmp_path), dice, 200, lambda: time.monotonic() > end)
