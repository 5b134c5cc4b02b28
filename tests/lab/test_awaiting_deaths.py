"""Processes that await, and die: the others are told, and nobody hears of what the dead would have done."""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import suppress

import pytest

pytest.importorskip("greenlet")

from tests.lab.awaits import SCHEDULES, explore
from underpass import (
    Event,
    Gate,
    MisuseError,
    Mutex,
    NotFoundError,
    PeerDiedError,
    Port,
    Queue,
    Semaphore,
    aio,
    lab,
)
from underpass.lab import World
from underpass.sync import Latch

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_whoever_dies_the_others_are_told_and_go_on() -> None:
    told: set[bool] = set()

    def program(world: World) -> None:
        lock = Mutex()

        async def visit() -> None:
            async with lock.aio:
                await asyncio.sleep(1)

        async def recover() -> None:
            async with lock.aio.recovering() as died:
                told.add(died is not None)

        world.process(visit)
        world.process(recover, mortal=False)

    explore(program, kills=1)
    assert told == {False, True}


def test_a_job_of_one_who_dies_is_done_by_another() -> None:
    def program(world: World) -> None:
        jobs, done = Queue(2, 8), Latch(1)

        async def work() -> None:
            async for lease in jobs.aio.leases():
                with lease:
                    await asyncio.sleep(0)
                    with suppress(MisuseError):
                        done.aio.count_down()

        world.process(jobs.put, b"job", mortal=False)
        world.process(work, servant=True, name="one")
        world.process(work, servant=True, mortal=False, name="other")
        world.process(done.aio.wait, mortal=False)

    explore(program, kills=1)


def test_the_dead_do_nothing_any_more_and_nobody_hears_of_them(
    caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    deaths: set[int] = set()
    noise: list[object] = []

    def program(world: World) -> None:
        never, units, cleaned = Event(), Semaphore(0), Semaphore(0)

        async def child() -> None:
            try:
                await never.aio.wait()
            finally:
                cleaned.release()
                await never.aio.wait()

        async def stream() -> AsyncGenerator[int]:
            try:
                while True:
                    await units.aio.acquire()
                    yield 1
            finally:
                cleaned.release()

        async def victim() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
            tasks = [asyncio.create_task(child()) for _ in range(2)]
            later = units.aio.acquire()
            try:
                async with aio.finish() as block:
                    block.start(child)
                    async for _ in stream():
                        deaths.add(0)
                    await later
            finally:
                cleaned.release()
            del tasks

        doomed = world.process(victim, servant=True)

        def watch() -> None:
            units.release(3)
            world.join(doomed)
            # As SIGKILL: no `finally` has had an effect.
            deaths.add(cleaned.value)

        world.process(watch, mortal=False, servant=True)

    with caplog.at_level(logging.DEBUG):
        explore(program, kills=1)
        gc.collect()
    assert deaths == {0}
    assert not noise
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]
    assert not recwarn.list


def test_a_server_dies_and_its_clients_are_told() -> None:
    outcomes: set[str] = set()

    def program(world: World) -> None:
        async def serve() -> None:
            port = Port.create("desk").aio
            request = await port.receive()
            await asyncio.sleep(0)
            request.reply(b"done")

        async def call() -> None:
            try:
                outcomes.add((await Gate.open("desk").aio.call()).decode())
            except (NotFoundError, PeerDiedError) as error:
                outcomes.add(type(error).__name__)

        world.process(serve, servant=True)
        world.process(call, mortal=False)

    explore(program, kills=1)
    assert outcomes == {"done", "NotFoundError", "PeerDiedError"}


def test_sleeps_that_end_without_a_cause_and_stops_change_nothing() -> None:
    def program(world: World) -> None:
        jobs = Queue(1, 8)

        async def consume() -> None:
            assert [await jobs.aio.get(), await jobs.aio.get()] == [b"1", b"2"]

        async def produce() -> None:
            await jobs.aio.put(b"1")
            await jobs.aio.put(b"2")

        world.process(consume)
        world.process(produce)

    lab.explore(program, schedules=SCHEDULES, faults=2, seed=1, jobs=1)


def test_ctrl_c_ends_the_exploration_and_leaves_nothing() -> None:
    runs = 0

    def program(world: World) -> None:
        units = Semaphore(0)

        async def main() -> None:
            nonlocal runs
            child = asyncio.create_task(units.aio.acquire())
            await asyncio.sleep(0)
            runs += 1
            if runs == 3:
                os.kill(os.getpid(), signal.SIGINT)
            try:
                await child
            finally:
                await units.aio.acquire()

        world.process(main)
        world.process(units.release, 2)

    with pytest.raises(lab.Interrupted):
        explore(program)
    assert runs == 3
