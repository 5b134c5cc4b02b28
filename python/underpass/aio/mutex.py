"""`underpass.Mutex`, awaitable, and held by a task."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Literal, Self

from underpass import sync
from underpass.aio.attempt import single
from underpass.aio.face import Face
from underpass.aio.seat import Seat
from underpass.aio.semaphore import Fairness
from underpass.errors import OwnerDiedError
from underpass.memory import Space
from underpass.ports import Peer


class Mutex(Face[sync.Mutex]):
    """A mutex for coroutines: ``aio.Mutex()``, or ``mutex.aio``.

    Its owner is the task that took it: another task of the same thread waits, in order of arrival, and may not release it. With
    ``fairness="arrival"`` and ``"priority"`` a task waits in a place of its own, as a thread does, and is handed the mutex in its turn
    among the tasks and threads of all processes; its priority is what `underpass.sync.priority` says in it, or its thread's. One that
    is cancelled, or whose process dies, before it has taken the mutex leaves it to the next. With "barging" whoever is first among
    loops and threads takes it. For everybody else the owner is the thread of the loop; when that dies, waiters are told as by the
    blocking verbs. Within one loop use the face throughout: the blocking verbs know the thread, and not which task runs. A task that
    ends while it holds the mutex leaves it held; one that waits lends no priority to its owner, also where ``inherit_priority`` was
    asked for.

    Example:
        >>> import asyncio, underpass.aio
        >>> async def main():
        ...     ledger = underpass.aio.Mutex()
        ...     async with ledger:
        ...         return ledger.statistics().state
        >>> asyncio.run(main())
        'held'
    """

    __slots__ = ()

    def __init__(
        self, *, recursive: bool = False, inherit_priority: bool = False, fairness: Fairness = "barging"
    ) -> None:
        super().__init__(sync.Mutex(recursive=recursive, inherit_priority=inherit_priority, fairness=fairness))

    @classmethod
    def create(  # noqa: PLR0913  as the object's own
        cls,
        name: str,
        *,
        recursive: bool = False,
        inherit_priority: bool = False,
        fairness: Fairness = "barging",
        space: Space | None = None,
        mode: int | None = None,
    ) -> "Mutex":
        """Make a named mutex. Raises ExistsError if the name is taken."""
        made = sync.Mutex.create(
            name, recursive=recursive, inherit_priority=inherit_priority, fairness=fairness, space=space, mode=mode
        )
        return cls.over(made)

    @classmethod
    def open(cls, name: str, *, space: Space | None = None) -> "Mutex":
        """Open a named mutex. Raises NotFoundError."""
        return cls.over(sync.Mutex.open(name, space=space))

    @classmethod
    def open_or_create(  # noqa: PLR0913  as the object's own
        cls,
        name: str,
        *,
        recursive: bool = False,
        inherit_priority: bool = False,
        fairness: Fairness = "barging",
        space: Space | None = None,
        mode: int | None = None,
    ) -> "Mutex":
        """Open the mutex of that name, or make it. Raises MismatchError if it exists and differs."""
        there = sync.Mutex.open_or_create(
            name, recursive=recursive, inherit_priority=inherit_priority, fairness=fairness, space=space, mode=mode
        )
        return cls.over(there)

    async def acquire(self) -> Literal[True]:
        """Take it, waiting for its owner; always True. A cancelled task does not hold it.

        Raises:
            OwnerDiedError: Its owner died, and nobody has repaired what it protects. It is not held: enter it with ``recovering``.
            MisuseError: This task holds it already, and it is not recursive.
        """
        plain = self.sync
        stay = plain._stay(recovers=False)  # noqa: SLF001 - a task's place
        await Seat.of(plain).take(plain, plain.acquire_nowait, stay)
        return True

    def acquire_nowait(self) -> Literal[True]:
        """Take it or raise WouldBlock at once; otherwise as ``acquire``."""
        return Seat.of(self.sync).take_nowait(self.sync.acquire_nowait)

    def release(self) -> None:
        """Give it back, or one level of a recursive one. Never waits.

        Raises:
            MisuseError: This task does not hold it.
        """
        Seat.of(self.sync).give(self.sync.release)

    @asynccontextmanager
    async def holding(self) -> AsyncGenerator[None]:
        """Hold it for the length of an ``async with`` block."""
        await self.acquire()
        try:
            yield
        except BaseException as error:
            self._end(self.sync.release, error)
            raise
        else:
            self.release()

    @asynccontextmanager
    async def recovering(self) -> AsyncGenerator[OwnerDiedError | None]:
        """Hold it for the length of an ``async with`` block, also after its owner died: the block gets the error, or None.

        A block that got the error and ends normally says that what the mutex protects is whole again.
        """
        plain = self.sync
        block = plain.recovering(timeout=0)
        stay = plain._stay(recovers=True)  # noqa: SLF001 - a task's place
        died = await Seat.of(plain).take(plain, single(block.__enter__), stay)
        try:
            yield died
        except BaseException as error:
            self._end(partial(block.__exit__, type(error), error, error.__traceback__), error)
            raise
        else:
            self._end(partial(block.__exit__, None, None, None), None)

    @property
    def owner(self) -> Peer | None:
        """The thread that holds it, or None."""
        return self.sync.owner

    def statistics(self) -> sync.MutexStatistics:
        """Return a frozen snapshot."""
        return self.sync.statistics()

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(self.sync.release, error)

    def _end(self, release: Callable[[], None], error: BaseException | None) -> None:
        """End a block that holds it, with the seat of now: a wait inside gave it up and came back to another one."""
        Seat.of(self.sync).end(release, error)
