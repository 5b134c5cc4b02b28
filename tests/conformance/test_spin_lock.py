"""SpinLock: a mutex that is spun for, and an atomic section inside it."""

import gc
import pickle

import pytest

from tests.conformance.backends import SOON, Flag, Processes, Threads, until
from underpass import AtomicInt, MisuseError, NotFoundError, OwnerDiedError, Semaphore, TimedOut, WouldBlock
from underpass.sync import SpinLock, atomic_section

World = Threads | Processes


def test_one_holds_it_at_a_time(world: World) -> None:
    lock, inside, seen = SpinLock(), AtomicInt(), AtomicInt()

    def visit() -> None:
        for _ in range(20):
            with lock:
                seen.or_(inside.add(1))
                inside.sub(1)

    for actor in [world.start(visit) for _ in range(3)]:
        actor.result()
    assert seen.load() == 0
    assert lock.statistics().state == "free"


def hold(lock: SpinLock, taken: Semaphore, done: Flag) -> None:
    """Take it, say so, and keep it for a while; a flag of the tests is nothing that the library sees."""
    with lock:
        taken.release()
        done.wait()


def test_who_spins_in_vain_sleeps(world: World) -> None:
    lock, taken, done = SpinLock(), Semaphore(0), world.flag()
    holder = world.start(hold, lock, taken, done)
    taken.acquire()
    waiter = world.start(lambda: lock.acquire() and lock.release())
    waiter.until_asleep()
    assert lock.statistics().waiters >= 1
    with pytest.raises(WouldBlock, match="held by"):
        lock.acquire_nowait()
    with pytest.raises(TimedOut, match=rf"not acquired within {SOON} s: held by"):
        lock.acquire(timeout=SOON)
    done.raise_()
    holder.result()
    waiter.result()
    assert lock.acquire() is True
    lock.release()


def test_nothing_waits_inside(world: World) -> None:
    lock, other, units = SpinLock(), SpinLock(), Semaphore(2)

    def visit() -> None:
        with lock:
            with pytest.raises(MisuseError, match=r"acquire may wait, and this thread holds (anonymous )?spinlock"):
                units.acquire()
            units.acquire_nowait()
            with pytest.raises(MisuseError, match="acquire may wait"):
                other.acquire()
            assert other.acquire_nowait()
            other.release()
            with pytest.raises(MisuseError, match="acquire may wait"):
                units.acquire()
        units.acquire()

    world.start(visit).result()
    assert units.value == 0


def test_it_is_taken_in_an_atomic_section_if_it_is_free() -> None:
    lock = SpinLock()
    with atomic_section():
        with pytest.raises(MisuseError, match="atomic_section"):
            lock.acquire()
        with lock.holding(timeout=0):
            pass


def test_its_owner_cannot_take_it_again() -> None:
    lock = SpinLock()
    with lock:
        for take in (lock.acquire, lock.acquire_nowait, lambda: lock.acquire(timeout=0), lock.holding().__enter__):
            with pytest.raises(MisuseError, match="this thread holds it already and would wait for itself"):
                take()
        with pytest.raises(MisuseError, match="this thread holds it already"):
            lock.recovering().__enter__()
    assert lock.owner is None


def test_who_does_not_hold_it_is_told_who_does(world: World) -> None:
    lock, taken, done = SpinLock(), Semaphore(0), world.flag()
    with pytest.raises(MisuseError, match="nobody holds it"):
        lock.release()
    holder = world.start(hold, lock, taken, done)
    taken.acquire()
    assert lock.owner is not None
    assert lock.owner.pid == holder.pid
    with pytest.raises(MisuseError, match=r"it is held by .* only its owner releases it"):
        lock.release()
    done.raise_()
    holder.result()


def test_two_are_left_in_any_order() -> None:
    first, second, units = SpinLock(), SpinLock(), Semaphore(1)
    first.acquire()
    second.acquire_nowait()
    first.release()
    with pytest.raises(MisuseError):
        units.acquire()
    second.release()
    units.acquire()


def test_another_handle_of_it_ends_the_section() -> None:
    lock = SpinLock.create("lock")
    other = SpinLock.open("lock")
    lock.unlink()
    lock.acquire()
    other.release()
    Semaphore(1).acquire()


def test_a_lock_that_was_not_acquired_makes_no_section(world: World) -> None:
    lock, taken, done, units = SpinLock(), Semaphore(0), world.flag(), Semaphore(2)
    holder = world.start(hold, lock, taken, done)
    taken.acquire()
    with pytest.raises(WouldBlock):
        lock.acquire_nowait()
    units.acquire()
    done.raise_()
    holder.result()


# ── deaths ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_death_of_its_owner_is_told_until_it_is_repaired(mortals: Processes) -> None:
    lock, taken, done = SpinLock(), Semaphore(0), mortals.flag()
    holder = mortals.start(hold, lock, taken, done)
    taken.acquire()

    def wait() -> int:
        with pytest.raises(OwnerDiedError) as caught:
            lock.acquire()
        Semaphore(1).acquire()
        return caught.value.pid

    waiter = mortals.start(wait)
    waiter.until_asleep()
    holder.kill()
    assert waiter.result() == holder.pid
    assert lock.statistics().state == "owner died"
    with pytest.raises(OwnerDiedError, match="half changed"):
        lock.acquire_nowait()
    with pytest.raises(ZeroDivisionError), lock.recovering():
        _ = 1 // 0
    with lock.recovering(timeout=1) as died:
        assert died is not None
        assert died.pid == holder.pid
        with pytest.raises(MisuseError, match="holds"):
            Semaphore(1).acquire()
    Semaphore(1).acquire()
    with lock.recovering() as nobody:
        assert nobody is None


def test_a_thread_that_ends_with_it_is_told(threads: Threads) -> None:
    lock = SpinLock()
    threads.start(lock.acquire).result()
    until(lambda: lock.statistics().state == "owner died", "the end of the thread")
    Semaphore(1).acquire()
    with pytest.raises(OwnerDiedError, match="of this process, ended"):
        lock.acquire()


def test_a_forked_child_holds_nothing(processes: Processes) -> None:
    lock = SpinLock()

    def child() -> bool:
        with pytest.raises(MisuseError, match="it is held by"):
            lock.release()
        return Semaphore(1).acquire()

    with lock:
        actor = processes.start(child)
        until(lambda: actor.ended, "the child's end")
    assert actor.result() is True


# ── handles ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_names_and_handles(world: World) -> None:
    lock = SpinLock.create("lock")
    try:
        again = pickle.loads(pickle.dumps(lock))  # noqa: S301 - our own bytes
        with again:
            assert world.start(lambda: SpinLock.open_or_create("lock").statistics().state).result() == "held"
        assert repr(lock) == "<SpinLock 'lock', free>"
        assert repr(lock.statistics()) == "SpinLockStatistics(state='free', waiters=0)"
    finally:
        lock.unlink()
    with pytest.raises(NotFoundError):
        SpinLock.open("lock")


def test_a_handle_that_was_closed_while_it_was_held_releases() -> None:
    lock = SpinLock()
    lock.acquire()
    lock.close()
    lock.release()
    Semaphore(1).acquire()
    del lock
    gc.collect()


def test_the_error_of_a_named_one_names_it() -> None:
    lock = SpinLock.create("ledger")
    lock.unlink()
    with lock, pytest.raises(MisuseError, match="this thread holds spinlock 'ledger': pass timeout=0"):
        Semaphore(1).acquire()
