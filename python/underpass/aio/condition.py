"""`underpass.Condition`, awaitable, under a mutex that a task holds."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Literal, Self

from underpass import _loops, sync
from underpass.aio.face import Face
from underpass.aio.mutex import Mutex
from underpass.aio.reactor import Reactor
from underpass.aio.running import reactor
from underpass.aio.seat import Seat
from underpass.errors import OwnerDiedError
from underpass.memory import Space
from underpass.ports import Peer


def _plain(mutex: sync.Mutex | Mutex | None) -> sync.Mutex | None:
    return mutex.sync if isinstance(mutex, Mutex) else mutex


class Condition(Face[sync.Condition]):
    """A condition for coroutines: ``aio.Condition()``, or ``condition.aio``.

    A task that waits has a place of its own, as a thread has, and is notified in its turn. The mutex is held as `Mutex` is: by the
    task.

    Example:
        >>> import asyncio, underpass.aio
        >>> async def main():
        ...     changed, jobs = underpass.aio.Condition(), []
        ...     async def produce():
        ...         async with changed:
        ...             jobs.append("work")
        ...             changed.notify()
        ...     async with changed:
        ...         producer = asyncio.create_task(produce())
        ...         await changed.wait_for(lambda: jobs)
        ...         return jobs
        >>> asyncio.run(main())
        ['work']
    """

    __slots__ = ()

    def __init__(self, mutex: sync.Mutex | Mutex | None = None) -> None:
        super().__init__(sync.Condition(_plain(mutex)))

    @classmethod
    def create(
        cls,
        name: str,
        mutex: sync.Mutex | Mutex | None = None,
        *,
        space: Space | None = None,
        mode: int | None = None,
    ) -> "Condition":
        """Make a named condition. Raises ExistsError if the name is taken."""
        return cls.over(sync.Condition.create(name, _plain(mutex), space=space, mode=mode))

    @classmethod
    def open(cls, name: str, *, space: Space | None = None) -> "Condition":
        """Open a named condition, and its mutex with it. Raises NotFoundError."""
        return cls.over(sync.Condition.open(name, space=space))

    @classmethod
    def open_or_create(
        cls,
        name: str,
        mutex: sync.Mutex | Mutex | None = None,
        *,
        space: Space | None = None,
        mode: int | None = None,
    ) -> "Condition":
        """Open the condition of that name, or make it. Raises MismatchError if it exists with another ``mutex``."""
        return cls.over(sync.Condition.open_or_create(name, _plain(mutex), space=space, mode=mode))

    async def wait(self) -> Literal[True]:
        """Give the mutex back, wait for a notification, and take the mutex again; always True.

        However the wait ends, the mutex is taken again, and no cancellation keeps the task from that. One that is cancelled before it is
        notified, or before its turn, leaves the notification to the next, and is cancelled with the mutex held; one that is cancelled
        later was notified, and its next wait is cancelled.

        Raises:
            OwnerDiedError: An owner of the mutex died, and nobody has repaired what it protects. The mutex is *not* held.
            MisuseError: This task does not hold the mutex, or more than once.
        """
        where = reactor()
        where.may_await(str, self.sync)
        if where.cancelled:
            await where.loop.end_if_cancelled()
        stay, mutex = _loops.stay_at_condition(self.sync), _loops.mutex_of(self.sync)
        Seat.of(mutex).give(stay.begin)
        try:
            await where.wait(stay, lambda: stay, stay.attempt, cancellable=False)
        except GeneratorExit:
            stay.give_up()
            stay.end()
            raise
        except where.loop.cancelled_error as cancelled:
            stay.give_up()
            try:
                await _come_back(where, mutex, stay.end)
            except OwnerDiedError:
                where.loop.postpone(cancelled)
                raise
            raise
        except BaseException:
            stay.give_up()
            await _come_back(where, mutex, stay.end)
            raise
        late = await _come_back(where, mutex, stay.end)
        if late is not None:
            where.loop.postpone(late)
        return True

    async def wait_for(self, predicate: Callable[[], object]) -> Literal[True]:
        """Wait until ``predicate()`` is true, which is asked with the mutex held; always True. Otherwise as ``wait``."""
        where = reactor()
        where.may_await(str, self.sync)
        if where.cancelled:
            await where.loop.end_if_cancelled()
        while not predicate():
            await self.wait()
        return True

    def notify(self, count: int = 1) -> int:
        """Wake up to ``count`` who wait, the most urgent first, of those the longest; how many were woken."""
        return self.sync.notify(count)

    def notify_all(self) -> int:
        """Wake all who wait; how many were woken."""
        return self.sync.notify_all()

    async def acquire(self) -> Literal[True]:
        """Take the mutex: as ``Mutex.acquire``."""
        return await self._to_take.acquire()

    def acquire_nowait(self) -> Literal[True]:
        """Take the mutex or raise WouldBlock at once."""
        return self._to_take.acquire_nowait()

    def release(self) -> None:
        """Give the mutex back: as ``Mutex.release``."""
        self._mutex.release()

    def holding(self) -> AbstractAsyncContextManager[None]:
        """Hold the mutex for the length of an ``async with`` block."""
        return self._to_take.holding()

    def recovering(self) -> AbstractAsyncContextManager[OwnerDiedError | None]:
        """Hold the mutex for the length of an ``async with`` block, also after its owner died: as ``Mutex.recovering``."""
        return self._to_take.recovering()

    @property
    def owner(self) -> Peer | None:
        """The thread that holds the mutex, or None."""
        return self.sync.owner

    def statistics(self) -> sync.ConditionStatistics:
        """Return a frozen snapshot."""
        return self.sync.statistics()

    async def __aenter__(self) -> Self:
        await self._to_take.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._mutex.__aexit__(kind, error, trace)

    @property
    def _to_take(self) -> Mutex:
        if self.sync.closed:
            self.sync.acquire_nowait()  # raises ClosedError
        return self._mutex

    @property
    def _mutex(self) -> Mutex:
        return Mutex.over(_loops.mutex_of(self.sync))


async def _come_back(where: Reactor, mutex: sync.Mutex, end: Callable[[], None]) -> BaseException | None:
    """Take the mutex again whatever comes; the cancellation that came meanwhile, unless the loop tells of it again."""
    try:
        with where.loop.shield() as shield:
            stay = _loops.stay_at_mutex(mutex, recovers=False)
            await Seat.of(mutex).take(mutex, mutex.acquire_nowait, stay, cancellable=False)
    finally:
        end()
    return shield.cancelled
