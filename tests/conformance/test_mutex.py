"""Mutex: what Zephyr's suite asserts of `k_mutex` but for priorities, and what the API adds."""

import mmap
import os
import pickle
import random
import re
import signal
import threading
import time

import pytest

from tests.conformance.backends import SOON, Actor, Processes, Threads, disturbed
from underpass import ClosedError, MismatchError, MisuseError, Mutex, TimedOut, WouldBlock

World = Threads | Processes


class Held:
    """A mutex that an actor holds until it is told to go on."""

    def __init__(self, world: World, mutex: Mutex) -> None:
        self.mutex, self._taken, self._go = mutex, world.flag(), world.flag()
        self.owner: Actor[None] = world.start(self._hold)
        self._taken.wait()

    def _hold(self) -> None:
        self.mutex.acquire()
        self._taken.raise_()
        self._go.wait()
        self.mutex.release()

    def release(self) -> None:
        self._go.raise_()
        self.owner.result()


# ── taking and giving ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("timeout", [-1, -1e-9, float("nan")])
def test_timeout_that_is_no_time_is_refused(timeout: float) -> None:
    mutex = Mutex()
    for verb in (mutex.acquire, mutex.holding, mutex.recovering):
        with pytest.raises(ValueError, match="timeout="):
            verb(timeout=timeout)
    assert mutex.owner is None


def test_arguments_are_keyword_only() -> None:
    with pytest.raises(TypeError):
        Mutex(True)  # noqa: FBT003  # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError):
        Mutex().acquire(1.0)  # pyright: ignore[reportCallIssue]


def test_acquire_forever_without_waiting_and_in_time(world: World) -> None:
    mutex = Mutex()
    assert mutex.acquire() is True
    mutex.release()
    assert mutex.acquire_nowait() is True
    mutex.release()
    assert mutex.acquire(timeout=1) is True
    assert mutex.statistics().state == "held"
    blocked = world.start(mutex.acquire)
    blocked.until_asleep()
    mutex.release()
    assert blocked.result() is True


def test_acquire_of_a_held_one_fails_without_waiting_and_after_its_time(world: World) -> None:
    mutex = Mutex()
    held = Held(world, mutex)
    with pytest.raises(WouldBlock):
        mutex.acquire_nowait()
    for timeout in (0, 1e-9, 0.0001, SOON):
        start = time.monotonic()
        with pytest.raises(TimedOut, match=f"within {timeout:g} s|within") as caught:
            mutex.acquire(timeout=timeout)
        assert time.monotonic() - start >= timeout
        assert caught.value.phase == "wait"
    held.release()
    assert mutex.acquire_nowait() is True
    mutex.release()


def test_timeout_that_passes_takes_it_when_it_is_released(world: World) -> None:
    mutex = Mutex()
    mutex.acquire()
    waiter = world.start(lambda: mutex.acquire(timeout=20))
    waiter.until_asleep()
    mutex.release()
    assert waiter.result() is True


def test_release_wakes_one_after_the_other(world: World) -> None:
    mutex = Mutex()
    mutex.acquire()

    def visit() -> bool:
        with mutex.holding(timeout=20):
            return True

    waiters = [world.start(visit) for _ in range(4)]
    for waiter in waiters:
        waiter.until_asleep()
    mutex.release()
    assert all(waiter.result() for waiter in waiters)
    assert mutex.owner is None


def test_one_at_a_time(world: World) -> None:
    mutex, memory, turns, workers = Mutex(), mmap.mmap(-1, mmap.PAGESIZE), world.times(2_000), 4

    def count() -> None:
        for _ in range(turns):
            with mutex:
                value = int.from_bytes(memory[:8], "little")
                memory[:8] = (value + 1).to_bytes(8, "little")

    for actor in [world.start(count) for _ in range(workers)]:
        actor.result()
    assert int.from_bytes(memory[:8], "little") == turns * workers
    memory.close()


def test_contention_with_all_sorts_of_times_leaves_it_free(world: World) -> None:
    mutex, times = Mutex(recursive=True), world.times(500)

    def churn(seed: int) -> int:
        dice, late = random.Random(seed), 0
        for _ in range(times):
            try:
                mutex.acquire(timeout=dice.choice([0, 1e-5, 1e-4, None]))
            except TimedOut:
                late += 1
            else:
                if dice.random() < 0.3:
                    with mutex.recovering() as died:
                        assert died is None
                mutex.release()
        return late

    for actor in [world.start(churn, seed) for seed in range(6)]:
        assert 0 <= actor.result() <= times
    assert mutex.owner is None
    assert mutex.statistics().state != "owner died"


def named(owner: Actor[None]) -> str:
    """How the texts of this process call it."""
    if owner.pid == os.getpid():
        return f"thread {owner.tid} of this process"
    return f"pid {owner.pid}" if owner.tid == owner.pid else f"pid {owner.pid} (thread {owner.tid})"


# ── who may release, and who may not ────────────────────────────────────────────────────────────────────────────────


def test_release_of_a_free_one_is_misuse() -> None:
    mutex = Mutex()
    with pytest.raises(MisuseError, match="nobody holds it"):
        mutex.release()
    mutex.acquire()
    mutex.release()
    with pytest.raises(MisuseError, match="nobody holds it"):
        mutex.release()


def test_release_by_a_stranger_is_misuse_and_names_the_owner(world: World) -> None:
    held = Held(world, Mutex.create("jobs.lock"))
    me = f"thread {threading.get_native_id()}" if held.owner.pid == os.getpid() else f"pid {os.getpid()}"
    with pytest.raises(MisuseError) as caught:
        held.mutex.release()
    assert str(caught.value) == (
        f"mutex 'jobs.lock' not released: it is held by {named(held.owner)}, and this is {me}: only its owner releases it"
    )
    assert held.mutex.statistics().state == "held"
    held.release()
    held.mutex.unlink()


def test_second_acquire_of_its_owner_is_misuse_at_once() -> None:
    mutex = Mutex()
    with mutex:
        for again in (mutex.acquire, mutex.acquire_nowait, mutex.holding().__enter__, mutex.recovering().__enter__):
            with pytest.raises(MisuseError, match="holds it already"):
                again()
    assert mutex.owner is None


def test_recursive_one_is_free_at_the_last_release(world: World) -> None:
    mutex = Mutex(recursive=True)
    mutex.acquire()
    assert mutex.acquire_nowait() is True
    with mutex, mutex.holding(), mutex.recovering() as died:
        assert died is None
        waiter = world.start(mutex.acquire)
        waiter.until_asleep()
    mutex.release()
    with pytest.raises(TimedOut):
        world.start(lambda: mutex.acquire(timeout=SOON)).result()
    assert not waiter.ended
    mutex.release()
    assert waiter.result() is True
    with pytest.raises(MisuseError):
        mutex.release()


def test_second_handle_is_the_same_owner() -> None:
    mutex = Mutex.create("twice", recursive=True)
    other = Mutex.open("twice")
    mutex.acquire()
    other.acquire()
    mutex.release()
    other.release()
    assert mutex.owner is None
    mutex.unlink()


# ── with blocks ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_exception_leaves_it_free() -> None:
    mutex = Mutex()
    for block in (mutex, mutex.holding(), mutex.recovering(timeout=1)):
        with pytest.raises(KeyError), block:
            raise KeyError
        assert mutex.owner is None
        assert mutex.acquire_nowait()
        mutex.release()


def test_block_is_not_entered_after_its_time(world: World) -> None:
    mutex = Mutex()
    held = Held(world, mutex)
    for block in (mutex.holding(timeout=SOON), mutex.recovering(timeout=SOON)):
        with pytest.raises(TimedOut), block:
            raise AssertionError
    held.release()


def test_with_gives_the_mutex() -> None:
    mutex = Mutex()
    with mutex as same:
        assert same is mutex


def test_block_ends_although_the_handle_was_closed() -> None:
    mutex = Mutex.create("closing")
    other = Mutex.open("closing")
    with mutex:
        mutex.close()
    assert other.acquire_nowait()
    other.release()
    other.unlink()


# ── owner, texts and the rest ───────────────────────────────────────────────────────────────────────────────────────


def test_owner_is_who_holds_it(world: World) -> None:
    mutex = Mutex()
    assert mutex.owner is None
    held = Held(world, mutex)
    owner = mutex.owner
    assert owner is not None
    assert (owner.pid, owner.tid) == (held.owner.pid, held.owner.tid)
    assert f"pid {owner.pid}, tid {owner.tid}, uid" in repr(owner)
    assert (owner.uid, owner.gid) == (os.getuid(), os.getgid())
    assert owner.alive
    held.release()
    assert mutex.owner is None


def test_time_out_says_who_holds_it_and_since_when(world: World) -> None:
    held = Held(world, Mutex.create("jobs.lock"))
    before = time.monotonic()
    with pytest.raises(TimedOut):
        held.mutex.acquire(timeout=0.3)
    with pytest.raises(TimedOut) as caught:
        held.mutex.acquire(timeout=0.2)
    waited = time.monotonic() - before
    name = named(held.owner)
    said = re.fullmatch(
        rf"mutex 'jobs\.lock' not acquired within 0\.2 s: held by {re.escape(name)} for at least ([\d.]+) s",
        str(caught.value),
    )
    assert said, str(caught.value)
    # It counts from when the first of the two announced itself, a moment after it came.
    assert 0.4 <= float(said[1]) <= waited
    held.release()
    held.mutex.unlink()


def test_nobody_waited_so_no_time_is_claimed(world: World) -> None:
    held = Held(world, Mutex())
    with pytest.raises(WouldBlock, match=f"held by {re.escape(named(held.owner))}$"):
        held.mutex.acquire_nowait()
    held.release()


def test_ctrl_c_ends_a_wait_and_holds_nothing(processes: Processes) -> None:
    mutex = Mutex()
    mutex.acquire()
    waiter = processes.start(mutex.acquire)
    waiter.until_asleep()
    waiter.signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        waiter.result()
    mutex.release()
    assert mutex.acquire_nowait()
    mutex.release()


def test_wait_goes_on_after_a_handler(threads: Threads) -> None:
    mutex = Mutex()
    held = Held(threads, mutex)
    assert disturbed(threads, mutex.acquire, held.release) is True
    mutex.release()


def test_closed_handle_refuses_and_others_go_on() -> None:
    mutex = Mutex.create("door")
    other = Mutex.open("door")
    mutex.close()
    mutex.close()
    for use in (mutex.acquire, mutex.acquire_nowait, mutex.holding().__enter__, mutex.recovering().__enter__):
        with pytest.raises(ClosedError, match="'door'"):
            use()
    with pytest.raises(ClosedError):
        pickle.dumps(mutex)
    assert other.acquire_nowait()
    other.release()
    other.unlink()


def test_open_or_create_refuses_another_kind_of_mutex() -> None:
    mutex = Mutex.open_or_create("once", recursive=True)
    assert Mutex.open_or_create("once", recursive=True).statistics().recursive
    with pytest.raises(
        MismatchError,
        match=r"exists with recursive=True, fairness='barging', .*, and recursive=False, fairness='barging', .* was",
    ):
        Mutex.open_or_create("once")
    mutex.unlink()


def test_repr_says_name_owner_and_state(world: World) -> None:
    mutex = Mutex.create("group/door")
    assert repr(mutex) == "<Mutex 'group/door', free>"
    held = Held(world, mutex)
    waiter = world.start(lambda: mutex.acquire(timeout=20) and mutex.release())
    waiter.until_asleep()
    assert re.fullmatch(
        rf"<Mutex 'group/door', held by {re.escape(named(held.owner))} for at least [\d.]+ s, waiters 1>",
        repr(mutex),
    )
    held.release()
    waiter.result()
    mutex.close()
    assert repr(mutex) == "<Mutex 'group/door', free, closed>"
    mutex.unlink()


def test_statistics_are_a_frozen_snapshot() -> None:
    mutex = Mutex(recursive=True)
    before = mutex.statistics()
    with mutex:
        during = mutex.statistics()
    assert (before.state, before.recursive, before.waiters) == ("free", True, 0)
    assert during.state == "held"
    with pytest.raises(AttributeError):
        before.waiters = 1  # pyright: ignore[reportAttributeAccessIssue]


def test_pickled_handle_is_the_same_mutex() -> None:
    mutex = Mutex()
    other: Mutex = pickle.loads(pickle.dumps(mutex))  # noqa: S301 - our own bytes
    with other, pytest.raises(MisuseError, match="holds it already"):
        mutex.acquire_nowait()
    mutex.unlink()
