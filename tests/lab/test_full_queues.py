"""Queues that drop what is too much, in every order of their steps: each is a queue that does it at once."""

from contextlib import suppress
from typing import Literal

import pytest

from underpass import Queue, WouldBlock, lab
from underpass.lab import World, models

DROPS: tuple[Literal["drop_oldest", "drop_newest"], ...] = ("drop_oldest", "drop_newest")


@pytest.mark.parametrize("when_full", DROPS)
def test_some_order_explains_what_is_dropped(when_full: Literal["drop_oldest", "drop_newest"]) -> None:
    def program(world: World) -> None:
        queue = lab.linearizable(Queue(1, 8, when_full=when_full), models.Queue(1, when_full=when_full))

        def put(number: int) -> None:
            for letter in b"ab":
                queue.put_nowait(b"%d%c" % (number, letter))

        def get() -> None:
            with suppress(WouldBlock):
                queue.get_nowait()
                queue.get_nowait()
            assert queue.dropped <= 4

        for number in range(2):
            world.process(put, number)
        world.process(get)

    assert lab.explore(program, schedules=100, faults=1, seed=1).schedules == 100


@pytest.mark.parametrize("when_full", DROPS)
def test_nobody_waits_for_who_dies_in_a_drop(when_full: Literal["drop_oldest", "drop_newest"]) -> None:
    def program(world: World) -> None:
        queue = Queue(1, 8, when_full=when_full)
        queue.put(b"first")

        def put() -> None:
            queue.put(b"x")
            queue.put(b"y")

        world.process(put)
        world.process(put, mortal=False)
        world.at_end(lambda: 3 <= queue.depth + queue.dropped <= 5)

    lab.explore(program, schedules=100, kills=1, seed=1)
