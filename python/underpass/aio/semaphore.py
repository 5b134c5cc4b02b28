"""`underpass.Semaphore`, awaitable."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Literal

from underpass import _loops, sync
from underpass.aio.face import Face
from underpass.aio.running import reactor
from underpass.aio.turn import in_turn
from underpass.memory import Space

Fairness = Literal["barging", "arrival", "priority"]


class Semaphore(Face[sync.Semaphore]):
    """A semaphore for coroutines: ``aio.Semaphore(2)``, or ``semaphore.aio``.

    With ``fairness="arrival"`` and ``"priority"`` a task waits in a place of its own, as a thread does, and is handed a unit in its
    turn among the tasks and threads of all processes; its priority is what `underpass.sync.priority` says in it, or its thread's. One
    that is cancelled, or whose process dies, before it has taken the unit leaves it to the next. With "barging" tasks of one loop get
    units in order of arrival, and among loops and threads whoever is first when a unit is free takes it.

    Example:
        >>> import asyncio, underpass.aio
        >>> async def main():
        ...     pages = underpass.aio.Semaphore(1)
        ...     async with pages.holding():
        ...         return pages.value
        >>> asyncio.run(main())
        0
    """

    __slots__ = ()

    def __init__(
        self,
        value: int,
        *,
        limit: int | None = None,
        saturate: bool = False,
        leased: bool = False,
        fairness: Fairness = "barging",
    ) -> None:
        super().__init__(sync.Semaphore(value, limit=limit, saturate=saturate, leased=leased, fairness=fairness))

    @classmethod
    def create(  # noqa: PLR0913 - the object's own arguments
        cls,
        name: str,
        value: int,
        *,
        limit: int | None = None,
        saturate: bool = False,
        leased: bool = False,
        fairness: Fairness = "barging",
        space: Space | None = None,
        mode: int | None = None,
    ) -> "Semaphore":
        """Make a named semaphore. Raises ExistsError if the name is taken."""
        made = sync.Semaphore.create(
            name, value, limit=limit, saturate=saturate, leased=leased, fairness=fairness, space=space, mode=mode
        )
        return cls.over(made)

    @classmethod
    def open(cls, name: str, *, space: Space | None = None) -> "Semaphore":
        """Open a named semaphore. Raises NotFoundError."""
        return cls.over(sync.Semaphore.open(name, space=space))

    @classmethod
    def open_or_create(  # noqa: PLR0913 - the object's own arguments
        cls,
        name: str,
        value: int,
        *,
        limit: int | None = None,
        saturate: bool = False,
        leased: bool = False,
        fairness: Fairness = "barging",
        space: Space | None = None,
        mode: int | None = None,
    ) -> "Semaphore":
        """Open the semaphore of that name, or make it. Raises MismatchError if it exists and differs."""
        found = sync.Semaphore.open_or_create(
            name, value, limit=limit, saturate=saturate, leased=leased, fairness=fairness, space=space, mode=mode
        )
        return cls.over(found)

    async def acquire(self) -> Literal[True]:
        """Take a unit, waiting for one; always True. A cancelled task has taken none.

        Raises:
            ResetError: It was reset meanwhile.
        """
        plain = self.sync
        since = _loops.units_since(plain)
        if since is not None:
            return await reactor().wait(
                _loops.line(since), lambda: since, partial(since.attempt, plain.acquire_nowait), by_handle=True
            )
        return await in_turn(plain.acquire_nowait, _loops.stay_at_semaphore, plain)

    def acquire_nowait(self) -> Literal[True]:
        """Take a unit or raise WouldBlock at once."""
        return self.sync.acquire_nowait()

    @asynccontextmanager
    async def holding(self) -> AsyncGenerator[None]:
        """Hold a unit for the length of an ``async with`` block."""
        await self.acquire()
        try:
            yield
        finally:
            self.sync.release()

    def release(self, count: int = 1) -> None:
        """Give units back. Never waits."""
        self.sync.release(count)

    def reset(self) -> None:
        """Make the value 0. Whoever waits gets ResetError."""
        self.sync.reset()

    @property
    def value(self) -> int:
        """Units that are free."""
        return self.sync.value

    def statistics(self) -> sync.SemaphoreStatistics:
        """Return a frozen snapshot."""
        return self.sync.statistics()
