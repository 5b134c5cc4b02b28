"""Rings in the lab: packets, room and deaths, in every schedule that is tried."""

import pytest

pytest.importorskip("greenlet")

from underpass import lab
from underpass.data import MpscRing
from underpass.lab import World

SCHEDULES = 1_000


def test_what_the_dead_had_claimed_holds_up_nobody() -> None:
    def program(world: World) -> None:
        ring = MpscRing(64)

        def claim() -> None:
            with ring.claim(8) as packet:
                packet[:] = b"claimed!"

        def read() -> None:
            while ring.read() != b"last":
                pass

        world.process(claim)
        world.process(ring.write, b"last", name="write", mortal=False)
        world.process(read, mortal=False)
        world.at_end(lambda: ring.depth <= 1)

    lab.explore(program, schedules=SCHEDULES, kills=1, seed=1)


def test_whoever_waits_for_room_gets_it() -> None:
    def program(world: World) -> None:
        ring = MpscRing(64)

        def write(byte: bytes) -> None:
            for _ in range(2):
                ring.write(byte * 32)

        def read() -> None:
            got = [ring.read() for _ in range(4)]
            assert sorted(got) == [b"a" * 32, b"a" * 32, b"b" * 32, b"b" * 32]

        world.process(write, b"a", name="write a")
        world.process(write, b"b", name="write b")
        world.process(read)
        world.at_end(lambda: ring.depth == 0)

    lab.explore(program, schedules=SCHEDULES, seed=1)
