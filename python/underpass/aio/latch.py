"""`underpass.sync.Latch`, awaitable."""

from typing import Literal

from underpass import sync
from underpass.aio.face import Face
from underpass.aio.running import reactor
from underpass.memory import Space


class Latch(Face[sync.Latch]):
    """A latch for coroutines: ``aio.Latch(3)``, or ``latch.aio``.

    Example:
        >>> import asyncio, underpass.aio
        >>> async def main():
        ...     started = underpass.aio.Latch(1)
        ...     started.count_down()
        ...     return await started.wait()
        >>> asyncio.run(main())
        True
    """

    __slots__ = ()

    def __init__(self, count: int) -> None:
        super().__init__(sync.Latch(count))

    @classmethod
    def create(cls, name: str, count: int, *, space: Space | None = None, mode: int | None = None) -> "Latch":
        """Make a named latch. Raises ExistsError if the name is taken."""
        return cls.over(sync.Latch.create(name, count, space=space, mode=mode))

    @classmethod
    def open(cls, name: str, *, space: Space | None = None) -> "Latch":
        """Open a named latch. Raises NotFoundError."""
        return cls.over(sync.Latch.open(name, space=space))

    @classmethod
    def open_or_create(cls, name: str, count: int, *, space: Space | None = None, mode: int | None = None) -> "Latch":
        """Open the latch of that name, or make it. Raises MismatchError if it exists with another count."""
        return cls.over(sync.Latch.open_or_create(name, count, space=space, mode=mode))

    async def wait(self) -> Literal[True]:
        """Wait until it is open; always True. All tasks that wait go on together."""
        return await reactor().wait(self.sync, lambda: self.sync, self.sync.wait_nowait, together=True)

    def wait_nowait(self) -> Literal[True]:
        """Return True if it is open, or raise WouldBlock."""
        return self.sync.wait_nowait()

    def count_down(self, n: int = 1) -> None:
        """Count down; at 0 it is open, for good."""
        self.sync.count_down(n)

    @property
    def count(self) -> int:
        """How much is left."""
        return self.sync.count

    def statistics(self) -> sync.LatchStatistics:
        """Return a frozen snapshot."""
        return self.sync.statistics()
