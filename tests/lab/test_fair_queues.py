"""Queues whose waiters have their turns, in many orders of their steps: nobody is forgotten, whoever dies, is late or is sent away."""

from contextlib import suppress
from typing import Literal

import pytest

from underpass import EndOfStream, Queue, ResetError, TimedOut, lab
from underpass.lab import World, models

FAIR: tuple[Literal["arrival", "priority"], ...] = ("arrival", "priority")
FEW = 25


@pytest.mark.parametrize("fairness", FAIR)
def test_some_order_explains_what_is_got(fairness: Literal["arrival", "priority"]) -> None:
    def program(world: World) -> None:
        queue = lab.linearizable(Queue(1, 8, fairness=fairness), models.Queue(1))

        def put(number: int) -> None:
            queue.put(b"%d" % number)

        for number in range(2):
            world.process(put, number)
            world.process(queue.get)

    assert lab.explore(program, schedules=FEW, seed=1).schedules == FEW


def test_nobody_waits_for_who_dies_in_line() -> None:
    def program(world: World) -> None:
        queue = Queue(1, 8, fairness="arrival")

        def get() -> None:
            with suppress(EndOfStream):
                queue.get()

        def put() -> None:
            for message in (b"a", b"b"):
                queue.put(message)
            queue.shutdown()

        world.process(get)
        world.process(get, mortal=False)
        world.process(get, mortal=False)
        world.process(put, mortal=False)

    lab.explore(program, schedules=FEW, kills=1, seed=1)


def test_who_is_late_or_sent_away_leaves_the_message_to_the_next() -> None:
    def program(world: World) -> None:
        queue = Queue(1, 8, fairness="arrival")
        got = list[bytes]()

        def get_for_a_while() -> None:
            with suppress(TimedOut, ResetError):
                got.append(queue.get(timeout=1))

        world.process(get_for_a_while)
        world.process(get_for_a_while)
        world.process(queue.cancel_wait)
        world.process(queue.put, b"a")
        world.at_end(lambda: len(got) + queue.depth == 1)

    lab.explore(program, schedules=FEW, seed=1)
