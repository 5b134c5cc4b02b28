"""Tasks in the lab that read and write, beside threads that do: nobody reads what is half written, and nobody is forgotten."""

import asyncio
from contextlib import suppress
from typing import Literal

import pytest

pytest.importorskip("greenlet")

from tests.lab.awaits import explore, fails
from underpass import AtomicInt, OwnerDiedError, RWLock
from underpass.lab import World

pytestmark = pytest.mark.usefixtures("nothing_left")


class Pair:
    """Two numbers that differ while somebody writes."""

    def __init__(self) -> None:
        self.first, self.second = AtomicInt(), AtomicInt()

    def read(self) -> None:
        assert self.first.load() == self.second.load(), "half written"

    def write(self) -> None:
        self.first.add(1)
        self.second.add(1)


@pytest.mark.parametrize("prefer", ["writers", "readers", "arrival"])
def test_tasks_and_threads_exclude_each_other(prefer: Literal["writers", "readers", "arrival"]) -> None:
    def program(world: World) -> None:
        table, pair = RWLock(prefer=prefer), Pair()

        async def write() -> None:
            async with table.aio.writing():
                pair.write()

        async def read() -> None:
            async with table.aio.reading():
                pair.read()

        async def main() -> None:
            await asyncio.gather(write(), read(), read())

        def thread() -> None:
            with table.reading():
                pair.read()
            with table.writing():
                pair.write()

        world.process(main)
        world.process(thread)
        world.at_end(lambda: pair.first.load() == 2 and table.statistics().state == "free")

    explore(program)


def test_whoever_dies_the_others_go_on_and_repair() -> None:
    def program(world: World) -> None:
        table, pair = RWLock(), Pair()

        async def write() -> None:
            async with table.aio.writing() as died:
                if died:
                    pair.second.store(pair.first.load())
                pair.write()

        async def both() -> None:
            async with table.aio.reading():
                pair.read()
            await write()

        async def read() -> None:
            with suppress(OwnerDiedError):
                async with table.aio.reading():
                    pair.read()

        world.process(both, name="mortal")
        world.process(write, mortal=False, name="writer")
        world.process(read, mortal=False, name="reader")

    explore(program, kills=1)


def test_a_cancelled_writer_lets_readers_in() -> None:
    def program(world: World) -> None:
        table, pair = RWLock(), Pair()

        async def write() -> None:
            async with table.aio.writing():
                pair.write()

        async def main() -> None:
            async with table.aio.reading():
                writer = asyncio.create_task(write())
                await asyncio.sleep(0)
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)
                pair.read()

        def thread() -> None:
            with table.reading():
                pair.read()

        world.process(main)
        world.process(thread)
        world.at_end(lambda: table.statistics().state == "free")

    explore(program)


def test_tasks_that_write_where_they_only_read_are_found() -> None:
    def program(world: World) -> None:
        table, pair = RWLock(), Pair()

        async def change() -> None:
            async with table.aio.reading():
                # One that reads may not write.
                pair.write()

        for _ in range(2):
            world.process(change)
        world.process(lambda: pair.read() if table.statistics().state == "free" else None)

    assert "half written" in str(fails(program))
