"""The real objects under the lab kernel: every interleaving of two operations of two processes, by depth-first search."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import underpass

pytest.importorskip("greenlet")

from tests.lab import explorer


def test_semaphore_excludes_in_every_interleaving() -> None:
    seen: set[int] = set()

    def program() -> tuple[list[Callable[[], object]], Callable[[], None]]:
        seat = underpass.Semaphore(1)
        inside: list[int] = []

        def process(who: int) -> None:
            seat.acquire()
            inside.append(who)
            assert inside == [who]
            inside.remove(who)
            seat.release()
            seen.add(who)

        def at_end() -> None:
            assert seat.value == 1

        return [lambda: process(0), lambda: process(1)], at_end

    assert explorer.explore(program) > 10
    assert seen == {0, 1}


def test_semaphore_timeout_or_unit_never_neither() -> None:
    outcomes: set[str] = set()

    def program() -> tuple[list[Callable[[], object]], Callable[[], None]]:
        unit = underpass.Semaphore(0)
        result: list[str] = []

        def taker() -> None:
            try:
                unit.acquire(timeout=5)
                result.append("acquired")
            except underpass.TimedOut:
                result.append("timed out")

        def at_end() -> None:
            outcomes.add(result[0])
            # The unit is with the taker or still there: a time-out that races with the release loses nothing.
            assert unit.value == (0 if result[0] == "acquired" else 1)

        return [taker, unit.release], at_end

    explorer.explore(program)
    assert outcomes == {"acquired", "timed out"}


def test_queue_of_one_slot_keeps_order_in_every_interleaving() -> None:
    def program() -> tuple[list[Callable[[], object]], Callable[[], None]]:
        queue = underpass.Queue(1, 8)
        got: list[bytes] = []

        def putter() -> None:
            queue.put(b"one")
            queue.put(b"two")

        def getter() -> None:
            got.append(queue.get())
            got.append(queue.get())

        def at_end() -> None:
            assert got == [b"one", b"two"]
            assert queue.depth == 0

        return [putter, getter], at_end

    assert explorer.explore(program) > 100


def test_lease_put_back_reaches_the_other_getter() -> None:
    def program() -> tuple[list[Callable[[], object]], Callable[[], None]]:
        queue = underpass.Queue(1, 8)
        queue.put(b"job")
        got: list[int] = []

        def taker() -> None:
            lease = queue.take()
            if lease.deliveries == 1:
                lease.put_back()
            else:
                got.append(lease.deliveries)
                lease.done()

        def at_end() -> None:
            assert got == [2]
            assert queue.depth == 0

        return [taker, taker], at_end

    assert explorer.explore(program) > 10


def test_a_lost_wake_is_found() -> None:
    """The checker is tested on a bug: who takes the wake and gives nothing back leaves the other asleep."""

    def program() -> tuple[list[Callable[[], object]], Callable[[], None]]:
        unit = underpass.Semaphore(0)
        return [unit.acquire, unit.acquire, unit.release], lambda: None

    with pytest.raises(explorer.Deadlock):
        explorer.explore(program)


def test_a_schedule_repeats() -> None:
    def program() -> tuple[list[Callable[[], object]], Callable[[], None]]:
        queue = underpass.Queue(1, 8)
        return [lambda: queue.put(b"x"), queue.get], lambda: None

    first = [schedule.taken for schedule in explorer.schedules(program)]
    assert first == [schedule.taken for schedule in explorer.schedules(program)]


def test_mutex_excludes_in_every_interleaving() -> None:
    seen: set[int] = set()

    def program() -> tuple[list[Callable[[], object]], Callable[[], None]]:
        door = underpass.Mutex(recursive=True)
        inside: list[int] = []

        def process(who: int) -> None:
            with door, door.recovering() as died:
                assert died is None
                inside.append(who)
                assert inside == [who]
                inside.remove(who)
            seen.add(who)

        def at_end() -> None:
            assert door.owner is None

        return [lambda: process(0), lambda: process(1)], at_end

    assert explorer.explore(program) > 10
    assert seen == {0, 1}


def test_mutex_timeout_or_held_never_neither() -> None:
    outcomes: set[str] = set()

    def program() -> tuple[list[Callable[[], object]], Callable[[], None]]:
        door = underpass.Mutex()

        def visitor() -> None:
            try:
                with door.holding(timeout=5):
                    outcomes.add("held")
            except underpass.TimedOut:
                outcomes.add("timed out")

        def at_end() -> None:
            assert door.owner is None
            assert door.statistics().state != "owner died"

        return [visitor, visitor], at_end

    explorer.explore(program)
    assert outcomes == {"held", "timed out"}
