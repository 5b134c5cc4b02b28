"""Threads with real-time priorities, on one processor, and what the kernel says of them."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.conformance.backends import Actor, Processes, Threads, until
from underpass import Mutex, TimedOut

World = Threads | Processes

# What the kernel calls a thread without a real-time priority; with one of n it says -1 - n.
ORDINARY = 0


def urgent(priority: int) -> None:
    """Have the calling thread be of SCHED_FIFO, with this priority; 0: as threads are otherwise."""
    policy = os.SCHED_FIFO if priority else os.SCHED_OTHER
    os.sched_setscheduler(0, policy, os.sched_param(priority))


def allowed() -> bool:
    """Say whether this process may use SCHED_FIFO."""
    try:
        urgent(1)
    except PermissionError:
        return False
    urgent(0)
    return True


def priority_of(actor: Actor[Any]) -> int:
    """With which real-time priority the kernel runs it just now, which may be lent; 0: with none."""
    stat = Path(f"/proc/{actor.pid}/task/{actor.tid}/stat").read_text()
    told = int(stat.rpartition(")")[2].split()[15])
    return -1 - told if told < 0 else ORDINARY


def until_priority(actor: Actor[Any], priority: int) -> None:
    """Wait until the kernel runs it so."""
    until(lambda: priority_of(actor) == priority, f"priority {priority} of {actor}")


class Owner:
    """Somebody who holds mutexes, and gives the last one back whenever it is told to."""

    def __init__(self, world: World, priority: int, *mutexes: Mutex, then: Mutex | None = None) -> None:
        self.held, self.go, self.gone = world.flag(), world.flag(), world.flag()
        self.actor: Actor[None] = world.start(partial(self._own, priority, mutexes, then))
        self.held.wait()

    def _own(self, priority: int, mutexes: tuple[Mutex, ...], then: Mutex | None) -> None:
        urgent(priority)
        for mutex in mutexes:
            mutex.acquire()
        self.held.raise_()
        if then is not None:
            then.acquire()
            then.release()
        for mutex in reversed(mutexes):
            self.go.wait()
            mutex.release()
            self.gone.raise_()

    def release(self) -> None:
        """Have it give one back."""
        self.go.raise_()
        self.gone.wait()


def waiter(
    world: World, priority: int, mutex: Mutex, timeout: float | None = None, done: Callable[[], object] = int
) -> Actor[bool]:
    """Somebody who waits with that priority: true if it had the mutex, and false if its time ran out."""

    def wait() -> bool:
        urgent(priority)
        try:
            with mutex.holding(timeout=timeout):
                done()
        except TimedOut:
            return False
        return True

    actor = world.start(wait)
    actor.until_asleep()
    return actor
