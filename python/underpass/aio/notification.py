"""`underpass.Notification`, awaitable."""

from underpass import _loops, sync
from underpass.aio.face import Face
from underpass.aio.turn import in_turn
from underpass.memory import Space

EVERY = 2**64 - 1


class Notification(Face[sync.Notification]):
    """A notification for coroutines: ``aio.Notification()``, or ``notification.aio``.

    A task that waits has a place of its own, as a thread has: a change is given in one instant to all tasks and threads whose wishes it
    fulfils, whatever becomes of the flags before their loops look. Then what those consume is cleared.

    Example:
        >>> import asyncio, underpass.aio
        >>> async def main():
        ...     news = underpass.aio.Notification()
        ...     news.notify(0b101)
        ...     return await news.wait(0b001)
        >>> asyncio.run(main())
        1
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(sync.Notification())

    @classmethod
    def create(cls, name: str, *, space: Space | None = None, mode: int | None = None) -> "Notification":
        """Make a named notification. Raises ExistsError if the name is taken."""
        return cls.over(sync.Notification.create(name, space=space, mode=mode))

    @classmethod
    def open(cls, name: str, *, space: Space | None = None) -> "Notification":
        """Open a named notification. Raises NotFoundError."""
        return cls.over(sync.Notification.open(name, space=space))

    @classmethod
    def open_or_create(cls, name: str, *, space: Space | None = None, mode: int | None = None) -> "Notification":
        """Open the notification of that name, or make it."""
        return cls.over(sync.Notification.open_or_create(name, space=space, mode=mode))

    async def wait(
        self,
        bits: int = EVERY,
        *,
        all: bool = False,  # noqa: A002 - the contract's name
        consume: bool = True,
    ) -> int:
        """Wait for any of the flags in ``bits``, or with ``all`` for all of them at once; those that were set.

        With ``consume`` they are cleared for those who come later. A cancelled task has cleared none: what it was given meanwhile is set
        again, as that of a task whose process dies, also where others were given it too.
        """
        plain = self.sync

        # A partial with keywords takes twice as long.
        def at_once() -> int:
            return plain.wait_nowait(bits, all=all, consume=consume)

        return await in_turn(at_once, _loops.stay_at_notification, plain, bits, all, consume)

    def wait_nowait(
        self,
        bits: int = EVERY,
        *,
        all: bool = False,  # noqa: A002 - the contract's name
        consume: bool = True,
    ) -> int:
        """Return what ``wait`` would return at once, or raise WouldBlock."""
        return self.sync.wait_nowait(bits, all=all, consume=consume)

    def notify(self, bits: int = 1) -> int:
        """Set the flags in ``bits`` beside those that are set; the flags before."""
        return self.sync.notify(bits)

    def set(self, bits: int, mask: int = EVERY) -> int:
        """Make the flags in ``mask`` those of ``bits``; the flags before."""
        return self.sync.set(bits, mask)

    def clear(self, bits: int = EVERY) -> int:
        """Clear the flags in ``bits``; the flags before."""
        return self.sync.clear(bits)

    @property
    def bits(self) -> int:
        """The flags that are set now."""
        return self.sync.bits

    def statistics(self) -> sync.NotificationStatistics:
        """Return a frozen snapshot."""
        return self.sync.statistics()
