"""`underpass.Event`, awaitable."""

from typing import Literal

from underpass import _loops, sync
from underpass.aio.face import Face
from underpass.aio.turn import in_turn
from underpass.memory import Space


class Event(Face[sync.Event]):
    """An event for coroutines: ``aio.Event()``, or ``event.aio``.

    A ``set`` lets go all tasks and threads that wait at that moment, also if it is cleared at once.

    Example:
        >>> import asyncio, underpass.aio
        >>> async def main():
        ...     ready = underpass.aio.Event()
        ...     ready.set()
        ...     return await ready.wait()
        >>> asyncio.run(main())
        True
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(sync.Event())

    @classmethod
    def create(cls, name: str, *, space: Space | None = None, mode: int | None = None) -> "Event":
        """Make a named event. Raises ExistsError if the name is taken."""
        return cls.over(sync.Event.create(name, space=space, mode=mode))

    @classmethod
    def open(cls, name: str, *, space: Space | None = None) -> "Event":
        """Open a named event. Raises NotFoundError."""
        return cls.over(sync.Event.open(name, space=space))

    @classmethod
    def open_or_create(cls, name: str, *, space: Space | None = None, mode: int | None = None) -> "Event":
        """Open the event of that name, or make it."""
        return cls.over(sync.Event.open_or_create(name, space=space, mode=mode))

    async def wait(self) -> Literal[True]:
        """Wait until it is set; always True. All tasks that wait go on together."""
        return await in_turn(self.sync.wait_nowait, _loops.stay_at_event, self.sync)

    def wait_nowait(self) -> Literal[True]:
        """Return True if it is set, or raise WouldBlock."""
        return self.sync.wait_nowait()

    def set(self) -> None:
        """Set it, and wake all."""
        self.sync.set()

    def clear(self) -> None:
        """Clear it."""
        self.sync.clear()

    def is_set(self) -> bool:
        """Say whether it is set."""
        return self.sync.is_set()

    def statistics(self) -> sync.EventStatistics:
        """Return a frozen snapshot."""
        return self.sync.statistics()
