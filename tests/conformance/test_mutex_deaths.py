"""Mutex: an owner that dies, and what those who come after it find. No wake comes late: the re-check is off."""

import os
import pickle
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.conformance.backends import SOON, Actor, Processes, Threads, until
from underpass import MisuseError, Mutex, OwnerDiedError, TimedOut, WouldBlock

World = Threads | Processes


def left_behind(world: World, mutex: Mutex) -> Actor[None]:
    """An actor that ends while it holds the mutex."""

    def leave() -> None:
        mutex.acquire()

    actor = world.start(leave)
    actor.result()
    until(lambda: mutex.statistics().state == "owner died", "the death of the owner")
    return actor


def late(owner: Actor[None]) -> str:
    """How the texts of this process tell its end."""
    return f"thread {owner.tid} of this process, ended" if owner.pid == os.getpid() else f"pid {owner.pid}, died"


def wait_and_tell(mutex: Mutex, timeout: float | None = None) -> OwnerDiedError | None:
    """What a wait for the mutex ends with; None: it was held, and released."""
    try:
        with mutex.holding(timeout=timeout):
            return None
    except OwnerDiedError as error:
        return error


def fail_to_repair(mutex: Mutex, inside: Callable[[], object] = lambda: None) -> int:
    """Who died, according to a recovery that does something and ends by an exception."""
    pids: list[int] = []
    with suppress(ZeroDivisionError), mutex.recovering() as died:
        assert died is not None
        pids.append(died.pid)
        inside()
        raise ZeroDivisionError
    return pids[0]


class Mortal:
    """A mutex whose owner holds it until it is told to end."""

    def __init__(self, world: World, mutex: Mutex) -> None:
        self._mutex, self._taken, self._go = mutex, world.flag(), world.flag()
        self.owner = world.start(self._hold)
        self._taken.wait()

    def _hold(self) -> None:
        self._mutex.acquire()
        self._taken.raise_()
        self._go.wait()

    def die(self) -> None:
        self._go.raise_()
        self.owner.result()


def test_end_of_its_owner_makes_every_acquire_raise(world: World) -> None:
    mutex = Mutex.create("jobs.lock")
    dead = left_behind(world, mutex)
    for _ in range(2):
        for acquire in (mutex.acquire, mutex.acquire_nowait, mutex.__enter__, mutex.holding(timeout=0).__enter__):
            with pytest.raises(OwnerDiedError) as caught:
                acquire()
            assert str(caught.value) == (
                f"mutex 'jobs.lock' not acquired: its owner, {late(dead)} while holding it, so what it protects "
                "may be half changed: enter it with recovering(), repair, and go on"
            )
            assert (caught.value.pid, caught.value.name, caught.value.held_for) == (dead.pid, "jobs.lock", None)
    with pytest.raises(MisuseError, match=r"its owner, .*, has (died|ended)"):
        mutex.release()
    mutex.unlink()


@pytest.mark.parametrize("timeout", [0, 1e-9, 1e-6, SOON, None])
def test_death_is_told_whatever_the_time_is(world: World, timeout: float | None) -> None:
    mutex = Mutex()
    left_behind(world, mutex)
    with pytest.raises(OwnerDiedError):
        mutex.acquire(timeout=timeout)


def test_all_who_wait_are_told(world: World) -> None:
    mutex = Mutex()
    mortal = Mortal(world, mutex)
    waiters = [world.start(wait_and_tell, mutex, timeout) for timeout in (None, 20, None, 20, None)]
    for waiter in waiters:
        waiter.until_asleep()
    mortal.die()
    for waiter in waiters:
        told = waiter.result()
        assert told is not None
        assert told.pid == mortal.owner.pid


def test_for_how_long_it_was_held_is_told(machine: World) -> None:
    mutex = Mutex()
    mortal = Mortal(machine, mutex)
    waiter = machine.start(wait_and_tell, mutex)
    waiter.until_asleep()
    time.sleep(SOON)  # not a synchronisation: so long it has been held at least
    mortal.die()
    told = waiter.result()
    assert told is not None
    assert told.held_for is not None
    assert told.held_for >= SOON


def test_those_who_wait_behind_the_second_owner_are_told(world: World) -> None:
    """All came when another held it; the one that was woken when the second barged in gives up before that one ends."""
    mutex, taken, go = Mutex(), world.flag(), world.flag()
    mutex.acquire()

    def barge_in_and_end() -> None:
        taken.raise_()
        go.wait()
        while True:
            try:
                mutex.acquire_nowait()
            except WouldBlock:
                continue
            except OwnerDiedError:
                return
            break
        taken.raise_()
        go.wait()

    def give_up() -> bool:
        try:
            with mutex.holding(timeout=1):
                return True
        except (TimedOut, OwnerDiedError):
            return False

    second = world.start(barge_in_and_end)
    taken.wait()
    impatient = world.start(give_up)
    # On a slow machine its time may be over before anybody looks.
    until(lambda: impatient.asleep or impatient.ended, "its sleep")
    waiters = [world.start(wait_and_tell, mutex) for _ in range(2)]
    for waiter in waiters:
        waiter.until_asleep()
    go.raise_()
    mutex.release()
    taken.wait()
    impatient.result()
    go.raise_()
    second.result()
    # One that was quick may have had its turn before the second owner.
    for waiter in waiters:
        told = waiter.result()
        assert told is None or told.pid == second.pid


def test_recovery_that_ends_well_frees_it(world: World) -> None:
    mutex = Mutex()
    dead = left_behind(world, mutex)
    with mutex.recovering() as died:
        assert died is not None
        assert died.pid == dead.pid
        assert mutex.owner is not None
        assert mutex.owner.pid == os.getpid()
    assert mutex.owner is None
    with mutex.recovering() as died:
        assert died is None
    assert mutex.acquire_nowait()
    mutex.release()


def test_recovery_that_fails_leaves_it_to_the_next(world: World) -> None:
    mutex = Mutex()
    dead = left_behind(world, mutex)
    for _ in range(3):
        assert fail_to_repair(mutex) == dead.pid
        with pytest.raises(OwnerDiedError) as caught:
            mutex.acquire_nowait()
        assert caught.value.pid == dead.pid
        assert mutex.owner is not None
        assert not mutex.owner.alive
    with mutex.recovering():
        pass
    assert mutex.acquire_nowait()
    mutex.release()


@pytest.mark.parametrize("ends", ["well", "by an exception"])
def test_who_waits_for_a_recovery_gets_what_it_ends_with(world: World, ends: str) -> None:
    mutex = Mutex()
    left_behind(world, mutex)
    waiters: list[Actor[OwnerDiedError | None]] = []

    def gather() -> None:
        waiters.extend(world.start(wait_and_tell, mutex) for _ in range(3))
        for waiter in waiters:
            waiter.until_asleep()

    if ends == "well":
        with mutex.recovering():
            gather()
    else:
        fail_to_repair(mutex, gather)
    assert [waiter.result() is None for waiter in waiters] == [ends == "well"] * 3


def test_recoverers_that_wait_take_turns(world: World) -> None:
    mutex = Mutex()
    mortal = Mortal(world, mutex)

    def recover() -> int:
        with mutex.recovering() as died:
            return died.pid if died else 0

    waiters = [world.start(recover) for _ in range(3)]
    for waiter in waiters:
        waiter.until_asleep()
    mortal.die()
    assert sorted(waiter.result() for waiter in waiters) == [0, 0, mortal.owner.pid]


def test_release_inside_a_recovery_is_misuse(world: World) -> None:
    mutex = Mutex()
    left_behind(world, mutex)
    with mutex.recovering() as died:
        assert died is not None
        with pytest.raises(MisuseError, match="leave the block"):
            mutex.release()
        assert mutex.statistics().state == "held"
    assert mutex.owner is None


def test_recursion_inside_a_recovery(world: World) -> None:
    mutex = Mutex(recursive=True)
    left_behind(world, mutex)

    def nest() -> None:
        with mutex, mutex.recovering() as again:
            assert again is None

    fail_to_repair(mutex, nest)
    with pytest.raises(OwnerDiedError):
        mutex.acquire()
    with mutex.recovering():
        mutex.acquire()
        mutex.release()
    assert mutex.owner is None


def test_depth_of_the_dead_is_not_inherited(world: World) -> None:
    mutex = Mutex(recursive=True)

    def leave() -> None:
        for _ in range(3):
            mutex.acquire()

    world.start(leave).result()
    until(lambda: mutex.statistics().state == "owner died", "the death of the owner")
    with mutex.recovering():
        pass
    assert mutex.owner is None


def test_texts_and_attributes_cross_a_pickle(world: World) -> None:
    mutex = Mutex.create("jobs.lock")
    dead = left_behind(world, mutex)
    with mutex.recovering() as died:
        assert str(died) == (
            f"mutex 'jobs.lock' taken over: its owner, {late(dead)} while holding it, so what it protects may be "
            "half changed: repair it before this block ends"
        )
        same: OwnerDiedError = pickle.loads(pickle.dumps(died))  # noqa: S301 - our own bytes
    assert (str(same), same.pid, same.name) == (str(died), dead.pid, "jobs.lock")
    mutex.unlink()


def test_forked_child_does_not_hold_its_parents(processes: Processes) -> None:
    mutex = Mutex()
    mutex.acquire()

    def child() -> str:
        with pytest.raises(TimedOut):
            mutex.acquire(timeout=SOON)
        with pytest.raises(MisuseError) as caught:
            mutex.release()
        return str(caught.value)

    actor = processes.start(child)
    text = actor.result()
    assert f"it is held by pid {os.getpid()}, and this is pid {actor.pid}" in text
    assert mutex.statistics().state != "owner died"
    mutex.release()
    assert mutex.acquire_nowait()
    mutex.release()


def test_block_that_a_fork_leaves_in_the_child_raises(processes: Processes) -> None:
    mutex = Mutex()
    with mutex:
        result: Actor[str] = processes.start(_leave_block, mutex.__exit__)
        assert "only its owner releases it" in result.result()
    assert mutex.owner is None


def _leave_block(leave: Callable[..., None]) -> str:
    with pytest.raises(MisuseError) as caught:
        leave(None, None, None)
    return str(caught.value)
