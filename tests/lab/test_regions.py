"""Regions in the lab: its operations are explored, handles travel there, and views outlive schedules."""

import pytest

pytest.importorskip("greenlet")

from underpass import MisuseError, Mutex, Region, lab
from underpass.lab import World

SCHEDULES = 300


def test_an_update_under_a_mutex_is_whole() -> None:
    def program(world: World) -> None:
        table, lock = Region(16), Mutex()

        def deposit() -> None:
            with lock:
                value = table[0]
                table[0] = value + 1

        world.process(deposit)
        world.process(deposit)
        world.at_end(lambda: table[0] == 2)

    lab.explore(program, schedules=SCHEDULES, seed=1)


def test_an_update_without_one_is_found_to_be_lost() -> None:
    def program(world: World) -> None:
        table = Region(16)

        def deposit() -> None:
            value = table[0]
            table[0] = value + 1

        world.process(deposit)
        world.process(deposit)
        world.at_end(lambda: table[0] == 2)

    with pytest.raises(lab.Failure):
        lab.explore(program, schedules=SCHEDULES, seed=1)


def test_the_writer_writes_and_the_others_read() -> None:
    def program(world: World) -> None:
        table = Region(16)
        writers: list[str] = []

        def seal(who: str) -> None:
            try:
                table.seal()
            except MisuseError:
                assert table.readonly
                assert table.sealed
                return
            table[0] = 1
            writers.append(who)

        world.process(seal, "a")
        world.process(seal, "b")
        world.at_end(lambda: len(writers) == 1 and table[0] == 1)

    lab.explore(program, schedules=SCHEDULES, seed=1)


def test_a_named_one_is_found_and_keeps_its_length() -> None:
    kept: list[memoryview] = []

    def program(world: World) -> None:
        def make() -> None:
            region = Region.create("frames", 100)
            region[0] = 9

        def use() -> None:
            region = Region.open("frames", timeout=None)
            kept.append(memoryview(region))
            assert region[0] in {0, 9}
            with pytest.raises(MisuseError, match="lab's memory"):
                region.resize(200)

        world.process(make)
        world.process(use)

    lab.explore(program, schedules=50, seed=1)
    assert all(len(view) == 100 for view in kept)
    kept.clear()
