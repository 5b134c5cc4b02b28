"""Processes that await in the lab: their loops sleep there, and nobody sleeps who could go on."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

import pytest

pytest.importorskip("greenlet")

from tests.lab.awaits import explore, fails
from underpass import (
    AtomicInt,
    Event,
    Gate,
    Mutex,
    Notification,
    Port,
    Queue,
    Semaphore,
    aio,
    lab,
)
from underpass.lab import World
from underpass.sync import Latch

pytestmark = pytest.mark.usefixtures("nothing_left")


# ── verbs ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fairness", ["barging", "arrival", "priority"])
def test_units_go_to_tasks_and_to_threads_that_block(fairness: str) -> None:
    def program(world: World) -> None:
        units = Semaphore(1, fairness=fairness)  # pyright: ignore[reportArgumentType]
        inside: list[int] = []

        async def visit() -> None:
            async with units.aio.holding():
                inside.append(1)
                assert len(inside) == 1
                await asyncio.sleep(0)
                inside.pop()

        async def visitors() -> None:
            await asyncio.gather(visit(), visit())

        def block() -> None:
            with units.holding():
                inside.append(1)
                assert len(inside) == 1
                world.step()
                inside.pop()

        world.process(visitors)
        world.process(visit)
        world.process(block)
        world.at_end(lambda: units.value == 1)

    explore(program)


def test_each_message_is_got_once_in_whatever_order() -> None:
    orders: set[tuple[bytes, ...]] = set()

    def program(world: World) -> None:
        jobs = Queue(2, 8)
        got: list[bytes] = []

        async def consume(count: int) -> None:
            for _ in range(count):
                message = await jobs.aio.get()
                got.append(message)

        async def produce() -> None:
            await jobs.aio.put(b"a")
            await jobs.aio.put(b"b")

        world.process(consume, 1, name="one")
        world.process(consume, 2, name="two")
        world.process(produce)
        world.process(jobs.put, b"c")
        world.at_end(lambda: sorted(got) == [b"a", b"b", b"c"])
        world.at_end(lambda: orders.add(tuple(got)) is None)

    explore(program)
    assert len(orders) >= 3
    assert all(order.index(b"a") < order.index(b"b") for order in orders if order[0] != b"b")


def test_a_mutex_is_a_tasks_in_one_process_and_a_processs_among_all() -> None:
    def program(world: World) -> None:
        lock = Mutex()
        inside: list[int] = []

        async def visit() -> None:
            async with lock.aio:
                inside.append(1)
                await asyncio.sleep(0)
                assert len(inside) == 1
                inside.pop()

        async def both() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(visit())
                group.create_task(visit())

        def block() -> None:
            with lock:
                assert not inside

        world.process(both)
        world.process(both)
        world.process(block)

    explore(program)


def test_flags_an_event_and_a_latch() -> None:
    def program(world: World) -> None:
        flags, ready, done = Notification(), Event(), Latch(2)

        async def wait() -> None:
            first, _ = await asyncio.gather(flags.aio.wait(0b11), ready.aio.wait())
            assert first
            done.aio.count_down()

        async def tell() -> None:
            flags.aio.notify(1)
            ready.aio.set()
            done.aio.count_down()
            await done.aio.wait()

        world.process(wait)
        world.process(tell)

    explore(program)


def test_two_clients_of_a_port_get_their_own_replies() -> None:
    def program(world: World) -> None:
        async def serve() -> None:
            port = Port.create("desk")
            left = 2
            async for request in port.aio:
                request.reply(request.data * 2)
                left -= 1
                if not left:
                    port.close()

        async def call(word: bytes) -> None:
            gate = Gate.open("desk", timeout=None)
            assert await gate.aio.call(word) == word * 2

        world.process(serve)
        world.process(call, b"first")
        world.process(call, b"second")

    explore(program)


def test_a_blocking_process_runs_a_coroutine_in_the_middle() -> None:
    def program(world: World) -> None:
        jobs, done = Queue(2, 8), Semaphore(0)

        def work() -> None:
            for _ in range(2):
                assert lab.run(jobs.aio.get()) == b"job"
                done.release()

        def ask() -> None:
            for _ in range(2):
                jobs.put(b"job")
                done.acquire()

        world.process(work)
        world.process(ask)

    explore(program)


def test_threads_of_one_process_have_loops_of_their_own() -> None:
    def program(world: World) -> None:
        units = Semaphore(0)
        acquire = units.aio.acquire
        process = world.process(acquire)
        world.thread(process, acquire)
        world.process(units.release, 2)
        world.at_end(lambda: units.value == 0)

    explore(program)


def test_a_generator_is_ended_by_the_loop_that_began_it() -> None:
    def program(world: World) -> None:
        units, ended = Semaphore(0), Semaphore(0)
        kept: list[AsyncGenerator[int]] = []

        async def numbers() -> AsyncGenerator[int]:
            try:
                yield 1
            finally:
                ended.release()

        async def main() -> None:
            await units.aio.acquire()
            kept.append(numbers())
            assert await anext(kept[-1]) == 1

        world.process(main)
        world.process(main)
        world.process(units.release, 2)
        world.at_end(lambda: ended.value == 2)

    explore(program, schedules=50)


# ── time ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_deadline_passes_or_not_and_nothing_is_lost() -> None:
    outcomes: set[tuple[bool, int]] = set()

    def program(world: World) -> None:
        jobs = Queue(2, 8)
        got: list[bytes] = []

        async def consume() -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    got.append(await jobs.aio.get())

        world.process(consume)
        world.process(jobs.put, b"job")
        world.at_end(lambda: outcomes.add((bool(got), jobs.depth)) is None)

    explore(program)
    assert outcomes == {(True, 0), (False, 1)}


@pytest.mark.parametrize("strategy", ["portfolio", "dpor", "every"])
def test_a_deadline_passes_while_tasks_run_too(strategy: str) -> None:
    outcomes: set[tuple[int, int]] = set()

    def program(world: World) -> None:
        number, turns = AtomicInt(), AtomicInt()

        async def go_round() -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    for _ in range(2):
                        await asyncio.sleep(0)
                        turns.add(1)

        world.process(go_round)
        world.process(number.store, 1)
        world.at_end(lambda: outcomes.add((turns.load(), number.load())) is None)

    schedules = 200 if strategy == "portfolio" else 2_000
    report = lab.explore(program, strategy=strategy, schedules=schedules, seed=1, jobs=1)
    # What is ready before the deadline goes first, as in every loop of asyncio's.
    assert outcomes == {(1, 1), (2, 1)}
    assert report.exhausted == (strategy != "portfolio")
    outcomes.clear()
    lab.explore(program, strategy=strategy, schedules=100, seed=1, jobs=1, early=False)
    assert outcomes == {(2, 1)}


def test_the_loops_clock_is_the_labs() -> None:
    def program(world: World) -> None:
        async def sleep() -> None:
            loop = asyncio.get_running_loop()
            before = world.now
            assert loop.time() == before
            await asyncio.gather(asyncio.sleep(3600), asyncio.sleep(7200))
            assert before + 7200 <= world.now < before + 7201

        world.process(sleep)

    explore(program, schedules=20)


def test_a_loop_that_goes_round_for_ever_is_a_livelock() -> None:
    async def turn() -> None:
        while True:  # noqa: ASYNC110 - that it goes round is the point
            await asyncio.sleep(0)

    assert fails(lambda world: world.process(turn) and None).kind == "livelock"


# ── structured calls ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_cancelled_calls_have_their_effect_or_none() -> None:
    outcomes: set[tuple[object, ...]] = set()

    def program(world: World) -> None:
        left, right = Queue(2, 8), Queue(2, 8)
        got: list[object] = []

        async def first_of_two() -> None:
            async with aio.finish() as block:

                async def take(queue: Queue) -> None:
                    message = await aio.cancellable(queue.aio.get())
                    got.append(message)
                    if message is not aio.CANCELLED:
                        block.cancel()

                block.start(take, left)
                block.start(take, right)

        world.process(first_of_two)
        world.process(left.put, b"l")
        world.process(right.put, b"r")

        def nothing_is_lost() -> bool:
            outcomes.add(tuple(got))
            return left.depth + right.depth == got.count(aio.CANCELLED)

        world.at_end(nothing_is_lost)

    explore(program)
    assert outcomes == {
        (b"l", aio.CANCELLED), (b"r", aio.CANCELLED), (aio.CANCELLED, b"l"), (aio.CANCELLED, b"r"), (b"l", b"r"), (b"r", b"l"),
    } or outcomes >= {(b"l", aio.CANCELLED), (b"r", aio.CANCELLED)}  # fmt: skip


def test_a_block_is_left_only_when_all_its_calls_have_ended() -> None:
    def program(world: World) -> None:
        units, running = Semaphore(0), Semaphore(0)

        async def call() -> None:
            running.release()
            try:
                await units.aio.acquire()
            finally:
                running.acquire_nowait()

        async def main() -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(1), aio.finish() as block:
                    block.start(call)
                    block.start(call)
            assert running.value == 0

        world.process(main)
        world.process(units.release, 2)

    explore(program)


# ── which schedules there are ───────────────────────────────────────────────────────────────────────────────────────────────


def test_tasks_are_cancelled_in_the_same_order_each_time() -> None:
    """`asyncio.TaskGroup` and the end of a loop cancel the tasks of a set."""

    def program(world: World) -> None:
        order = Queue(16, 8)

        async def child(number: int) -> None:
            try:
                await asyncio.sleep(1)
            finally:
                order.put_nowait(b"%d" % number)

        async def main() -> None:
            group = asyncio.TaskGroup()
            with suppress(ExceptionGroup):
                async with group:
                    for number in range(8):
                        group.create_task(child(number))
                    await asyncio.sleep(0)
                    raise LookupError

        world.process(main)
        world.at_end(lambda: order.get_many() == [b"%d" % number for number in range(8)])

    explore(program, schedules=20)


def test_every_line_can_be_a_point_too() -> None:
    def program(world: World) -> None:
        seats = Semaphore(2)

        async def take() -> None:
            free = seats.value
            if free == 1:
                await seats.aio.acquire()
            elif free == 2:
                await seats.aio.acquire()
                seats.aio.release()

        world.process(take)
        world.process(take)
        world.at_end(lambda: seats.value >= 0)

    lab.explore(program, schedules=60, seed=1, jobs=1, lines=True)


def test_explored_schedules_of_awaiting_programs_can_be_all() -> None:
    def program(world: World) -> None:
        units = Semaphore(1)

        async def visit() -> None:
            await units.aio.acquire()
            units.aio.release()

        world.process(visit)
        world.process(visit)
        world.at_end(lambda: units.value == 1)

    report = lab.explore(program, strategy="dpor", schedules=20_000, seed=1, jobs=1)
    assert report.exhausted
