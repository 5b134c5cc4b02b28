"""`underpass.Barrier`, awaitable."""

from underpass import _loops, sync
from underpass.aio.face import Face
from underpass.aio.running import reactor
from underpass.memory import Space


class Barrier(Face[sync.Barrier]):
    """A barrier for coroutines: ``aio.Barrier(2)``, or ``barrier.aio``.

    Each task that waits is a party, beside threads and tasks of whichever processes. A task that is cancelled before all have come has
    not come, and breaks nothing, as in ``asyncio.Barrier``: who wants that a time-out breaks it calls ``abort``.

    Example:
        >>> import asyncio, underpass.aio
        >>> async def main():
        ...     start = underpass.aio.Barrier(2)
        ...     return sorted(await asyncio.gather(start.wait(), start.wait()))
        >>> asyncio.run(main())
        [0, 1]
    """

    __slots__ = ()

    def __init__(self, parties: int) -> None:
        super().__init__(sync.Barrier(parties))

    @classmethod
    def create(cls, name: str, parties: int, *, space: Space | None = None, mode: int | None = None) -> "Barrier":
        """Make a named barrier. Raises ExistsError if the name is taken."""
        return cls.over(sync.Barrier.create(name, parties, space=space, mode=mode))

    @classmethod
    def open(cls, name: str, *, space: Space | None = None) -> "Barrier":
        """Open a named barrier. Raises NotFoundError."""
        return cls.over(sync.Barrier.open(name, space=space))

    @classmethod
    def open_or_create(
        cls, name: str, parties: int, *, space: Space | None = None, mode: int | None = None
    ) -> "Barrier":
        """Open the barrier of that name, or make it. Raises MismatchError if it exists and has other ``parties``."""
        return cls.over(sync.Barrier.open_or_create(name, parties, space=space, mode=mode))

    async def wait(self) -> int:
        """Wait until all parties have come; how many came before this one in its generation.

        A task that is cancelled when all have come already has passed: it returns, and its next wait is cancelled.

        Raises:
            BrokenBarrierError: It was broken, before or meanwhile: by ``abort``, a thread's time-out, or a process that died.
            ResetError: It was reset meanwhile.
            MisuseError: 64 other processes are known already.
        """
        where = reactor()
        stay = _loops.stay_at_barrier(self.sync)
        try:
            return await where.wait(stay, lambda: stay, stay.attempt)
        except where.loop.cancelled_error as cancelled:
            if stay.leave():
                raise
            where.loop.postpone(cancelled)
            return stay.attempt()
        finally:
            stay.give_up()

    def join(self) -> None:
        """Make this process known, so that its death breaks the barrier also before it has ever waited."""
        self.sync.join()

    def abort(self) -> None:
        """Break it: all who wait leave with BrokenBarrierError, and nobody passes until ``reset``."""
        self.sync.abort()

    def reset(self) -> None:
        """Make it whole and empty again: all who wait leave with ResetError."""
        self.sync.reset()

    @property
    def parties(self) -> int:
        """How many have to come."""
        return self.sync.parties

    @property
    def n_waiting(self) -> int:
        """How many have come and wait for the others."""
        return self.sync.n_waiting

    @property
    def broken(self) -> bool:
        """True if nobody passes until ``reset``."""
        return self.sync.broken

    def statistics(self) -> sync.BarrierStatistics:
        """Return a frozen snapshot."""
        return self.sync.statistics()
