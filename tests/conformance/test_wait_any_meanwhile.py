"""wait_any: signals, deaths, forks, crowds and several spaces."""

from __future__ import annotations

import os
import signal
import struct
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.backends import Processes, Threads, apart, disturbed, sleeps_in_library, until
from tests.conformance.members import Kind, member, places, scene
from underpass import (
    Event,
    Mutex,
    Notification,
    OwnerDiedError,
    PeerDiedError,
    Queue,
    Semaphore,
    Space,
    TimedOut,
    select,
    wait_any,
)

if TYPE_CHECKING:
    from pathlib import Path

World = Threads | Processes

# Where an object's file says who is rung for it, and in how many bytes (`WATCHERS` and `WatchersWords` of the native module).
WATCHERS, BYTES = 128, 128


def onlooker(*what: Any) -> list[int]:
    """Wait for any of them; where those stand that are ready."""
    return places(wait_any(*what), *what)


def watchers(directory: Path, name: str) -> int:
    """How many bells are rung for that object."""
    content = (directory / name).read_bytes()[WATCHERS : WATCHERS + BYTES]
    return sum(word.bit_count() for word in struct.unpack("16Q", content))


# ── signals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_handlers_that_raise_nothing_are_run_and_the_wait_goes_on(threads: Threads) -> None:
    units, never = Semaphore(0), Event()
    assert disturbed(threads, partial(onlooker, never, units), units.release) == [1]


def test_ctrl_c_ends_it_and_costs_nothing(processes: Processes) -> None:
    units = Semaphore(0)
    looks, stays = processes.start(onlooker, units), processes.start(onlooker, units)
    looks.until_asleep()
    stays.until_asleep()
    looks.signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        looks.result()
    units.release()
    assert stays.result() == [0]
    assert units.acquire_nowait()


@pytest.mark.parametrize("shared", [True, False])
def test_a_handler_that_waits_for_many_leaves_the_wait_around_it_whole(processes: Processes, shared: bool) -> None:  # noqa: FBT001
    """Both are the thread's, with one bell: the inner one must not take what the outer one is rung for."""
    units, inner, entered, left = Semaphore(0), Semaphore(0), processes.flag(), processes.flag()

    def nested() -> list[int]:
        def handle(_number: int, _frame: object) -> None:
            entered.raise_()
            wait_any(inner, *([units] if shared else []))
            inner.acquire_nowait()
            left.raise_()

        signal.signal(signal.SIGUSR1, handle)
        return onlooker(Event(), units)

    looks = processes.start(nested)
    for _ in range(2):
        looks.until_asleep()
        looks.signal(signal.SIGUSR1)
        entered.wait()
        looks.until_asleep()
        inner.release()
        left.wait()
    looks.until_asleep()
    units.release()
    assert looks.result() == [1]


def test_what_was_rung_for_while_a_handler_waited_is_seen_after_it(processes: Processes) -> None:
    units, inner, entered = Semaphore(0), Semaphore(0), processes.flag()

    def nested() -> list[int]:
        def handle(_number: int, _frame: object) -> None:
            entered.raise_()
            wait_any(inner)

        signal.signal(signal.SIGUSR1, handle)
        return onlooker(Event(), units)

    looks = processes.start(nested)
    looks.until_asleep()
    looks.signal(signal.SIGUSR1)
    entered.wait()
    looks.until_asleep()
    units.release()
    looks.until_asleep()
    inner.release()
    assert looks.result() == [1]


# ── deaths ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fairness", ["barging", "arrival", "priority"])
def test_the_death_of_a_mutexs_owner(mortals: Processes, fairness: Any) -> None:
    lock, held, never = Mutex(fairness=fairness), mortals.flag(), mortals.flag()

    def hold() -> None:
        lock.acquire()
        held.raise_()
        never.wait()

    owner = mortals.start(hold)
    held.wait()
    looks = [mortals.start(onlooker, Event(), lock) for _ in range(3)]
    for one in looks:
        one.until_asleep()
    owner.kill()
    assert [one.result() for one in looks] == [[1]] * 3
    assert wait_any(lock, timeout=0) == [lock]
    with pytest.raises(OwnerDiedError):
        lock.acquire_nowait()
    assert wait_any(lock, timeout=0) == [lock]
    with lock.recovering():
        pass


@pytest.mark.parametrize("fairness", ["barging", "arrival", "priority"])
def test_the_death_of_one_who_leased_a_unit(mortals: Processes, fairness: Any) -> None:
    units, held, never = Semaphore(1, fairness=fairness, leased=True), mortals.flag(), mortals.flag()

    def hold() -> None:
        units.acquire()
        held.raise_()
        never.wait()

    first = mortals.start(hold)
    held.wait()
    looks = [mortals.start(onlooker, Event(), units) for _ in range(2)]
    for one in looks:
        one.until_asleep()
    first.kill()
    assert [one.result() for one in looks] == [[1]] * 2
    # One that was on nobody's roster when the onlooker fell asleep.
    units.acquire()
    looks = [mortals.start(onlooker, Event(), units) for _ in range(2)]
    for one in looks:
        one.until_asleep()
    second = mortals.start(hold)
    second.until_asleep()
    units.release()
    held.wait()
    second.kill()
    assert [one.result() for one in looks] == [[1]] * 2


@pytest.mark.parametrize("fairness", ["barging", "arrival", "priority"])
def test_the_death_of_one_who_was_handed_a_mutex_before(mortals: Processes, fairness: Any) -> None:
    """The onlooker has to watch each owner in turn."""
    lock, never = Mutex(fairness=fairness), mortals.flag()
    held = [mortals.flag() for _ in range(3)]
    go = [mortals.flag() for _ in range(3)]

    def hold(place: int) -> None:
        with lock:
            held[place].raise_()
            go[place].wait()

    def hold_for_ever() -> None:
        lock.acquire()
        held[2].raise_()
        never.wait()

    first = mortals.start(hold, 0)
    held[0].wait()
    second = mortals.start(hold, 1)
    second.until_asleep()
    looks = mortals.start(onlooker, Event(), lock)
    looks.until_asleep()
    go[0].raise_()
    first.result()
    held[1].wait()
    # Not sooner: who barges is in no order.
    last = mortals.start(hold_for_ever)
    last.until_asleep()
    go[1].raise_()
    second.result()
    held[2].wait()
    last.kill()
    assert looks.result() == [1]


def test_the_death_of_a_taker_of_a_lender_and_of_the_last_putter(mortals: Processes) -> None:
    jobs, room, stream = Queue(2, 8), Queue(1, 8), Queue(2, 8)
    ready, never = mortals.flag(), mortals.flag()
    jobs.put(b"job")

    def take() -> None:
        lease = jobs.take()
        ready.raise_()
        never.wait()
        del lease

    def lend() -> None:
        loan = room.loan(1)
        ready.raise_()
        never.wait()
        del loan

    def produce() -> None:
        with stream.putting():
            ready.raise_()
            never.wait()

    for work, what in ((take, jobs), (lend, room.room), (produce, stream)):
        worker = mortals.start(work)
        ready.wait()
        looks = [mortals.start(onlooker, Event(), what) for _ in range(2)]
        for one in looks:
            one.until_asleep()
        worker.kill()
        assert [one.result() for one in looks] == [[1]] * 2
    assert jobs.get_nowait() == b"job"
    room.put_nowait(b"a")
    with pytest.raises(PeerDiedError):
        stream.get_nowait()


@pytest.mark.parametrize("fairness", ["arrival", "priority"])
def test_the_unit_of_one_who_was_served_and_never_came(mortals: Processes, fairness: Any) -> None:
    units = Semaphore(0, fairness=fairness)
    direct = mortals.start(units.acquire)
    direct.until_asleep()
    looks = mortals.start(onlooker, Event(), units)
    looks.until_asleep()
    direct.stop()
    units.release()
    looks.until_asleep()
    direct.kill()
    assert looks.result() == [1]
    assert units.acquire_nowait()


@member
def test_an_onlooker_that_dies_keeps_nobody_back(mortals: Processes, kind: Kind) -> None:
    it = scene(mortals, kind)
    looks = [mortals.start(onlooker, Event(), it.seen) for _ in range(3)]
    for one in looks:
        one.until_asleep()
    looks[1].kill()
    it.change()
    assert [looks[0].result(), looks[2].result()] == [[1], [1]]
    it.take()


def test_the_bell_of_the_dead_is_taken_back_and_used_again(processes: Processes, private_space: Path) -> None:
    units = Semaphore.create("units", 0)
    try:
        looks = processes.start(onlooker, units)
        looks.until_asleep()
        assert watchers(private_space, "units") == 1
        looks.kill()
        assert watchers(private_space, "units") == 1
        units.release()
        assert watchers(private_space, "units") == 0
        assert units.acquire_nowait()
        # The next one gets that bell, and is rung.
        again = processes.start(onlooker, units)
        again.until_asleep()
        assert watchers(private_space, "units") == 1
        units.release()
        assert again.result() == [0]
        assert watchers(private_space, "units") == 0
    finally:
        units.unlink()


# ── crowds ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_as_many_queues_as_one_sleep_has_room_for(mortals: Processes) -> None:
    """Of each a baton and what was announced are slept on, and some lives."""
    queues = [Queue(2, 8) for _ in range(22)]
    taken, never = mortals.flag(), mortals.flag()
    queues[-1].put(b"job")

    def take() -> None:
        lease = queues[-1].take()
        taken.raise_()
        never.wait()
        del lease

    taker = mortals.start(take)
    taken.wait()
    looks = [mortals.start(onlooker, *queues) for _ in range(2)]
    for one in looks:
        one.until_asleep()
    taker.kill()
    assert [one.result() for one in looks] == [[21]] * 2


@pytest.mark.parametrize("place", [0, 499, 999])
def test_a_thousand_members(machine: World, place: int) -> None:
    """Several bear the same mark."""
    many, begins = [Event() for _ in range(1000)], machine.flag()

    def look() -> list[int]:
        begins.raise_()
        return onlooker(*many)

    looks = machine.start(look)
    begins.wait()
    many[place].set()
    assert looks.result() == [place]
    many[place - 1].set()
    assert machine.start(onlooker, *many).result() == sorted([place, (place - 1) % 1000])


def test_a_thousand_members_one_after_the_other(threads: Threads) -> None:
    many, answers = [Semaphore(0) for _ in range(1000)], Queue(4, 8)

    def serve() -> None:
        for _ in range(100):
            for one in wait_any(*many):
                one.acquire_nowait()
                answers.put(b"")

    server = threads.start(serve)
    for place in range(100):
        many[place * 7 % 1000].release()
        answers.get()
    server.result()


def test_a_hundred_onlookers(threads: Threads) -> None:
    """More bells than the table has at first, and than one word of bits holds."""
    units, never = Semaphore(0), Event()
    looks = [threads.start(onlooker, never, units) for _ in range(100)]
    for one in looks:
        one.until_asleep()
    units.release()
    assert [one.result() for one in looks] == [[1]] * 100


def test_threads_that_come_and_go_use_the_same_bells(threads: Threads) -> None:
    units = Semaphore(1)
    for _ in range(100):
        assert threads.start(onlooker, units, Event()).result() == [0]
        with pytest.raises(TimedOut):
            threads.start(partial(wait_any, Event(), timeout=0.0001)).result()


# ── spaces and forks ────────────────────────────────────────────────────────────────────────────────────────────────


@apart
def test_objects_of_two_spaces(directory: Path) -> None:
    world = Processes()
    other = Space(directory)
    try:
        for place in (0, 1, 2):
            here, there = Semaphore(0), Semaphore.create("there", 0, space=other)
            flags = Notification.create("flags", space=other)
            all_ = (here, there, flags)
            looks = world.start(onlooker, *all_)
            looks.until_asleep()
            (here.release, there.release, partial(flags.notify, 1))[place]()
            assert looks.result() == [place]
            there.unlink()
            flags.unlink()
            here.close()
    finally:
        world.close()


def test_objects_that_others_have_made(mortals: Processes) -> None:
    made, never = mortals.flag(), mortals.flag()

    def make(name: str) -> None:
        Queue.create(name, 2, 8)
        made.raise_()
        never.wait()

    names = [f"queue{number}" for number in range(3)]
    makers = [mortals.start(make, name) for name in names]
    for _ in names:
        made.wait()
    looks = mortals.start(lambda: onlooker(*(Queue.open(name) for name in names)))
    looks.until_asleep()
    makers[0].kill()
    looks.until_asleep()
    queue = Queue.open("queue2")
    queue.put(b"a")
    assert looks.result() == [2]
    for name in names:
        Queue.open(name).unlink()
    for maker in makers[1:]:
        maker.kill()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_while_another_thread_waits(threads: Threads) -> None:
    units, childs, answers = Semaphore(0), Semaphore(0), Queue(2, 8)
    looks = threads.start(onlooker, childs, units)
    looks.until_asleep()
    pid = os.fork()
    if pid == 0:
        try:
            # It has a bell of its own, and its parent's stays its parent's.
            answers.put(b"%d" % onlooker(Event(), childs)[0])
        finally:
            os._exit(0)
    until(lambda: sleeps_in_library(pid, pid), "the child's sleep")
    looks.until_asleep()
    childs.release()
    assert answers.get() == b"1"
    os.waitpid(pid, 0)
    assert looks.result() == [0]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_thread_that_has_a_bell_forks(processes: Processes) -> None:
    units = Semaphore(1)

    def run() -> list[int]:
        first = onlooker(units, Event())
        with pytest.raises(TimedOut):
            wait_any(Event(), timeout=0.001)
        pid = os.fork()
        if pid == 0:
            select(child.wait)
            both.release()
            os._exit(0)
        until(lambda: sleeps_in_library(pid, pid), "the child's sleep")
        child.set()
        looks = onlooker(Event(), both)
        os.waitpid(pid, 0)
        return first + looks

    child, both = Event(), Semaphore(0)
    assert processes.start(run).result() == [0, 1]
