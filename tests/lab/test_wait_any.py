"""wait_any, wait_all and select in the lab: nobody sleeps who could go on, whoever dies, and wherever."""

from collections.abc import Callable
from contextlib import suppress

import pytest

import underpass
from underpass import EndOfStream, Event, MisuseError, Mutex, Notification, OwnerDiedError, Queue, Semaphore, TimedOut

pytest.importorskip("greenlet")

from underpass import lab, select, wait_all, wait_any
from underpass.lab import World
from underpass.sync import Latch

SCHEDULES = 2_000


def explore(program: Callable[[World], None], kills: int = 1, schedules: int = SCHEDULES) -> None:
    lab.explore(program, schedules=schedules, kills=kills, seed=1, jobs=1)


def test_one_of_two_releasers_dies() -> None:
    def program(world: World) -> None:
        units, never = Semaphore(0), Event()
        world.process(wait_any, never, units, mortal=False)
        world.process(units.release)
        # Whoever sees the unit of one who died before it told of it, tells in its place.
        world.process(units.release, mortal=False)

    assert lab.explore(program, schedules=SCHEDULES, kills=1, seed=1).exhausted


@pytest.mark.parametrize("fairness", ["barging", "arrival", "priority"])
def test_a_direct_waiter_and_an_onlooker(fairness: str) -> None:
    def program(world: World) -> None:
        units = Semaphore(0, fairness=fairness)  # pyright: ignore[reportArgumentType]
        world.process(units.acquire, name="acquire")
        world.process(units.acquire, mortal=False, name="acquire")
        world.process(wait_any, units, mortal=False)
        world.process(units.release, name="release")
        world.process(units.release, 3, mortal=False, name="release")

    explore(program)


def test_two_onlookers_and_two_changers() -> None:
    def program(world: World) -> None:
        flags, never = Notification(), Event()
        world.process(wait_any, never, flags, mortal=False)
        world.process(wait_any, flags)
        world.process(flags.notify, 1)
        world.process(flags.notify, 2, mortal=False)

    explore(program)


def test_owners_of_a_mutex_die_and_hand_it_over() -> None:
    def program(world: World) -> None:
        lock = Mutex()

        def hold() -> None:
            with suppress(OwnerDiedError), lock:
                pass

        world.process(hold)
        world.process(hold)
        world.process(wait_any, Event(), lock, mortal=False)

    explore(program)


def test_a_latch_is_opened_by_one_who_dies() -> None:
    def program(world: World) -> None:
        latch = Latch(1)

        def arrive() -> None:
            with suppress(MisuseError):
                latch.count_down()

        world.process(wait_any, Event(), latch, mortal=False)
        world.process(latch.wait, mortal=False)
        world.process(arrive)
        world.process(arrive, mortal=False)

    explore(program)


def test_a_worker_dies_with_the_job() -> None:
    def program(world: World) -> None:
        jobs = Queue(2, 8)
        jobs.put(b"job")

        def work() -> None:
            with suppress(EndOfStream), jobs.take():
                pass

        world.process(work)
        world.process(wait_any, jobs, mortal=False)
        world.process(lambda: wait_any(Event(), jobs.room, jobs), mortal=False)
        world.process(jobs.shutdown, mortal=False)

    explore(program)


def test_a_slot_is_lent_and_a_message_is_got() -> None:
    def program(world: World) -> None:
        queue = Queue(1, 8)

        def lend() -> None:
            with suppress(EndOfStream), queue.loan(1) as loan:
                loan.commit(0)

        def get() -> None:
            with suppress(EndOfStream):
                queue.get()
            queue.shutdown()

        world.process(lend)
        world.process(lambda: wait_any(queue.room), mortal=False)
        world.process(wait_any, queue, mortal=False)
        world.process(get, mortal=False)

    explore(program, kills=0)


def test_it_times_out_or_is_told() -> None:
    outcomes: set[str] = set()

    def program(world: World) -> None:
        units, never = Semaphore(0), Event()

        def late() -> None:
            try:
                wait_any(units, never, timeout=1)
                outcomes.add("ready")
            except TimedOut:
                outcomes.add("timed out")

        world.process(late)
        world.process(units.release)

    explore(program, kills=0)
    assert outcomes == {"ready", "timed out"}


def test_all_at_one_look() -> None:
    def program(world: World) -> None:
        one, other, looked = Semaphore(0), Semaphore(0), underpass.AtomicInt()

        def give() -> None:
            one.release()
            other.release()

        def take() -> None:
            with suppress(TimedOut):
                one.acquire(timeout=1)
                one.release()

        def look() -> None:
            wait_all(one, other)
            looked.store(1)

        world.process(look, mortal=False)
        world.process(give, mortal=False)
        world.process(take)
        world.process(give)
        # Who takes for a moment and dies keeps a unit, and there is another one.
        world.at_end(lambda: looked.load() == 1)

    explore(program)


def test_select_takes_each_message_once() -> None:
    places: set[int] = set()

    def program(world: World) -> None:
        left, right = Queue(2, 8), Queue(2, 8)
        got: list[bytes] = []

        def consume() -> None:
            place, message = select(left.get, right.get)
            places.add(place)
            got.append(message)

        world.process(consume)
        world.process(consume)
        world.process(left.put, b"l")
        world.process(right.put, b"r")
        world.at_end(lambda: sorted(got) == [b"l", b"r"] and left.depth + right.depth == 0)

    explore(program, kills=0)
    assert places == {0, 1}


def test_select_of_one_who_dies_leaves_the_rest_to_another() -> None:
    def program(world: World) -> None:
        left, right = Queue(2, 8), Queue(2, 8)

        def consume() -> None:
            _, lease = select(left.take, right.take)
            lease.done()

        world.process(consume)
        world.process(consume, mortal=False)
        world.process(left.put_many, [b"1", b"2"], mortal=False)
        world.at_end(lambda: right.depth == 0)

    explore(program)


def test_which_of_several_is_tried_first_is_explored() -> None:
    places: set[int] = set()

    def program(world: World) -> None:
        event, latch, units = Event(), Latch(0), Semaphore(1)
        event.set()
        world.process(lambda: places.add(select(event.wait, latch.wait, units.acquire)[0]))

    assert lab.explore(program, strategy="dpor", seed=1).exhausted
    assert places == {0, 1, 2}


def look(wait: Callable[..., object], event: Event) -> None:
    """Wait, unless it is closed by then."""
    with suppress(underpass.ClosedError):
        wait(event)


@pytest.mark.parametrize("wait", [wait_any, wait_all])
def test_closing_ends_a_wait_for_it(wait: Callable[..., object]) -> None:
    def program(world: World) -> None:
        event, other = Event(), Event()
        # Each process has handles of its own: these are threads of one.
        process = world.process(other.is_set, mortal=False)
        world.thread(process, look, wait, event)
        world.thread(process, event.close)

    assert lab.explore(program, schedules=SCHEDULES, kills=0, seed=1).exhausted
