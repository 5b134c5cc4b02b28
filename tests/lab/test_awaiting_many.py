"""Tasks in the lab that wait for names, and for many objects at once: nobody sleeps who could go on, nothing is lost, whoever dies."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

pytest.importorskip("greenlet")

from tests.lab.awaits import explore, fails
from underpass import Event, MisuseError, NotFoundError, Notification, Port, Queue, Semaphore, WaitSet, aio, lab
from underpass.aio import face, many
from underpass.errors import ClosedError, TimedOut, WouldBlock
from underpass.lab import Failure, World
from underpass.memory import News

pytestmark = pytest.mark.usefixtures("nothing_left")


# ── many at once ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fairness", ["barging", "arrival", "priority"])
def test_an_onlooker_is_told_and_eats_nobodys_wake(fairness: str) -> None:
    def program(world: World) -> None:
        units, never = Semaphore(0, fairness=fairness), Event()  # pyright: ignore[reportArgumentType]

        async def look_on() -> None:
            assert await aio.wait_any(never, units) == [units]

        async def both() -> None:
            await asyncio.gather(aio.wait_any(never, units, units.aio), units.aio.acquire())

        world.process(look_on, mortal=False)
        world.process(both, mortal=False)
        world.process(units.release)
        # Whoever sees the unit of one who died before it told of it, tells in its place.
        world.process(units.release, 2, mortal=False, name="other")

    explore(program, kills=1)


def test_the_deaths_of_those_who_ring_are_heard() -> None:
    def program(world: World) -> None:
        flags, jobs, stop = Notification(), Queue(1, 8), Event()

        async def wait() -> None:
            ready = await aio.wait_any(flags.flags(2), jobs, stop)
            assert ready
            await aio.wait_all(flags.flags(2), stop)

        world.process(wait, mortal=False)
        world.process(flags.notify, 3)
        world.process(jobs.put, b"job")
        world.process(lambda: (flags.notify(2), stop.set()), mortal=False, name="both")

    explore(program, kills=1)


def test_the_owner_of_a_unit_dies_before_those_who_wait_for_many() -> None:
    def program(world: World) -> None:
        units, never = Semaphore(1, leased=True), Event()

        async def wait() -> None:
            assert await aio.wait_any(never, units) == [units]

        def hold() -> None:
            with units.holding():
                world.step()

        world.process(hold)
        world.process(wait, mortal=False)
        world.process(wait, mortal=False, name="other")

    explore(program, kills=1)


def test_all_at_one_look_though_others_take_meanwhile() -> None:
    def program(world: World) -> None:
        one, other = Semaphore(0), Semaphore(0)

        async def wait() -> None:
            await aio.wait_all(one, other)

        world.process(wait)
        world.process(lambda: (one.release(), one.acquire(), one.release()), name="back")
        world.process(other.release)

    explore(program)


def test_select_does_one_and_no_other() -> None:
    orders: set[int] = set()

    def program(world: World) -> None:
        left, right, taken = Queue(2, 8), Queue(2, 8), Semaphore(0)

        async def take() -> None:
            which, message = await aio.select(left.aio.get, right.aio.get)
            assert message == [b"l", b"r"][which]
            orders.add(which)
            taken.release()

        async def two() -> None:
            await asyncio.gather(take(), take())

        world.process(two)
        world.process(take)
        world.process(lambda: (left.put(b"l"), left.put(b"l")), name="left")
        world.process(lambda: (right.put(b"r"), right.put(b"r")), name="right")
        world.at_end(lambda: taken.value + left.depth + right.depth == 4 and taken.value == 3)

    explore(program)
    assert orders == {0, 1}


def test_a_cancelled_select_has_done_nothing() -> None:
    outcomes: set[tuple[int, int]] = set()

    def program(world: World) -> None:
        units, room, got = Semaphore(0), Queue(1, 8), Semaphore(0)
        room.put(b"full")

        async def choose() -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await aio.select(units.aio.acquire, partial(room.aio.put, b"new"))
                    got.release()

        async def two() -> None:
            await asyncio.gather(choose(), choose())

        world.process(two)
        world.process(units.release)
        world.at_end(lambda: outcomes.add((got.value, units.value)) is None and got.value + units.value == 1)

    explore(program)
    assert outcomes == {(0, 1), (1, 0)}


def test_one_that_dies_while_it_waits_leaves_nothing_to_others() -> None:
    def program(world: World) -> None:
        units, never = Semaphore(0), Event()

        async def wait(count: int) -> None:
            for _ in range(count):
                await aio.select(never.aio.wait, units.aio.acquire)

        world.process(wait, 1, servant=True, name="victim")
        world.process(wait, 1, mortal=False)
        world.process(units.release, 2, mortal=False)

    explore(program, kills=1)


def test_a_handle_that_is_closed_ends_the_wait() -> None:
    def program(world: World) -> None:
        jobs, never = Queue(1, 8), Event()

        async def main() -> None:
            waits = asyncio.create_task(aio.wait_any(never, jobs))
            other = asyncio.create_task(never.aio.wait())
            await asyncio.sleep(0)
            jobs.aio.close()
            with pytest.raises(ClosedError):
                await waits
            never.set()
            await other

        world.process(main)

    explore(program, schedules=20)


def test_a_deadlock_says_what_all_is_waited_for() -> None:
    def program(world: World) -> None:
        jobs, stop = Queue.create("jobs", 1, 8), Event()

        async def serve() -> None:
            await aio.select(jobs.aio.get, stop.aio.wait)

        world.process(serve)

    failure = fails(program)
    told = " ".join(str(failure).split())
    assert "serve() of serve waits for any of queue 'jobs', event @2: in select (test_awaiting_many.py:" in told
    assert "serve() awaits any of <Queue 'jobs'" in failure.trace.details


# ── sets in sets ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_set_is_ready_where_one_of_its_members_is() -> None:
    def program(world: World) -> None:
        units, stop, never = Semaphore(0), Event(), Event()
        inner, outer = WaitSet(), WaitSet()
        inner.add(units)
        inner.add(never)
        outer.add(inner)
        outer.add(stop)

        def wait() -> None:
            ready = outer.wait()
            assert ready in ([inner], [stop], [inner, stop])
            if inner in ready:
                assert inner.wait() == [units]
                units.acquire()
                assert inner not in outer.ready()
            if units.value == 0 and not stop.is_set():
                inner.close()
                assert outer.wait() == [stop]

        world.process(wait)
        world.process(units.release)
        world.process(stop.set)

    explore(program)


def test_a_set_is_no_member_of_itself() -> None:
    def program(world: World) -> None:
        def nest() -> None:
            with WaitSet() as one, WaitSet() as other:
                one.add(other)
                for inner, outer in ((one, other), (one, one)):
                    with pytest.raises(OSError, match="cannot be a member of itself"):
                        outer.add(inner)
                with pytest.raises(TimedOut):
                    one.wait(timeout=1)
                with pytest.raises(MisuseError, match="has no descriptors"):
                    one.add(0)

        world.process(nest)

    explore(program, schedules=1)


# ── names ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_tasks_wait_for_a_name_beside_each_other_and_whoever_makes_it_dies() -> None:
    outcomes: set[bool] = set()

    def program(world: World) -> None:
        made = Event()

        async def find() -> None:
            jobs, other = await asyncio.gather(
                aio.Queue.open_when_there("jobs"), aio.Queue.open_when_there("jobs"), return_exceptions=False
            )
            assert jobs.name == other.name == "jobs"
            outcomes.add(made.is_set())

        def make() -> None:
            Queue.create("else", 1, 8)
            Queue.open_or_create("jobs", 1, 8)
            made.set()

        world.process(find, mortal=False)
        world.process(make)
        world.process(lambda: Queue.open_or_create("jobs", 1, 8), mortal=False, name="other")

    explore(program, kills=1)
    assert outcomes == {False, True}


@pytest.mark.parametrize("strategy", ["dpor", "every"])
def test_every_order_of_a_look_and_a_name_is_explored(strategy: str) -> None:
    outcomes: set[tuple[bool, bool]] = set()

    def program(world: World) -> None:
        async def find() -> None:
            other = asyncio.create_task(aio.Event.open_when_there("other"))
            await aio.Event.open_when_there("name")
            early = other.done()
            await other
            outcomes.add((early, Event.open("other").is_set()))

        def make() -> None:
            Event.create("name")
            Event.create("other").set()

        world.process(find)
        world.process(make)

    assert lab.explore(program, strategy=strategy, schedules=5_000, seed=1, jobs=1).exhausted
    assert outcomes == {(False, False), (False, True), (True, True), (True, False)}


def test_a_wait_for_a_name_is_cancelled_and_has_opened_nothing() -> None:
    outcomes: set[bool] = set()

    def program(world: World) -> None:
        async def find() -> None:
            stop = Event()
            found: list[aio.Queue[bytes]] = []
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    found.append(await aio.Queue.open_when_there("jobs"))
            outcomes.add(bool(found))
            # The loop waits for other things as before.
            beside = asyncio.create_task(stop.aio.wait())
            await asyncio.sleep(0)
            stop.set()
            await beside

        world.process(find)
        world.process(lambda: Queue.create("jobs", 1, 8), name="make")

    explore(program)
    assert outcomes == {False, True}


def test_a_gate_is_there_once_somebody_receives() -> None:
    def program(world: World) -> None:
        async def serve() -> None:
            port = Port.create("desk").aio
            (await port.receive()).reply(b"done")

        async def call() -> None:
            gate = await aio.Gate.open_when_there("desk")
            assert await gate.call() == b"done"

        world.process(call)
        world.process(serve)

    explore(program)


def test_a_server_dies_and_its_successor_is_waited_for() -> None:
    def program(world: World) -> None:
        async def serve() -> None:
            await Port.create("desk").aio.receive()

        def succeed() -> None:
            world.join(first)
            Port.create("desk").receive()

        first = world.process(serve, servant=True)
        world.process(lambda: world.kill(first), mortal=False, name="kill")
        world.process(succeed, mortal=False, servant=True)
        world.process(lambda: lab.run(aio.Gate.open_when_there("desk")), mortal=False, name="find")

    explore(program)


def test_a_name_that_nobody_makes_is_told() -> None:
    def program(world: World) -> None:
        async def find() -> None:
            await aio.Queue.open_when_there("jobs")

        world.process(find)

    told = " ".join(str(fails(program)).split())
    assert "find() of find waits for a name: in open_when_there (test_awaiting_many.py:" in told


# ── planted faults ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def looks_before_it_listens(cls: Any, name: str, **_: object) -> Any:
    """Look for a name, and listen only after it was not there: one that came in between is never told."""
    with suppress(NotFoundError):
        return cls.open(name)
    where, names = face.running.reactor(), News()
    woken = False

    def attempt() -> Any:
        nonlocal woken
        if not woken:
            woken = True
            raise WouldBlock("it was not there")
        return cls.open(name)

    return await where.wait(names, lambda: names, attempt)


async def takes_notice_after_its_look(cls: Any, name: str, **_: object) -> Any:
    """Look for a name, and then take notice of all that have come: one that came in between is never told."""
    where, names = face.running.reactor(), News()

    def attempt() -> Any:
        try:
            return cls.open(name)
        except NotFoundError as missing:
            names.take()
            raise WouldBlock(str(missing)) from None

    return await where.wait(names, lambda: names, attempt)


async def trusts_what_it_was_told(what: list[Any], attempt: Callable[[], Any]) -> Any:
    """Take what was ready a moment ago: another may have been faster."""
    await waits_as_it_is(what, lambda: many.waiting.wait_any(*what, timeout=0))
    return attempt()


async def takes_and_lets_others_run(what: list[Any], attempt: Callable[[], Any]) -> Any:
    """Take, and return a turn later: what it has taken is lost if it is cancelled meanwhile."""
    taken = await waits_as_it_is(what, attempt)
    await asyncio.sleep(0)
    return taken


async def forgets_what_it_waited_for(what: list[Any], attempt: Callable[[], Any]) -> Any:
    """Wait for the first of the objects alone."""
    return await waits_as_it_is(what[:1], attempt)


waits_as_it_is: Callable[..., Awaitable[Any]] = many._wait  # noqa: SLF001 - done wrong here


def a_name_comes(world: World) -> None:
    async def find() -> None:
        await aio.Queue.open_when_there("jobs")

    world.process(find)
    world.process(lambda: Queue.create("jobs", 1, 8), name="make")


def two_choose_with_a_deadline(world: World) -> None:
    units, never, got = Semaphore(0), Event(), Semaphore(0)

    async def choose() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await aio.select(never.aio.wait, units.aio.acquire)
                got.release()

    world.process(choose)
    world.process(choose)
    world.process(units.release)
    world.at_end(lambda: got.value + units.value == 1)


def one_of_two_comes(world: World) -> None:
    units, never = Semaphore(0), Event()

    async def choose() -> None:
        await aio.select(never.aio.wait, units.aio.acquire)

    world.process(choose)
    world.process(units.release)


FAULTS = [
    (face.Face, "open_when_there", classmethod(looks_before_it_listens), a_name_comes, "deadlock"),
    (face.Face, "open_when_there", classmethod(takes_notice_after_its_look), a_name_comes, "deadlock"),
    (many, "_wait", trusts_what_it_was_told, two_choose_with_a_deadline, "exception"),
    (many, "_wait", takes_and_lets_others_run, two_choose_with_a_deadline, "invariant"),
    (many, "_wait", forgets_what_it_waited_for, one_of_two_comes, "deadlock"),
]
faults = pytest.mark.parametrize(
    ("where", "name", "wrong", "program", "kind"),
    FAULTS,
    ids=["looks_before_it_listens", "takes_notice_after_its_look", "trusts_what_it_was_told", "takes_and_lets_others_run", "forgets"],
)


@faults
def test_the_fault_is_found(
    monkeypatch: pytest.MonkeyPatch, where: Any, name: str, wrong: Any, program: Callable[[World], None], kind: str
) -> None:
    monkeypatch.setattr(where, name, wrong)
    with pytest.raises(Failure) as found:
        lab.explore(program, schedules=1_000, seed=1, jobs=1)
    assert found.value.kind == kind, str(found.value)


@faults
def test_nothing_is_found_in_the_layer_as_it_is(
    where: Any, name: str, wrong: Any, program: Callable[[World], None], kind: str
) -> None:
    assert getattr(where, name) is not wrong, kind
    lab.explore(program, schedules=300, seed=1, jobs=1)
