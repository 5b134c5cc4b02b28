"""Bugs planted in programs that await, and in the awaitable layer itself: the lab finds each, and nothing in its twin."""

# ruff: noqa: FBT001 - the twins

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

import pytest

pytest.importorskip("greenlet")

from underpass import AtomicInt, Mutex, Queue, Semaphore, WouldBlock, aio, lab
from underpass.aio.reactor import Reactor
from underpass.aio.seat import Seat
from underpass.lab import Failure, World

pytestmark = pytest.mark.usefixtures("nothing_left")
SCHEDULES = 300


class Program(Protocol):
    """A program with a bug, and without."""

    __name__: str

    def __call__(self, world: World, fixed: bool) -> None: ...


# ── in programs ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def unit_kept_at_a_timeout(world: World, fixed: bool) -> None:
    """Holds a unit over an await that a deadline ends, and gives it back only where nothing ends it."""
    units, jobs = Semaphore(1), Queue(1, 8)

    async def work() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await units.aio.acquire()
                if fixed:
                    try:
                        await jobs.aio.get()
                    finally:
                        units.aio.release()
                else:
                    await jobs.aio.get()
                    units.aio.release()

    world.process(work)
    world.process(jobs.put, b"job")
    world.at_end(lambda: units.value == 1)


def counted_over_an_await(world: World, fixed: bool) -> None:
    """Loads, lets others run, and stores: two tasks of one loop never meet there, those of two do."""
    count, lock = AtomicInt(), Mutex()

    async def add() -> None:
        if fixed:
            async with lock.aio:
                count.store(count.load() + 1)
        else:
            count.store(count.load() + 1)

    async def two() -> None:
        await asyncio.gather(add(), add())

    world.process(two)
    world.process(add)
    world.at_end(lambda: count.load() == 3)


def blocked_loop(world: World, fixed: bool) -> None:
    """Blocks the loop for a message that a task of the same loop is about to send, if nobody else has sent one."""
    jobs = Queue(2, 8)

    async def consume() -> None:
        if fixed:
            await jobs.aio.get()
        else:
            jobs.get()

    async def main() -> None:
        await asyncio.gather(consume(), jobs.aio.put(b"own"))

    world.process(main)
    world.process(jobs.put, b"other")
    world.process(jobs.get)


def message_lost_by_a_race(world: World, fixed: bool) -> None:
    """Takes whatever comes first from two queues, and forgets that both may have come."""
    left, right, done = Queue(1, 8), Queue(1, 8), AtomicInt()

    async def first() -> None:
        ends = [asyncio.ensure_future(queue.aio.get()) for queue in (left, right)]
        ended, others = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in others:
            end.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        # Between `wait` and `cancel` nothing runs, but both may have ended in one turn.
        got = [end for end in ends if not end.cancelled()] if fixed else list(ended)[:1]
        done.add(len(got))

    world.process(first)
    world.process(left.put, b"l")
    world.process(right.put, b"r")
    world.at_end(lambda: done.load() + left.depth + right.depth == 2)


PROGRAMS: dict[Program, str] = {
    unit_kept_at_a_timeout: "invariant",
    counted_over_an_await: "invariant",
    blocked_loop: "deadlock",
    message_lost_by_a_race: "invariant",
}
programs = pytest.mark.parametrize("program", [pytest.param(one, id=one.__name__) for one in PROGRAMS])


@programs
def test_the_bug_is_found(program: Program) -> None:
    with pytest.raises(Failure) as found:
        lab.explore(lambda world: program(world, fixed=False), schedules=SCHEDULES, seed=1, jobs=1)
    assert found.value.kind == PROGRAMS[program], str(found.value)


@programs
def test_nothing_is_found_in_its_twin(program: Program) -> None:
    lab.explore(lambda world: program(world, fixed=True), schedules=SCHEDULES, seed=1, jobs=1)


# ── in the awaitable layer ──────────────────────────────────────────────────────────────────────────────────────────────


async def takes_before_its_step(
    _self: Reactor, _key: object, _member: Any, attempt: Callable[[], Any], **_: Any
) -> Any:
    """Take, and let others run before the task returns: what it has taken is lost if it is cancelled meanwhile."""
    while True:
        try:
            taken = attempt()
        except WouldBlock:
            await asyncio.sleep(0.001)
        else:
            await asyncio.sleep(0)
            return taken


async def keeps_the_call(self: Any) -> None:
    """Wait for a seat; who is cancelled when it was just called does not call the next."""
    sleeper = self._reactor.loop.sleeper()
    self._line.sleepers[sleeper] = None
    try:
        await sleeper.sleep()
    finally:
        del self._line.sleepers[sleeper]


def a_get_with_a_deadline(world: World) -> None:
    jobs, got = Queue(2, 8), AtomicInt()

    async def consume() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await jobs.aio.get()
                got.add(1)

    world.process(consume)
    world.process(jobs.put, b"job")
    world.at_end(lambda: got.load() + jobs.depth == 1)


def three_at_a_mutex_and_one_has_a_deadline(world: World) -> None:
    lock, go = Mutex(), Semaphore(0)

    async def hold() -> None:
        async with lock.aio:
            await go.aio.acquire()

    async def visit(seconds: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), lock.aio:
                pass

    async def main() -> None:
        async with aio.finish() as block:
            block.start(hold)
            block.start(visit, 1)
            block.start(visit, None)

    world.process(main)
    world.process(go.release)


class Fault(NamedTuple):
    """A verb of the layer done wrong, the program that shows it, and by what it is found."""

    cls: type
    verb: str
    wrong: Callable[..., object]
    program: Callable[[World], None]
    kind: str


FAULTS = [
    Fault(Reactor, "wait", takes_before_its_step, a_get_with_a_deadline, "invariant"),
    Fault(Seat, "_stand_in_line", keeps_the_call, three_at_a_mutex_and_one_has_a_deadline, "deadlock"),
]
faults = pytest.mark.parametrize("fault", [pytest.param(fault, id=fault.wrong.__name__) for fault in FAULTS])


@faults
def test_the_fault_is_found(monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    monkeypatch.setattr(fault.cls, fault.verb, fault.wrong)
    with pytest.raises(Failure) as found:
        lab.explore(fault.program, schedules=2_000, seed=1, jobs=1)
    assert found.value.kind == fault.kind, str(found.value)


@faults
def test_nothing_is_found_in_the_layer_as_it_is(fault: Fault) -> None:
    lab.explore(fault.program, schedules=500, seed=1, jobs=1)
