"""`underpass.AtomicInt`, awaitable."""

from typing import Literal

from underpass import _loops, sync
from underpass.aio.face import Face
from underpass.aio.running import reactor
from underpass.memory import Space


class AtomicInt(Face[sync.AtomicInt]):
    """A whole number of 64 bits for coroutines: ``aio.AtomicInt()``, or ``number.aio``.

    A task that waits has a place of its own, as a thread has: ``wake`` lets it go in its turn, and counts it.

    Example:
        >>> import asyncio, underpass.aio
        >>> async def main():
        ...     hits = underpass.aio.AtomicInt()
        ...     hits.add(1)
        ...     return await hits.wait(0)
        >>> asyncio.run(main())
        True
    """

    __slots__ = ()

    def __init__(self, value: int = 0) -> None:
        super().__init__(sync.AtomicInt(value))

    @classmethod
    def create(cls, name: str, value: int = 0, *, space: Space | None = None, mode: int | None = None) -> "AtomicInt":
        """Make a named atomic integer. Raises ExistsError if the name is taken."""
        return cls.over(sync.AtomicInt.create(name, value, space=space, mode=mode))

    @classmethod
    def open(cls, name: str, *, space: Space | None = None) -> "AtomicInt":
        """Open a named atomic integer. Raises NotFoundError."""
        return cls.over(sync.AtomicInt.open(name, space=space))

    @classmethod
    def open_or_create(
        cls, name: str, value: int = 0, *, space: Space | None = None, mode: int | None = None
    ) -> "AtomicInt":
        """Open the atomic integer of that name, or make it with ``value``."""
        return cls.over(sync.AtomicInt.open_or_create(name, value, space=space, mode=mode))

    async def wait(self, expected: int) -> Literal[True]:
        """Wait while the value is ``expected``, until a ``wake``; always True.

        Whoever changes the value lets go all who wait for that; ``wake`` lets go who came first, also with the value unchanged. If a task
        that a ``wake`` has chosen is cancelled, or its process dies, the next one goes in its place.
        """
        stay = _loops.stay_at_atomic(self.sync, expected)
        return await reactor().wait(stay, lambda: stay, stay.attempt, give_up=stay.give_up)

    def wait_nowait(self, expected: int) -> Literal[True]:
        """Return True if the value is not ``expected``, or raise WouldBlock."""
        return self.sync.wait_nowait(expected)

    def wake(self, count: int = 1) -> int:
        """Let up to ``count`` go who wait, tasks and threads, whatever the value is; how many there were."""
        return self.sync.wake(count)

    def load(self) -> int:
        """Return the value."""
        return self.sync.load()

    def store(self, value: int) -> None:
        """Make it ``value``."""
        self.sync.store(value)

    def exchange(self, value: int) -> int:
        """Make it ``value``; the value before."""
        return self.sync.exchange(value)

    def compare_exchange(self, expected: int, value: int) -> int:
        """Make it ``value`` if it is ``expected``; the value before."""
        return self.sync.compare_exchange(expected, value)

    def add(self, value: int) -> int:
        """Add ``value``, modulo 2**64; the value before."""
        return self.sync.add(value)

    def sub(self, value: int) -> int:
        """Subtract ``value``, modulo 2**64; the value before."""
        return self.sync.sub(value)

    def and_(self, value: int) -> int:
        """Keep the bits that ``value`` has too; the value before."""
        return self.sync.and_(value)

    def or_(self, value: int) -> int:
        """Set the bits that ``value`` has; the value before."""
        return self.sync.or_(value)

    def xor(self, value: int) -> int:
        """Flip the bits that ``value`` has; the value before."""
        return self.sync.xor(value)

    def __int__(self) -> int:
        return self.sync.load()

    def statistics(self) -> sync.AtomicIntStatistics:
        """Return a frozen snapshot."""
        return self.sync.statistics()
