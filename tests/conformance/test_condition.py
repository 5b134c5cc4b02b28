"""Condition: CPython's and Zephyr's cases, what a death does, and that those who are woken together do not crowd."""

import pickle
import signal
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

import underpass
from tests.conformance.backends import SOON, Actor, Processes, Threads, apart, until
from underpass import (
    AtomicInt,
    ClosedError,
    Condition,
    MismatchError,
    MisuseError,
    Mutex,
    NotFoundError,
    Queue,
    TimedOut,
    WouldBlock,
)
from underpass.sync import priority

World = Threads | Processes
A = TypeVar("A")
# Far more than a test takes: who waits so long has a deadline, but is woken otherwise.
LONG = 1_000.0


def asleep_in(world: World, condition: Condition, wait: Callable[[], Any], count: int = 1) -> list[Actor[Any]]:
    """Start as many who wait, one after the other."""
    return [one_asleep_in(world.start, condition, wait) for _ in range(count)]


def one_asleep_in(start: Callable[[Callable[[], Any]], A], condition: Condition, wait: Callable[[], Any]) -> A:
    """Start one who waits."""
    before = condition.statistics().n_waiting

    def run() -> object:
        with condition:
            return wait()

    waiter = start(run)
    until(lambda: condition.statistics().n_waiting == before + 1, "one more who waits")
    return waiter


def test_a_notification_wakes_one(world: World) -> None:
    condition = Condition()
    waiters = asleep_in(world, condition, condition.wait, 3)
    for waiter in waiters:
        with condition:
            assert condition.notify() == 1
        assert waiter.result() is True
    assert condition.notify() == 0


def test_as_many_are_woken_as_are_told_of(world: World) -> None:
    condition = Condition()
    waiters = asleep_in(world, condition, condition.wait, 4)
    assert [condition.notify(0), condition.notify(3)] == [0, 3]
    assert [waiter.result() for waiter in waiters[:3]] == [True] * 3
    assert condition.statistics().n_waiting == 1
    assert condition.notify(5) == 1
    assert waiters[3].result() is True


def test_notify_all_wakes_all_and_says_how_many(world: World) -> None:
    condition = Condition()
    waiters = asleep_in(world, condition, condition.wait, 5)
    with condition:
        assert condition.notify_all() == 5
        assert condition.notify_all() == 0
    assert all(waiter.result() for waiter in waiters)


def test_they_take_the_mutex_in_the_order_in_which_they_came(world: World) -> None:
    condition, order, arrivals = Condition(), Queue(8, 8), AtomicInt()

    def wait() -> None:
        number = arrivals.add(1)
        condition.wait()
        order.put(bytes([number]))

    waiters = asleep_in(world, condition, wait, 5)
    with condition:
        condition.notify_all()
    for waiter in waiters:
        waiter.result()
    assert [order.get()[0] for _ in range(5)] == [*range(5)]


def test_the_more_urgent_is_woken_first(threads: Threads) -> None:
    condition, order = Condition(), list[int]()

    def wait(urgency: int) -> None:
        with priority(urgency):
            condition.wait()
        order.append(urgency)

    waiters = [asleep_in(threads, condition, lambda urgency=urgency: wait(urgency))[0] for urgency in (1, 9, 5, 9)]
    for number in range(1, 5):
        with condition:
            assert condition.notify() == 1
        until(lambda number=number: len(order) == number, "the one that was woken has come")
    for waiter in waiters:
        waiter.result()
    assert order == [9, 9, 5, 1]


def test_a_notification_is_for_those_who_wait_already(world: World) -> None:
    condition = Condition()
    assert [condition.notify(), condition.notify_all()] == [0, 0]
    (waiter,) = asleep_in(world, condition, condition.wait)
    condition.notify()
    assert waiter.result() is True


def test_none_is_lost_between_the_release_and_the_sleep(world: World) -> None:
    condition, turn, rounds = Condition(), AtomicInt(), 40

    def play(mine: int) -> None:
        for _ in range(rounds):
            with condition:
                condition.wait_for(lambda: turn.load() % 2 == mine)
                turn.add(1)
                condition.notify()

    partner = world.start(play, 1)
    play(0)
    partner.result()
    assert turn.load() == 2 * rounds


def test_the_mutex_is_held_again_after_a_timeout(world: World) -> None:
    condition = Condition()
    with condition:
        with pytest.raises(TimedOut, match=f"within {SOON} s: nobody notified it"):
            condition.wait(timeout=SOON)
        assert condition.owner is not None
        other = world.start(condition.holding(timeout=SOON).__enter__)
        with pytest.raises(TimedOut):
            other.result()
    condition.acquire_nowait()
    condition.release()


def test_a_predicate_that_stays_false_is_not_blamed_on_the_notifier(processes: Processes) -> None:
    condition, ended, looks = Condition(), AtomicInt(), AtomicInt()

    def notify() -> None:
        while not ended.load():
            condition.notify()

    def look() -> bool:
        looks.add(1)
        return False

    notifier = processes.start(notify)
    with condition, pytest.raises(TimedOut) as caught:
        condition.wait_for(look, timeout=SOON)
    ended.store(1)
    notifier.result()
    # Once before the first wait, once after each notification, and once when the time is over.
    notified = looks.load() - 2
    plural = "" if notified == 1 else "s"
    told = f"the predicate is false, after {notified} notification{plural} too" if notified else "nobody notified it"
    assert told in str(caught.value)


def test_waiting_without_the_mutex_says_what_helps() -> None:
    with pytest.raises(MisuseError, match="nobody holds it: acquire it first"):
        Condition().wait(timeout=0)


@pytest.mark.parametrize("timeout", [None, LONG])
def test_one_that_is_notified_in_time_does_not_time_out(world: World, timeout: float | None) -> None:
    condition, value = Condition(), AtomicInt()
    waits: tuple[Callable[[], Any], ...] = (
        lambda: condition.wait(timeout=timeout),
        lambda: condition.wait_for(lambda: value.load() == 1, timeout=timeout),
    )
    for wait in waits:
        waiters = asleep_in(world, condition, wait, 3)
        with condition:
            value.store(1)
            assert condition.notify() == 1
        assert waiters[0].result() is True
        with condition:
            assert condition.notify_all() == 2
        assert [waiter.result() for waiter in waiters] == [True] * 3
        value.store(0)
    assert condition.owner is None


def test_one_whose_time_is_over_leaves_the_notification_to_the_next(world: World) -> None:
    condition = Condition()

    def give_up() -> bool:
        with condition:
            with pytest.raises(TimedOut):
                condition.wait(timeout=SOON)
            return condition.owner is not None

    def wait() -> bool:
        with condition:
            return condition.wait()

    impatient, patient = world.start(give_up), world.start(wait)
    assert impatient.result() is True
    until(lambda: condition.statistics().n_waiting == 1, "the other one waits")
    assert condition.notify() == 1
    assert patient.result() is True


def test_a_notification_before_it_is_not_kept_for_one_who_does_not_wait() -> None:
    condition = Condition()
    with condition:
        assert condition.notify() == 0
        with pytest.raises(TimedOut):
            condition.wait(timeout=0)
        assert condition.owner is not None


def test_it_is_free_while_one_waits(world: World) -> None:
    condition = Condition()
    (waiter,) = asleep_in(world, condition, condition.wait)
    assert condition.acquire() is True
    condition.notify()
    condition.release()
    assert waiter.result() is True


def test_without_time_the_mutex_is_not_given_back() -> None:
    condition = Condition()
    with condition, pytest.raises(TimedOut):
        condition.wait(timeout=0)
    with pytest.raises(ValueError, match="timeout=-1"):
        condition.wait(timeout=-1)


def test_who_does_not_hold_it_may_not_wait(world: World) -> None:
    mutex = Mutex.create("ledger")
    condition = Condition(mutex)
    with pytest.raises(MisuseError, match="mutex 'ledger' not waited under: nobody holds it"):
        condition.wait(timeout=LONG)
    with mutex:
        other = world.start(condition.wait)
        with pytest.raises(MisuseError, match=r"it is held by .* only its owner"):
            other.result()
    mutex.unlink()


def test_who_holds_it_twice_may_not_wait() -> None:
    mutex = Mutex(recursive=True)
    condition = Condition(mutex)
    with mutex, mutex, pytest.raises(MisuseError, match="holds its mutex 2 times"):
        condition.wait(timeout=LONG)
    with mutex, pytest.raises(TimedOut):
        condition.wait(timeout=SOON)
    assert mutex.owner is None


def test_wait_for_asks_first_and_last(world: World) -> None:
    condition, value, asked = Condition(), AtomicInt(), AtomicInt()

    def at_least(least: int) -> bool:
        asked.add(1)
        return value.load() >= least

    with condition:
        assert condition.wait_for(lambda: at_least(0), timeout=0) is True
        assert asked.exchange(0) == 1
        with pytest.raises(TimedOut):
            condition.wait_for(lambda: at_least(1), timeout=SOON)
        assert asked.exchange(0) == 2
        with pytest.raises(ZeroDivisionError):
            condition.wait_for(lambda: 1 // 0)
    (waiter,) = asleep_in(world, condition, lambda: condition.wait_for(lambda: value.load() >= 3))
    for _ in range(3):
        with condition:
            value.add(1)
            condition.notify_all()
    assert waiter.result() is True


def test_two_conditions_share_a_mutex(world: World) -> None:
    mutex, stored, rounds = Mutex(), AtomicInt(), 30
    room, news = Condition(mutex), Condition(mutex)

    def consume() -> None:
        for _ in range(rounds):
            with mutex:
                news.wait_for(lambda: stored.load() > 0)
                stored.sub(1)
                room.notify()

    consumer = world.start(consume)
    for _ in range(rounds):
        with room:
            room.wait_for(lambda: stored.load() < 2)
            stored.add(1)
            news.notify()
    consumer.result()
    assert stored.load() == 0


def test_many_producers_and_consumers(world: World) -> None:
    condition, stored, each = Condition(), AtomicInt(), 10

    def produce() -> None:
        for _ in range(each):
            with condition:
                stored.add(1)
                condition.notify()

    def consume() -> None:
        for _ in range(each):
            with condition:
                condition.wait_for(lambda: stored.load() > 0)
                stored.sub(1)

    actors = [world.start(run) for run in (consume, produce, consume, produce)]
    for actor in actors:
        actor.result()
    assert stored.load() == 0


def test_ctrl_c_comes_out_with_the_mutex_held(processes: Processes) -> None:
    condition, held = Condition(), processes.flag()

    def wait() -> str:
        with condition:
            try:
                condition.wait()
            except KeyboardInterrupt:
                held.raise_()
                return "held" if condition.owner is not None else "free"
        return "notified"

    waiter = processes.start(wait)
    until(lambda: condition.statistics().n_waiting == 1, "it waits")
    waiter.until_asleep()
    with condition:
        waiter.signal(signal.SIGINT)
        until(lambda: condition.statistics().n_waiting == 0, "it has left")
        # A second one is kept too, until it has the mutex.
        waiter.until_asleep()
        waiter.signal(signal.SIGINT)
        waiter.until_asleep()
    held.wait()
    assert waiter.result() == "held"
    assert condition.notify() == 0


def test_ctrl_c_after_a_notification_hands_it_on(processes: Processes) -> None:
    mutex = Mutex()
    condition, heard = Condition(mutex), processes.flag()

    def interrupt(*_: object) -> None:
        heard.raise_()
        raise KeyboardInterrupt

    def wait() -> str:
        signal.signal(signal.SIGINT, interrupt)
        with condition:
            try:
                condition.wait()
            except KeyboardInterrupt:
                return "interrupted"
            return "notified"

    first = processes.start(wait)
    until(lambda: condition.statistics().n_waiting == 1, "it waits")
    second = processes.start(wait)
    until(lambda: condition.statistics().n_waiting == 2, "both wait")
    with condition:
        assert condition.notify() == 1
        until(lambda: mutex.statistics().waiters == 1 and first.asleep, "it waits for the mutex")
        first.signal(signal.SIGINT)
        heard.wait()
    assert [first.result(), second.result()] == ["interrupted", "notified"]


def test_a_crowd_is_notified_and_counted(threads: Threads) -> None:
    condition, count, open_ = Condition(), 80, AtomicInt()

    def wait() -> None:
        with condition:
            arrived.add(1)
            condition.wait_for(lambda: open_.load() == 1)

    arrived = AtomicInt()
    waiters = [threads.start(wait) for _ in range(count)]
    until(lambda: arrived.load() == count and condition.owner is None, "all wait")
    with condition:
        open_.store(1)
        assert condition.notify_all() == count
    for waiter in waiters:
        waiter.result()


def test_those_who_are_woken_together_do_not_crowd_at_the_mutex(threads: Threads) -> None:
    mutex = Mutex()
    condition, most = Condition(mutex), list[int]()

    def wait() -> None:
        condition.wait()
        most.append(mutex.statistics().waiters)

    waiters = asleep_in(threads, condition, wait, 20)
    with condition:
        condition.notify_all()
        until(lambda: mutex.statistics().waiters == 1, "the first sleeps for the mutex")
        # All others sleep on, though all were notified.
        assert condition.statistics().waiters == 19
    for waiter in waiters:
        waiter.result()
    assert max(most) <= 1


def test_by_name() -> None:
    condition = Condition.create("news")
    other = Condition.open("news")
    with other, pytest.raises(WouldBlock):
        threading_try(condition)
    assert Condition.open_or_create("news").name == "news"
    with pytest.raises(MismatchError, match="mutex=None"):
        Condition.open_or_create("news", Mutex())
    with pytest.raises(MismatchError):
        Mutex.open("news")
    condition.unlink()


def threading_try(condition: Condition) -> None:
    """Try to take it in another thread; what that raises."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            condition.acquire_nowait()
        except WouldBlock as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def test_one_over_a_mutex_finds_it_where_it_is_opened(processes: Processes) -> None:
    mutex = Mutex()
    condition = Condition.create("news", mutex)

    def wait() -> bool:
        opened = Condition.open("news")
        with opened:
            return opened.wait()

    waiter = processes.start(wait)
    until(lambda: condition.statistics().n_waiting == 1, "it waits")
    with mutex:
        assert Condition.open("news").notify() == 1
        until(lambda: mutex.statistics().waiters == 1, "it sleeps for this very mutex")
    assert waiter.result() is True
    assert Condition.open_or_create("news", mutex).name == "news"
    condition.unlink()
    mutex.unlink()


def test_one_whose_mutex_is_gone_cannot_be_opened() -> None:
    mutex = Mutex.create("ledger")
    condition = Condition.create("news", mutex)
    mutex.unlink()
    with pytest.raises(
        NotFoundError, match="condition 'news' not opened, since what it is used with is gone"
    ) as caught:
        Condition.open("news")
    assert "ledger" in str(caught.value)
    with pytest.raises(NotFoundError, match="mutex 'ledger' cannot be handed on"):
        pickle.dumps(condition)
    Mutex.create("ledger")
    with pytest.raises(NotFoundError, match="is used with is gone"):
        Condition.open("news")
    # Whoever has both open keeps them.
    with condition, pytest.raises(TimedOut):
        condition.wait(timeout=SOON)
    condition.unlink()
    Mutex.open("ledger").unlink()


@apart
def test_it_lives_beside_its_mutex(directory: Any) -> None:
    space = underpass.Space(directory)
    mutex = Mutex.create("ledger", space=space)
    Condition.create("news", mutex)
    assert [info.name for info in space if info.name == "news"] == ["news"]
    with pytest.raises(ValueError, match="leave space= out"):
        Condition.create("news", mutex, space=underpass.Space.default())
    space.remove()


def test_pickled_handles_are_the_same_condition() -> None:
    mutex = Mutex()
    for condition in (Condition(), Condition(mutex)):
        other: Condition = pickle.loads(pickle.dumps(condition))  # noqa: S301 - our own bytes
        with other:
            assert condition.owner is not None
            with pytest.raises(MisuseError, match="holds it already"):
                condition.acquire()
        condition.unlink()
    mutex.unlink()


def test_arguments_that_cannot_be_are_refused() -> None:
    with pytest.raises(TypeError):
        Condition(Queue(1, 1))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="count=-1"):
        Condition().notify(-1)


def test_closed_handle_refuses() -> None:
    condition = Condition.create("news")
    condition.acquire()
    condition.close()
    uses: list[Callable[[], object]] = [condition.wait, condition.notify, condition.notify_all, condition.acquire]
    for use in [*uses, condition.acquire_nowait, condition.holding, condition.recovering]:
        with pytest.raises(ClosedError, match="'news'"):
            use()
    condition.release()
    assert repr(condition) == "<Condition 'news', 0 waiting, closed>"
    condition.unlink()


def test_repr_and_statistics(world: World) -> None:
    condition = Condition.create("news")
    (waiter,) = asleep_in(world, condition, condition.wait)
    waiter.until_asleep()
    assert repr(condition) == "<Condition 'news', 1 waiting, waiters 1>"
    statistics = condition.statistics()
    assert (statistics.n_waiting, statistics.held, statistics.waiters) == (1, False, 1)
    assert repr(statistics) == "ConditionStatistics(n_waiting=1, held=False, waiters=1)"
    condition.notify()
    waiter.result()
    condition.unlink()
