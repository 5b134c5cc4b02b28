"""`underpass.RWLock`, awaitable, and held by a task."""

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Literal

from underpass import _loops, sync
from underpass.aio.face import Face
from underpass.aio.running import reactor
from underpass.aio.tenant import tenancy
from underpass.errors import OwnerDiedError
from underpass.memory import Space

Prefer = Literal["writers", "readers", "arrival"]


class RWLock(Face[sync.RWLock]):
    """A lock of readers and writers for coroutines: ``aio.RWLock()``, or ``lock.aio``.

    Whoever reads or writes is a task, beside threads and tasks of whichever processes, and takes one of the 63 places of readers. A
    task that waits has a place in the line of its own, as a thread has, and is let in in its turn: a task that waits to write holds
    back readers that come after it, also those of its own loop. For everybody else a task dies with its thread. Within one loop use
    the face throughout: a blocking verb knows the thread, and refuses to wait for one of its tasks.

    Example:
        >>> import asyncio, underpass.aio
        >>> async def main():
        ...     table = underpass.aio.RWLock()
        ...     async with table.writing() as died:
        ...         if died:
        ...             print("repair what pid", died.pid, "left")
        ...         return table.statistics().state
        >>> asyncio.run(main())
        'written'
    """

    __slots__ = ()

    def __init__(self, *, prefer: Prefer = "writers") -> None:
        super().__init__(sync.RWLock(prefer=prefer))

    @classmethod
    def create(
        cls, name: str, *, prefer: Prefer = "writers", space: Space | None = None, mode: int | None = None
    ) -> "RWLock":
        """Make a named lock. Raises ExistsError if the name is taken."""
        return cls.over(sync.RWLock.create(name, prefer=prefer, space=space, mode=mode))

    @classmethod
    def open(cls, name: str, *, space: Space | None = None) -> "RWLock":
        """Open a named lock. Raises NotFoundError."""
        return cls.over(sync.RWLock.open(name, space=space))

    @classmethod
    def open_or_create(
        cls, name: str, *, prefer: Prefer = "writers", space: Space | None = None, mode: int | None = None
    ) -> "RWLock":
        """Open the lock of that name, or make it. Raises MismatchError if it exists and prefers others."""
        return cls.over(sync.RWLock.open_or_create(name, prefer=prefer, space=space, mode=mode))

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[None]:
        """Read in an ``async with`` block, together with other readers; within a block of this task that reads, again.

        A task that is cancelled while it waits does not read.

        Raises:
            OwnerDiedError: A writer died, before or meanwhile, and nobody has repaired what the lock protects. It is not held: enter it
                with ``writing``.
            MisuseError: This task writes: ``downgrade`` makes a reader of it.
        """
        with tenancy(self.sync) as task:
            await self._enter("read", task)
            with self._inside(task):
                yield

    @asynccontextmanager
    async def writing(self) -> AsyncGenerator[OwnerDiedError | None]:
        """Write in an ``async with`` block, alone: the block gets the OwnerDiedError of a writer that died, or None.

        A block that got the error and ends normally says that what the lock protects is whole again. A task that is cancelled while it
        waits does not write, and holds nobody back any more.

        Raises:
            MisuseError: This task holds it already: ``upgrade`` makes a writer of a reader.
        """
        with tenancy(self.sync) as task:
            died = await self._enter("write", task)
            with self._inside(task):
                yield died

    async def upgrade(self) -> Literal[True]:
        """Write from now on in a block of ``reading``, as soon as nobody else reads; always True.

        Nobody writes in between. A task that is cancelled while it waits reads as before.

        Raises:
            MisuseError: Another reader upgrades already: both would wait for each other to leave. Or this task does not read, or
                writes already.
        """
        with tenancy(self.sync) as task:
            await self._enter("upgrade", task)
        return True

    def upgrade_nowait(self) -> Literal[True]:
        """Upgrade or raise WouldBlock at once; otherwise as ``upgrade``."""
        with tenancy(self.sync) as task:
            return _loops.upgrade_rwlock_nowait(self.sync, task)

    def downgrade(self) -> None:
        """Only read from now on in a block that writes: nobody writes in between. It never waits; readers that wait are let in.

        Raises:
            MisuseError: This task does not write, or repairs what a dead writer left: leave that block first.
        """
        with tenancy(self.sync) as task:
            _loops.downgrade_rwlock(self.sync, task)

    def statistics(self) -> sync.RWLockStatistics:
        """Return a frozen snapshot."""
        return self.sync.statistics()

    async def _enter(self, how: Literal["read", "write", "upgrade"], task: int) -> OwnerDiedError | None:
        stay = _loops.stay_at_rwlock(self.sync, how, task)
        return await reactor().wait(stay, lambda: stay, stay.attempt, give_up=stay.give_up, verb=how)

    @contextmanager
    def _inside(self, task: int) -> Generator[None]:
        try:
            yield
        except BaseException:
            _loops.leave_rwlock(self.sync, task, well=False)
            raise
        else:
            _loops.leave_rwlock(self.sync, task, well=True)
