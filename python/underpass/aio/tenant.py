"""By which number a lock of readers and writers tells the tasks of one thread apart.

Invariant: while a task holds the lock or comes for it, no other task of its thread has its number there.
"""

from collections.abc import Generator
from contextlib import contextmanager
from itertools import count

from underpass import _loops, sync
from underpass.aio.running import reactor


class Tenant:
    """A task that is inside a lock, or on its way there."""

    __slots__ = ("blocks", "number")

    def __init__(self, number: int) -> None:
        self.number: int = number
        self.blocks: int = 0


@contextmanager
def tenancy(lock: sync.RWLock) -> Generator[int]:
    """Give the running task its number at the lock: the same one inside, until the outermost block has ended."""
    where, nonce = reactor(), _loops.nonce(lock)
    tenants: dict[object, Tenant] = where.tenants.setdefault(nonce, {})
    task = where.loop.task()
    tenant = tenants.get(task)
    if tenant is None:
        # What a loop before this one has left inside keeps its number.
        taken = {other.number for other in tenants.values()}.union(_loops.tasks_in_rwlock(lock))
        tenant = tenants[task] = Tenant(next(number for number in count(1) if number not in taken))
    tenant.blocks += 1
    try:
        yield tenant.number
    finally:
        tenant.blocks -= 1
        if not tenant.blocks:
            del tenants[task]
            if not tenants:
                where.tenants.pop(nonce, None)
