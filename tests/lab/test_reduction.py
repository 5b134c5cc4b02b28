"""How many classes of schedules programs have: exactly so many are explored, each once."""

from collections.abc import Callable
from functools import partial

import pytest

import underpass

pytest.importorskip("greenlet")

from underpass import lab
from underpass.lab import Failure, Report, World


def exhaust(program: Callable[[World], object]) -> Report:
    report = lab.explore(program, strategy="dpor", schedules=20_000, seed=1)
    assert report.exhausted
    assert report.schedules == report.classes
    assert report.pruned == 0
    return report


def table(world: World, seats: int, lefthanded: int) -> None:
    forks = [underpass.Mutex() for _ in range(seats)]

    def dine(first: underpass.Mutex, second: underpass.Mutex) -> None:
        with first, second:
            pass

    for seat in range(seats):
        left, right = forks[seat], forks[(seat + 1) % seats]
        world.process(dine, *((right, left) if seat < lefthanded else (left, right)))


@pytest.mark.parametrize("seats", [3, 4, 5])
def test_philosophers_differ_in_who_has_each_fork_first(seats: int) -> None:
    # Two to each fork, and neither circle: they would wait for one another, or each eat before the next.
    assert exhaust(partial(table, seats=seats, lefthanded=1)).classes == 2**seats - 2


def test_philosophers_who_all_begin_at_the_left_starve_in_one_class() -> None:
    with pytest.raises(Failure, match="deadlock") as found:
        lab.explore(partial(table, seats=3, lefthanded=0), strategy="dpor", seed=1)
    # What is told is a schedule of the real mutexes, in which they sleep.
    with pytest.raises(Failure, match="deadlock"):
        lab.replay(partial(table, seats=3, lefthanded=0), found.value.token)


def test_a_flag_and_an_event() -> None:
    def program(world: World) -> None:
        flag, told = underpass.AtomicInt(), underpass.Event()

        def wait() -> None:
            if flag.load() == 0:
                told.wait()

        def tell() -> None:
            flag.store(1)
            told.set()

        world.process(wait)
        world.process(tell)

    assert exhaust(program).classes == 5


@pytest.mark.parametrize("writers", [1, 2, 3])
def test_stores_of_the_same_number_commute(writers: int) -> None:
    def program(world: World) -> None:
        first, second = underpass.AtomicInt(), underpass.AtomicInt()

        def write() -> None:
            first.store(1)
            second.store(-1)

        def read() -> None:
            first.load()
            second.load()

        for _ in range(writers):
            world.process(write)
        world.process(read)

    # Each load is before or after each store.
    assert exhaust(program).classes == 2 ** (2 * writers)


@pytest.mark.parametrize(
    ("make", "classes"),
    [
        (lambda: underpass.AtomicInt().load, 1),
        (lambda: underpass.AtomicInt().statistics, 1),
        (lambda: partial(underpass.AtomicInt().store, 1), 1),
        (lambda: partial(underpass.AtomicInt().exchange, 1), 6),
        (lambda: partial(underpass.AtomicInt().add, 1), 6),
        (lambda: underpass.Event().is_set, 1),
        (lambda: underpass.Event().set, 1),
        (lambda: underpass.Event().clear, 1),
        (lambda: partial(getattr, underpass.Notification(), "bits"), 1),
        (lambda: underpass.Notification().notify, 6),
        (lambda: partial(getattr, underpass.Semaphore(9), "value"), 1),
        (lambda: underpass.Semaphore(9).statistics, 1),
        (lambda: underpass.Semaphore(9).acquire, 6),
        (lambda: partial(getattr, underpass.Queue(9, 8), "depth"), 1),
        (lambda: underpass.Queue(9, 8).statistics, 1),
        (lambda: partial(underpass.Queue(9, 8).put, b"job"), 6),
        (lambda: partial(getattr, underpass.Mutex(), "owner"), 1),
        (lambda: underpass.Mutex().statistics, 1),
    ],
)
def test_three_who_do_the_same(make: Callable[[], Callable[[], object]], classes: int) -> None:
    def program(world: World) -> None:
        do = make()
        for _ in range(3):
            world.process(do)

    assert exhaust(program).classes == classes


def test_a_look_is_seen_to_come_before_or_after() -> None:
    def program(world: World) -> None:
        units = underpass.Semaphore(0)
        seen: list[int] = []
        world.process(units.release)
        world.process(lambda: seen.append(units.value))
        world.at_end(lambda: seen == [0])

    with pytest.raises(Failure, match="at the end"):
        lab.explore(program, strategy="dpor", seed=1)


def test_a_store_that_wakes_is_not_like_one_that_does_not() -> None:
    ends: set[tuple[int, ...]] = set()

    def program(world: World) -> None:
        number = underpass.AtomicInt()
        log: list[int] = []

        def store(who: int) -> None:
            number.store(1)
            log.append(who)

        def wait() -> None:
            number.wait(0)
            log.append(2)

        world.process(store, 0)
        world.process(store, 1)
        world.process(wait)
        world.at_end(lambda: ends.add(tuple(log)) is None)

    exhaust(program)
    assert {end.index(2) for end in ends} == {0, 1, 2}


class Door:
    """A mutex with visitors of each kind, and what became of them."""

    def __init__(self) -> None:
        self.mutex = underpass.Mutex()
        self.inside: list[str] = []
        self.outside = {"third": "", "fourth": ""}

    def first(self) -> None:
        with self.mutex:
            self.inside.append("first")

    def second(self) -> None:
        with self.mutex:
            self.inside.append("second")

    def third(self) -> None:
        try:
            self.mutex.acquire_nowait()
        except underpass.WouldBlock:
            self.outside["third"] = "not in"
        else:
            self.inside.append("third")
            self.mutex.release()

    def fourth(self) -> None:
        try:
            self.mutex.acquire(timeout=1)
        except underpass.TimedOut:
            self.outside["fourth"] = "not in"
        else:
            self.inside.append("fourth")
            self.mutex.release()


@pytest.mark.parametrize("who", [(0, 1, 2), (0, 1, 3), (0, 2, 3)])
def test_what_can_happen_at_a_mutex_happens(who: tuple[int, ...]) -> None:
    # What random schedules show, in which everybody sleeps who finds it taken, is the reference.
    def ends(strategy: str) -> set[tuple[str, ...]]:
        seen: set[tuple[str, ...]] = set()

        def program(world: World) -> None:
            door = Door()
            visitors = [door.first, door.second, door.third, door.fourth]
            for index in who:
                world.process(visitors[index])
            world.at_end(lambda: seen.add((*door.inside, *door.outside.values())) is None)

        report = lab.explore(
            program, strategy=strategy, schedules=6_000 if strategy == "dpor" else 2_000, seed=1, jobs=1
        )
        assert report.exhausted or strategy != "dpor"
        return seen

    assert ends("walk") == ends("dpor")
