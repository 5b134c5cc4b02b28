"""AtomicInt: what Zephyr's suite asserts of `k_futex`, and the arithmetic of 64 bits."""

import pickle
import signal
import time
from collections.abc import Callable
from itertools import chain

import pytest

from tests.conformance.backends import SOON, Actor, Processes, Threads, disturbed, until
from underpass import AtomicInt, ClosedError, MismatchError, Semaphore, TimedOut, WouldBlock
from underpass.sync import priority

World = Threads | Processes
LEAST, MOST = -(2**63), 2**63 - 1


def test_each_operation_returns_the_value_before() -> None:
    number = AtomicInt(5)
    assert number.exchange(7) == 5
    assert number.add(3) == 7
    assert number.sub(4) == 10
    assert number.or_(0b1001) == 6
    assert number.and_(0b1101) == 0b1111
    assert number.xor(-1) == 0b1101
    assert number.load() == int(number) == ~0b1101
    number.store(0)
    assert number.load() == 0


def test_compare_exchange_says_what_it_found() -> None:
    number = AtomicInt()
    assert number.compare_exchange(0, 9) == 0
    assert number.compare_exchange(0, 10) == 9
    assert number.load() == 9


def test_it_counts_modulo_two_to_the_64() -> None:
    number = AtomicInt(MOST)
    assert number.add(1) == MOST
    assert number.sub(1) == LEAST
    assert number.add(MOST) == MOST
    assert number.load() == -2


@pytest.mark.parametrize("value", [LEAST - 1, MOST + 1, 2**80])
def test_numbers_that_do_not_fit_are_refused(value: int) -> None:
    number = AtomicInt(1)
    for use in (number.store, number.exchange, number.add, number.sub, number.and_, number.or_, number.xor, AtomicInt):
        with pytest.raises(ValueError, match="64 bits"):
            use(value)
    with pytest.raises(ValueError, match="64 bits"):
        number.wait(value)
    with pytest.raises(TypeError):
        number.add(0.5)  # pyright: ignore[reportArgumentType]
    assert number.load() == 1


def test_no_addition_is_lost(world: World) -> None:
    number, turns = AtomicInt(), world.times(5_000)

    def count() -> None:
        for _ in range(turns):
            number.add(3)
            number.sub(1)

    for actor in [world.start(count) for _ in range(4)]:
        actor.result()
    assert number.load() == 4 * turns * 2


def test_wait_on_another_value_returns_at_once() -> None:
    number = AtomicInt(1)
    assert number.wait(0) is number.wait_nowait(2) is True
    with pytest.raises(WouldBlock, match="value is 1"):
        number.wait_nowait(1)


def test_wait_times_out() -> None:
    number = AtomicInt(1)
    with pytest.raises(TimedOut):
        number.wait(1, timeout=0)
    start = time.monotonic()
    with pytest.raises(TimedOut, match=rf"within {SOON} s.*value is 1"):
        number.wait(1, timeout=SOON)
    assert time.monotonic() - start >= SOON
    assert number.statistics().waiters == 0


CHANGES: dict[str, Callable[[AtomicInt], object]] = {
    "store": lambda number: number.store(1),
    "exchange": lambda number: number.exchange(1),
    "compare_exchange": lambda number: number.compare_exchange(0, 1),
    "add": lambda number: number.add(1),
    "sub": lambda number: number.sub(1),
    "or_": lambda number: number.or_(4),
    "xor": lambda number: number.xor(1 << 40),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_lets_all_go(threads: Threads, change: str) -> None:
    number = AtomicInt()
    waiters = [threads.start(number.wait, 0) for _ in range(3)]
    for waiter in waiters:
        waiter.until_asleep()
    CHANGES[change](number)
    assert all(waiter.result() for waiter in waiters)


def test_what_changes_nothing_wakes_nobody(world: World) -> None:
    number = AtomicInt(6)
    waiter = world.start(number.wait, 6)
    waiter.until_asleep()
    number.store(6)
    number.add(0)
    number.compare_exchange(5, 1)
    number.and_(7)
    assert number.statistics().waiters == 1
    number.and_(1)
    assert waiter.result() is True


def test_each_waits_for_its_own_value(world: World) -> None:
    number, steps = AtomicInt(0), 300

    def follow() -> int:
        seen = 0
        while seen < steps:
            number.wait(seen)
            seen = number.load()
        return seen

    followers = [world.start(follow) for _ in range(3)]
    for _ in range(steps):
        number.add(1)
    assert [follower.result() for follower in followers] == [steps] * 3


def test_wake_lets_so_many_go_in_the_order_of_arrival(world: World) -> None:
    number = AtomicInt(1)
    waiters: list[Actor[bool]] = []
    for _ in range(4):
        waiters.append(world.start(number.wait, 1))
        waiters[-1].until_asleep()
    assert number.wake() == 1
    assert waiters[0].result() is True
    assert number.wake(2) == 2
    assert waiters[1].result() is waiters[2].result() is True
    waiters[3].until_asleep()
    assert number.wake(2**40) == 1
    assert waiters[3].result() is True
    assert number.wake(10) == 0


def test_wake_lets_the_most_urgent_go_and_of_those_who_waited_for_longest(world: World) -> None:
    number, urgencies = AtomicInt(1), [1, 5, None, 5, 3]

    def wait(urgency: int | None) -> bool:
        if urgency is None:
            return number.wait(1)
        with priority(urgency):
            return number.wait(1)

    waiters: list[Actor[bool]] = []
    for urgency in urgencies:
        waiters.append(world.start(wait, urgency))
        waiters[-1].until_asleep()
    for place in [1, 3, 4, 0, 2]:
        assert number.wake() == 1
        assert waiters[place].result() is True
    assert number.statistics().waiters == 0


@pytest.mark.parametrize("count", [0, -1])
def test_wake_of_nobody_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="count="):
        AtomicInt().wake(count)


def test_the_dead_are_not_woken_in_place_of_others(mortals: Processes) -> None:
    number = AtomicInt()
    dying, waiter = mortals.start(number.wait, 0), mortals.start(number.wait, 0)
    dying.until_asleep()
    waiter.until_asleep()
    dying.kill()
    # It looks who has died, and sleeps again.
    until(lambda: number.statistics().waiters == 1 and waiter.asleep, "the other one waits")
    assert number.wake() == 1
    assert waiter.result() is True


def test_tickets_and_counts_of_events_make_a_buffer(world: World) -> None:
    """Reed and Kanodia's: sequencers order each side, and eventcounts tell the other one how far it is."""
    puts, gets, filled, emptied = AtomicInt(), AtomicInt(), AtomicInt(), AtomicInt()
    places, count = [AtomicInt() for _ in range(3)], 40

    def until_at_least(events: AtomicInt, least: int) -> None:
        while (happened := events.load()) < least:
            events.wait(happened)

    def put(number: int) -> None:
        for value in range(number, 2 * count, 2):
            ticket = puts.add(1)
            until_at_least(filled, ticket)
            until_at_least(emptied, ticket - len(places) + 1)
            places[ticket % len(places)].store(value)
            filled.add(1)

    def get() -> list[int]:
        values: list[int] = []
        for _ in range(count):
            ticket = gets.add(1)
            until_at_least(emptied, ticket)
            until_at_least(filled, ticket + 1)
            values.append(places[ticket % len(places)].load())
            emptied.add(1)
        return values

    putters, getters = [world.start(put, number) for number in range(2)], [world.start(get) for _ in range(2)]
    for putter in putters:
        putter.result()
    got = [getter.result() for getter in getters]
    assert sorted(chain(*got)) == [*range(2 * count)]
    # Whoever gets sees what each putter has put in its order.
    assert all(one[parity] == sorted(one[parity]) for one in map(_by_parity, got) for parity in range(2))


def _by_parity(values: list[int]) -> tuple[list[int], list[int]]:
    return [value for value in values if not value % 2], [value for value in values if value % 2]


def test_two_ping_pong(world: World) -> None:
    number, turns = AtomicInt(), world.times(2_000)

    def play() -> None:
        for turn in range(turns):
            number.wait(2 * turn)
            number.add(1)

    partner = world.start(play)
    for turn in range(turns):
        number.add(1)
        number.wait(2 * turn + 1)
    partner.result()
    assert number.load() == 2 * turns


def test_a_crowd_is_woken(threads: Threads) -> None:
    number, count = AtomicInt(), 80
    waiters = [threads.start(number.wait, 0) for _ in range(count)]
    for waiter in waiters:
        waiter.until_asleep()
    assert number.statistics().waiters == count
    number.add(1)
    assert all(waiter.result() for waiter in waiters)


def test_ctrl_c_ends_a_wait(processes: Processes) -> None:
    number = AtomicInt()
    waiter = processes.start(number.wait, 0)
    waiter.until_asleep()
    waiter.signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        waiter.result()
    assert number.wake() == 0


def test_wait_goes_on_after_a_handler(threads: Threads) -> None:
    number = AtomicInt()
    assert disturbed(threads, lambda: number.wait(0), lambda: number.add(1)) is True


def test_by_name() -> None:
    number = AtomicInt.create("hits", 4)
    assert AtomicInt.open("hits").add(1) == 4
    assert AtomicInt.open_or_create("hits", 99).load() == 5
    with pytest.raises(MismatchError):
        Semaphore.open("hits")
    number.close()
    for use in (number.load, number.wake, lambda: number.add(1), lambda: number.wait(1), lambda: int(number)):
        with pytest.raises(ClosedError, match="'hits'"):
            use()
    number.unlink()


def test_repr_and_statistics(world: World) -> None:
    number = AtomicInt.create("hits", -3)
    assert repr(number) == "<AtomicInt 'hits', value -3>"
    waiters = [world.start(number.wait, -3) for _ in range(2)]
    for waiter in waiters:
        waiter.until_asleep()
    assert repr(number) == "<AtomicInt 'hits', value -3, waiters 2>"
    assert (number.statistics().value, number.statistics().waiters) == (-3, 2)
    number.store(0)
    assert all(waiter.result() for waiter in waiters)
    number.unlink()


def test_pickled_handle_is_the_same_number() -> None:
    number = AtomicInt(1)
    other: AtomicInt = pickle.loads(pickle.dumps(number))  # noqa: S301 - our own bytes
    other.add(1)
    assert number.load() == 2
    number.unlink()
