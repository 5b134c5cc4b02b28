"""Mutex that lends: what the death of an owner, of a waiter, and of one it was handed to means to the others."""

import ctypes
import os

import pytest

from tests.conformance.backends import Processes, Threads, until
from underpass import MisuseError, Mutex, OwnerDiedError

World = Threads | Processes

CLONE_NEWPID = 0x20000000


def lending() -> Mutex:
    return Mutex(inherit_priority=True)


def test_owner_dies_while_nobody_waits(world: World) -> None:
    mutex = lending()
    dead = world.start(lambda: mutex.acquire() and None)
    dead.result()
    until(lambda: mutex.statistics().state == "owner died", "the death of the owner")
    with pytest.raises(OwnerDiedError) as caught:
        mutex.acquire()
    assert caught.value.pid == dead.pid
    with pytest.raises(OwnerDiedError):
        mutex.acquire_nowait()
    with mutex.recovering() as died:
        assert died is not None
        assert died.pid == dead.pid
    assert mutex.acquire_nowait()
    mutex.release()


def test_all_who_wait_for_the_dead_are_told(world: World) -> None:
    mutex, taken, go = lending(), world.flag(), world.flag()

    def die() -> None:
        mutex.acquire()
        taken.raise_()
        go.wait()

    dead = world.start(die)
    taken.wait()

    def wait() -> int:
        with pytest.raises(OwnerDiedError) as caught:
            mutex.acquire()
        return caught.value.pid

    waiters = [world.start(wait) for _ in range(3)]
    for waiter in waiters:
        waiter.until_asleep()
    go.raise_()
    dead.result()
    assert [waiter.result() for waiter in waiters] == [dead.pid] * 3
    with mutex.recovering() as died:
        assert died is not None
        assert died.pid == dead.pid
    assert mutex.acquire_nowait()
    mutex.release()


def test_killed_owner_is_told(mortals: Processes) -> None:
    mutex, taken = lending(), mortals.flag()
    owner = mortals.start(lambda: (mutex.acquire(), taken.raise_(), mortals.rest()))
    taken.wait()
    waiter = mortals.start(mutex.acquire)
    waiter.until_asleep()
    owner.kill()
    with pytest.raises(OwnerDiedError, match=f"{owner.pid}"):
        waiter.result()
    with mutex.recovering() as died:
        assert died is not None
        assert died.pid == owner.pid


def test_who_recovers_is_handed_what_the_dead_left(world: World) -> None:
    mutex, taken, go = lending(), world.flag(), world.flag()

    def die() -> None:
        mutex.acquire()
        taken.raise_()
        go.wait()

    dead = world.start(die)
    taken.wait()

    def repair() -> int:
        with mutex.recovering() as died:
            assert died is not None
            with pytest.raises(MisuseError, match="block has not ended"):
                mutex.release()
            return died.pid

    repairer = world.start(repair)
    repairer.until_asleep()
    go.raise_()
    dead.result()
    assert repairer.result() == dead.pid
    assert mutex.statistics().state == "free"


def test_recovery_that_fails_tells_those_behind_it(world: World) -> None:
    mutex = lending()
    dead = world.start(lambda: mutex.acquire() and None)
    dead.result()
    until(lambda: mutex.statistics().state == "owner died", "the death of the owner")

    def wait() -> int:
        with pytest.raises(OwnerDiedError) as caught:
            mutex.acquire()
        return caught.value.pid

    block = mutex.recovering()
    assert block.__enter__() is not None
    waiter = world.start(wait)
    waiter.until_asleep()
    block.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    assert waiter.result() == dead.pid
    assert mutex.statistics().state == "owner died"


def test_killed_waiter_is_passed_over(mortals: Processes) -> None:
    mutex = lending()
    mutex.acquire()
    waiters = [mortals.start(lambda: mutex.acquire() and mutex.release()) for _ in range(3)]
    for waiter in waiters:
        waiter.until_asleep()
    waiters[0].kill()
    mutex.release()
    for waiter in waiters[1:]:
        waiter.result()
    assert mutex.statistics().state == "free"


def test_one_it_was_handed_to_and_never_came_has_held_nothing(mortals: Processes) -> None:
    mutex = lending()
    mutex.acquire()
    first, second = (mortals.start(lambda: mutex.acquire() and mutex.release()) for _ in range(2))
    first.until_asleep()
    second.until_asleep()
    first.stop()
    mutex.release()
    first.kill()
    second.result()
    assert mutex.statistics().state == "free"


def test_what_the_dead_were_handed_is_there_for_who_comes_next(mortals: Processes) -> None:
    mutex = lending()
    mutex.acquire()
    waiter = mortals.start(mutex.acquire)
    waiter.until_asleep()
    waiter.stop()
    mutex.release()
    waiter.kill()
    assert mutex.acquire(timeout=None) is True
    assert mutex.statistics().state == "held"
    mutex.release()
    assert mutex.acquire_nowait()


def test_owner_dies_after_the_last_waiter_has_left(mortals: Processes) -> None:
    mutex, taken, go = lending(), mortals.flag(), mortals.flag()

    def die() -> None:
        mutex.acquire()
        taken.raise_()
        go.wait()

    dead = mortals.start(die)
    taken.wait()
    waiter = mortals.start(mutex.acquire)
    waiter.until_asleep()
    waiter.kill()
    go.raise_()
    dead.result()
    with pytest.raises(OwnerDiedError):
        mutex.acquire()
    with mutex.recovering() as died:
        assert died is not None
    with mutex:
        assert mutex.statistics().state == "held"


def test_another_pid_namespace_is_refused(processes: Processes) -> None:
    mutex = lending()
    with mutex:
        pass

    def elsewhere() -> str:
        if ctypes.CDLL(None).unshare(CLONE_NEWPID) != 0:
            return "not allowed"
        if (child := os.fork()) == 0:
            refused = 1
            try:
                mutex.acquire_nowait()
            except MisuseError as error:
                refused = 0 if "another pid namespace" in str(error) else 2
            finally:
                os._exit(refused)
        return f"refused: {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}"

    told = processes.start(elsewhere).result()
    if told == "not allowed":
        pytest.skip("this process may not make a pid namespace: give it CAP_SYS_ADMIN")
    assert told == "refused: 0"
