"""Owners of a mutex that are killed, stopped, or replaced by exec: whoever waits is told, by the kernel's word alone."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tests.conformance.backends import Actor, ProcessActor, Processes, until
from tests.crash.test_lives import ENDS
from underpass import Mutex, OwnerDiedError, TimedOut, _core

KILLS = 25
# The longest time a victim lives after it has begun, in seconds.
SPAN = 0.01
# A survivor that waits longer than this has been forgotten.
FORGOTTEN = 20.0


@pytest.fixture(autouse=True)
def no_recheck(request: pytest.FixtureRequest) -> Iterator[None]:
    """Turn the re-check off, but where two may die in one instant: that is its business."""
    _core.set_recheck(1.0 if "dice" in request.fixturenames else None)
    yield
    _core.set_recheck(1.0)


def tell(mutex: Mutex) -> int:
    """Who died, or 0 if it was held."""
    try:
        with mutex:
            return 0
    except OwnerDiedError as error:
        return error.pid


class Victim:
    """A process that holds the mutex until its end."""

    def __init__(self, processes: Processes, mutex: Mutex, end: Callable[[], object] | None = None) -> None:
        self._mutex, self._end = mutex, end
        self._taken, self._go = processes.flag(), processes.flag()
        self.process: ProcessActor[None] = processes.start(self._hold)
        self._taken.wait()

    def _hold(self) -> None:
        self._mutex.acquire()
        self._taken.raise_()
        self._go.wait()
        if self._end:
            self._end()

    def go(self) -> None:
        self.process.killed = True
        self._go.raise_()


def asleep(processes: Processes, mutex: Mutex, count: int) -> list[Actor[int]]:
    waiters: list[Actor[int]] = [processes.start(tell, mutex) for _ in range(count)]
    for waiter in waiters:
        waiter.until_asleep()
    return waiters


@pytest.mark.parametrize("end", ENDS, ids=[end.__name__ for end in ENDS])
def test_all_who_wait_are_told_of_every_end(processes: Processes, end: Callable[[], None]) -> None:
    mutex = Mutex()
    victim = Victim(processes, mutex, end)
    waiters = asleep(processes, mutex, 5)
    victim.go()
    assert [waiter.result() for waiter in waiters] == [victim.process.pid] * 5
    victim.process.kill()


def test_all_who_wait_are_told_of_the_end_of_a_thread(processes: Processes) -> None:
    mutex = Mutex()

    def end_a_thread() -> None:
        thread = threading.Thread(target=lambda: (mutex.acquire(), taken.raise_(), go.wait()))
        thread.start()
        thread.join()
        stay.wait()

    taken, go, stay = processes.flag(), processes.flag(), processes.flag()
    owner = processes.start(end_a_thread)
    taken.wait()
    waiters = asleep(processes, mutex, 3)
    go.raise_()
    assert [waiter.result() for waiter in waiters] == [owner.pid] * 3
    assert not owner.ended
    stay.raise_()
    owner.result()


def test_killed_while_recovering(processes: Processes) -> None:
    mutex = Mutex()
    first = Victim(processes, mutex)
    first.process.kill()
    inside, never = processes.flag(), processes.flag()

    def recover() -> None:
        with mutex.recovering() as died:
            assert died is not None
            inside.raise_()
            never.wait()

    second = processes.start(recover)
    inside.wait()
    waiters = asleep(processes, mutex, 4)
    second.kill()
    assert [waiter.result() for waiter in waiters] == [second.pid] * 4
    with mutex.recovering() as died:
        assert died is not None
        assert died.pid == second.pid
    assert tell(mutex) == 0


def test_recoverers_that_are_killed_one_after_the_other(processes: Processes) -> None:
    mutex = Mutex()
    inside, never = processes.flag(), processes.flag()

    def recover() -> None:
        with mutex.recovering():
            inside.raise_()
            never.wait()

    for _ in range(4):
        victim = processes.start(recover)
        inside.wait()
        victim.kill()
        with pytest.raises(OwnerDiedError) as caught:
            mutex.acquire()
        assert caught.value.pid == victim.pid
    with mutex.recovering():
        pass
    assert tell(mutex) == 0


def test_waiter_that_is_killed_takes_nothing_with_it(processes: Processes) -> None:
    mutex = Mutex()
    mutex.acquire()
    doomed = processes.start(tell, mutex)
    doomed.until_asleep()
    waiters = asleep(processes, mutex, 2)
    doomed.kill()
    mutex.release()
    assert [waiter.result() for waiter in waiters] == [0, 0]


def test_stopped_owner_is_waited_for(processes: Processes) -> None:
    mutex = Mutex()
    victim = Victim(processes, mutex, mutex.release)
    victim.process.signal(signal.SIGSTOP)
    try:
        with pytest.raises(TimedOut, match=f"held by pid {victim.process.pid}"):
            mutex.acquire(timeout=0.05)
        assert mutex.owner is not None
        assert mutex.owner.alive
        waiters = asleep(processes, mutex, 2)
    finally:
        victim.process.signal(signal.SIGCONT)
    victim.go()
    assert [waiter.result() for waiter in waiters] == [0, 0]


def test_stopped_owner_that_is_killed_is_told(processes: Processes) -> None:
    mutex = Mutex()
    victim = Victim(processes, mutex)
    victim.process.signal(signal.SIGSTOP)
    waiters = asleep(processes, mutex, 3)
    victim.process.kill()
    assert [waiter.result() for waiter in waiters] == [victim.process.pid] * 3


def test_death_stays_known_when_its_place_is_used_again(processes: Processes) -> None:
    """More threads live and die than the table of lives has places at its start."""
    mutex, other = Mutex(), Mutex()
    victim = Victim(processes, mutex)
    waiter = processes.start(tell, mutex)
    waiter.until_asleep()
    victim.process.kill()
    assert waiter.result() == victim.process.pid

    def crowd() -> None:
        for _ in range(1200):
            thread = threading.Thread(target=lambda: other.acquire_nowait() and other.release())
            thread.start()
            thread.join()

    processes.start(crowd).result()
    assert tell(mutex) == victim.process.pid


def test_child_of_an_owner_ends_without_a_trace(processes: Processes) -> None:
    mutex = Mutex()
    with mutex:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        assert mutex.statistics().state != "owner died"
        waiter = processes.start(tell, mutex)
        waiter.until_asleep()
    assert waiter.result() == 0


def visit(mutex: Mutex, timeout: float, *, recovers: bool = False) -> None:
    """Hold it for a moment, after a repair if need be."""
    try:
        with mutex.recovering(timeout=timeout) if recovers else mutex.holding(timeout=timeout):
            pass
    except OwnerDiedError:
        visit(mutex, timeout, recovers=True)


def test_kills_at_random_instants(processes: Processes, dice: random.Random) -> None:
    """Victims acquire, recover and time out; survivors never wait in vain, and in the end one recovery frees it."""
    mutex = Mutex()

    def survive() -> None:
        for turn in range(400):
            visit(mutex, FORGOTTEN, recovers=turn % 4 == 0)

    def churn() -> None:
        while True:
            with suppress(TimedOut):
                visit(mutex, 0.001)

    survivors = [processes.start(survive) for _ in range(2)]
    running: list[ProcessActor[None]] = []
    for _ in range(KILLS):
        running.append(processes.start(churn))
        if len(running) > 2:
            time.sleep(dice.random() * SPAN)
            running.pop(0).kill()
    for left in running:
        left.kill()
    for survivor in survivors:
        survivor.result()
    with mutex.recovering(timeout=FORGOTTEN):
        pass
    assert mutex.acquire_nowait()
    mutex.release()
    until(lambda: mutex.owner is None)
