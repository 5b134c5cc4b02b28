"""wait_all: all at one look, and nothing taken; what is taken by others meanwhile is waited for again."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.conformance.backends import SOON, Processes, Threads
from tests.conformance.members import Kind, member, scene
from underpass import (
    ClosedError,
    Event,
    MisuseError,
    Mutex,
    Notification,
    Queue,
    Semaphore,
    TimedOut,
    fail_after,
    wait_all,
)
from underpass.sync import atomic_section

World = Threads | Processes


@member
def test_it_ends_when_the_last_becomes_ready(world: World, kind: Kind) -> None:
    first, last = scene(world, kind), scene(world, kind)
    waiter = world.start(wait_all, first.seen, last.seen, first.seen)
    waiter.until_asleep()
    first.change()
    waiter.until_asleep()
    last.change()
    waiter.result()
    wait_all(first.seen, last.seen, timeout=0)
    # Nothing was taken.
    first.take()
    last.take()


def test_what_is_taken_meanwhile_is_waited_for_again(world: World) -> None:
    units, event = Semaphore(1), Event()
    waiter = world.start(wait_all, units, event)
    waiter.until_asleep()
    units.acquire_nowait()
    event.set()
    waiter.until_asleep()
    event.clear()
    units.release()
    waiter.until_asleep()
    event.set()
    waiter.result()
    assert units.acquire_nowait()


def test_not_at_one_look_is_not_all(world: World) -> None:
    one, other = Semaphore(1), Semaphore(0)
    waiter = world.start(wait_all, one, other)
    waiter.until_asleep()
    for _ in range(3):
        one.acquire_nowait()
        other.release()
        waiter.until_asleep()
        other.acquire_nowait()
        one.release()
        waiter.until_asleep()
    other.release()
    waiter.result()


def test_many_wait_for_all(world: World) -> None:
    units, event, queue, flags = Semaphore(0), Event(), Queue(2, 8), Notification()
    waiters = [world.start(wait_all, units, event, queue, flags) for _ in range(4)]
    for waiter in waiters:
        waiter.until_asleep()
    units.release()
    event.set()
    queue.put(b"a")
    for waiter in waiters:
        waiter.until_asleep()
    flags.notify(1)
    for waiter in waiters:
        waiter.result()


def test_in_vain() -> None:
    one, other = Semaphore(1), Semaphore(0)
    with pytest.raises(TimedOut, match="all of semaphore"):
        wait_all(one, other, timeout=0)
    with pytest.raises(TimedOut, match=f"not ready within {SOON} s"):
        wait_all(one, other, timeout=SOON)
    with pytest.raises(TimedOut), fail_after(SOON):
        wait_all(one, other)
    wait_all(one, one, timeout=0)
    with pytest.raises(ValueError, match=r"wait_all\(\) of nothing"):
        wait_all()
    wrong: Any = 1
    with pytest.raises(TypeError, match="cannot be waited for"):
        wait_all(one, wrong)
    with atomic_section(), pytest.raises(MisuseError, match="wait_all"):
        wait_all(one)
    other.close()
    with pytest.raises(ClosedError):
        wait_all(one, other)


def test_deaths_count_and_ctrl_c_costs_nothing(processes: Processes) -> None:
    lock, units = Mutex(), Semaphore(0)
    held, never = processes.flag(), processes.flag()

    def hold() -> None:
        lock.acquire()
        held.raise_()
        never.wait()

    owner = processes.start(hold)
    held.wait()
    waiter, stays = processes.start(wait_all, lock, units), processes.start(wait_all, lock, units)
    waiter.until_asleep()
    stays.until_asleep()
    waiter.signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        waiter.result()
    units.release()
    stays.until_asleep()
    owner.kill()
    stays.result()
    assert units.acquire_nowait()
    with lock.recovering():
        pass
