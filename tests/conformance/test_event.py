"""Event: what the standard library's suite asserts of its own, between threads and processes."""

import pickle
import signal

import pytest

from tests.conformance.backends import SOON, Processes, Threads
from underpass import ClosedError, Event, MismatchError, Notification, TimedOut, WouldBlock

World = Threads | Processes


def test_it_starts_unset_and_keeps_what_is_set() -> None:
    event = Event()
    assert not event.is_set()
    event.set()
    event.set()
    assert event.is_set()
    assert event.wait() is event.wait() is event.wait_nowait() is True
    event.clear()
    event.clear()
    assert not event.is_set()


def test_failure_raises() -> None:
    event = Event()
    with pytest.raises(WouldBlock):
        event.wait_nowait()
    with pytest.raises(TimedOut):
        event.wait(timeout=0)
    with pytest.raises(TimedOut, match=rf"within {SOON} s"):
        event.wait(timeout=SOON)
    with pytest.raises(ValueError, match="timeout="):
        event.wait(timeout=-1)


def test_set_lets_all_go(world: World) -> None:
    event = Event()
    waiters = [world.start(event.wait) for _ in range(5)]
    for waiter in waiters:
        waiter.until_asleep()
    assert event.statistics().waiters == 5
    event.set()
    assert all(waiter.result() for waiter in waiters)
    assert (event.statistics().is_set, event.statistics().waiters) == (True, 0)


def test_set_and_clear_at_once_let_all_go_who_wait(world: World) -> None:
    event = Event()
    for _ in range(20):
        waiters = [world.start(event.wait) for _ in range(2)]
        for waiter in waiters:
            waiter.until_asleep()
        event.set()
        event.clear()
        assert all(waiter.result() for waiter in waiters)
    assert not event.is_set()


def test_waiters_of_the_dead_do_not_matter(mortals: Processes) -> None:
    event = Event()
    dying, waiter = mortals.start(event.wait), mortals.start(event.wait)
    dying.until_asleep()
    waiter.until_asleep()
    dying.kill()
    event.set()
    assert waiter.result() is True


def test_ctrl_c_ends_a_wait(processes: Processes) -> None:
    event = Event()
    waiter = processes.start(event.wait)
    waiter.until_asleep()
    waiter.signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        waiter.result()
    assert event.statistics().waiters == 0


def test_by_name_and_of_its_own_kind() -> None:
    event = Event.create("ready")
    event.set()
    assert Event.open("ready").is_set()
    assert Event.open_or_create("ready").is_set()
    with pytest.raises(MismatchError, match="Notification"):
        Notification.open("ready")
    assert repr(event) == "<Event 'ready', set>"
    event.clear()
    assert repr(event) == "<Event 'ready', not set>"
    event.close()
    for use in (event.set, event.clear, event.is_set, event.wait, event.wait_nowait):
        with pytest.raises(ClosedError, match="'ready'"):
            use()
    event.unlink()


def test_pickled_handle_is_the_same_event() -> None:
    event = Event()
    other: Event = pickle.loads(pickle.dumps(event))  # noqa: S301 - our own bytes
    other.set()
    assert event.is_set()
    event.unlink()
