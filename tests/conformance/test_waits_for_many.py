"""Who waits for many, as `Space.waits` tells it: all that are waited for, and a circle only where nobody else can help."""

import logging
import os
from collections.abc import Callable, Iterator
from functools import partial

import pytest

import underpass
from tests.conformance.backends import Processes, Threads, in_vain, until
from underpass import Event, Mutex, Queue, Semaphore, Space, select, wait_all, wait_any
from underpass.waiting import Waiter

World = Threads | Processes
SHORT = 0.02


@pytest.fixture
def objects() -> Iterator[tuple[Semaphore, Event, Mutex]]:
    """Make one of each that is not ready to who does not make it so, by name."""
    made = Semaphore.create("units", 0), Event.create("stop"), Mutex.create("lock")
    yield made
    for one in made:
        one.unlink()


def waits() -> list[Waiter]:
    """Who waits in the default space."""
    return Space.default().waits()


def names(waiter: Waiter) -> list[tuple[str, str | None]]:
    """What it waits for."""
    return [(kind, name) for kind, name, _ in waiter.members]


def test_all_are_told_the_first_first(world: World, objects: tuple[Semaphore, Event, Mutex]) -> None:
    units, stop, lock = objects
    anonymous = Queue()
    with lock:
        actor = world.start(lambda: len(wait_any(units, lock, stop, anonymous)))
        actor.until_asleep()
        (waiter,) = waits()
        first, *others = names(waiter)
        assert (waiter.pid, waiter.tid) == (actor.pid, actor.tid)
        assert (waiter.kind, waiter.name, waiter.operation) == ("Semaphore", "units", "wait_any")
        assert first == ("Semaphore", "units")
        assert sorted(others, key=str) == [("Event", "stop"), ("Mutex", "lock"), ("Queue", None)]
        # Whoever has the mutex need not let go: another may release a unit.
        assert ([holder.pid for holder in waiter.holders], waiter.cycle) == ([os.getpid()], None)
        assert "Event 'stop'" in repr(waiter)
        stop.set()
        assert actor.result() == 1
    assert waits() == []


def test_who_waits_for_one_has_no_members(world: World, objects: tuple[Semaphore, Event, Mutex]) -> None:
    actor = world.start(objects[0].acquire)
    actor.until_asleep()
    assert waits()[0].members == []
    objects[0].release()
    actor.result()


@pytest.mark.parametrize("verb", ["wait_any", "wait_all", "select"])
def test_each_verb(world: World, objects: tuple[Semaphore, Event, Mutex], verb: str) -> None:
    units, stop, _ = objects
    verbs: dict[str, Callable[[], object]] = {
        "wait_any": lambda: len(wait_any(units, stop)),
        "wait_all": partial(wait_all, units, stop),
        "select": partial(select, units.acquire, stop.wait),
    }
    actor = world.start(verbs[verb])
    actor.until_asleep()
    (waiter,) = waits()
    assert names(waiter) == [("Semaphore", "units"), ("Event", "stop")]
    assert waiter.operation == verb
    units.release()
    stop.set()
    actor.result()


def crossed(
    world: World, wait: Callable[[Mutex], object], told: list[int | None], let_go: Callable[[], object] = lambda: None
) -> None:
    """Let one hold a mutex and wait in some way for a second, whose owner waits for the first, until these circles are told."""
    one, two, seen = Mutex(), Mutex(), Event()
    ready = [world.flag(), world.flag()]

    def first() -> None:
        with one:
            ready[0].raise_()
            ready[1].wait()
            wait(two)

    def second() -> None:
        with two:
            ready[1].raise_()
            ready[0].wait()
            in_vain(lambda timeout: one.acquire(timeout=timeout), seen)

    actors = [world.start(first), world.start(second)]

    def heard() -> bool:
        world.check()
        cycles = [waiter.cycle for waiter in waits()]
        # The second begins again and again: a circle is told of those alone that have waited all the while.
        assert len(cycles) < 2 or cycles in (told, [None, None])
        return cycles == told

    until(heard, "what is told of the two")
    seen.set()
    let_go()
    for actor in actors:
        actor.result()


def test_a_circle_through_who_waits_for_any(world: World) -> None:
    with Mutex() as third:
        # The third is held by one who can go on, and so nobody is stuck.
        crossed(world, lambda two: wait_any(two, third), [None, None])
    crossed(world, lambda two: wait_any(two, two), [1, 1])


def test_no_circle_where_anybody_may_help(world: World) -> None:
    stop = Event()
    crossed(world, lambda two: wait_any(two, stop), [None, None])


def test_no_circle_where_one_has_no_file_any_more(world: World) -> None:
    stop = Event.create("stop")
    stop.unlink()
    crossed(world, lambda two: wait_any(two, stop), [None, None])


def test_a_circle_through_who_waits_for_all(world: World) -> None:
    stop = Event()
    crossed(world, partial(wait_all, stop), [1, 1], let_go=stop.set)


def test_a_long_wait_for_many_names_them(threads: Threads, objects: tuple[Semaphore, Event, Mutex]) -> None:
    units, stop, _ = objects
    texts: list[str] = []

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            texts.append(record.getMessage())

    handler, logger = Told(), logging.getLogger("underpass")
    logger.addHandler(handler)
    before = underpass.warn_waiting(SHORT)
    try:
        actor = threads.start(lambda: len(wait_any(units, stop)))
        until(lambda: texts, "a warning")
        stop.set()
        actor.result()
    finally:
        underpass.warn_waiting(before)
        logger.removeHandler(handler)
    assert texts[0].startswith("still waiting for semaphore 'units', event 'stop' for ")
    assert texts[0].endswith("(wait_any)")
