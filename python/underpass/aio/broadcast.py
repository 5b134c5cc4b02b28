"""`underpass.Broadcast` and `underpass.Subscription`, awaitable."""

from collections.abc import AsyncIterator
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from underpass import _loops, data
from underpass.aio.attempt import single
from underpass.aio.face import Face
from underpass.aio.messages import Messages
from underpass.aio.running import reactor
from underpass.memory import Space

if TYPE_CHECKING:
    from typing_extensions import Buffer


WhenFull = Literal["overwrite", "wait"]


class Broadcast(Face[data.Broadcast]):
    """A broadcast for coroutines: ``aio.Broadcast()``, or ``broadcast.aio``. A writer that waits for its readers is awaited as they are.

    Example:
        >>> import asyncio, underpass.aio
        >>> async def main():
        ...     prices = underpass.aio.Broadcast(4096)
        ...     with prices.subscribe() as mine:
        ...         await prices.publish(b"wheel 12")
        ...         prices.shutdown()
        ...         return [price async for price in mine]
        >>> asyncio.run(main())
        [b'wheel 12']
    """

    __slots__ = ()

    def __init__(self, capacity: int = 1 << 20, *, when_full: WhenFull = "overwrite") -> None:
        super().__init__(data.Broadcast(capacity, when_full=when_full))

    @classmethod
    def create(
        cls,
        name: str,
        capacity: int = 1 << 20,
        *,
        when_full: WhenFull = "overwrite",
        space: Space | None = None,
        mode: int | None = None,
    ) -> "Broadcast":
        """Make a named broadcast. Raises ExistsError if the name is taken."""
        return cls.over(data.Broadcast.create(name, capacity, when_full=when_full, space=space, mode=mode))

    @classmethod
    def open(cls, name: str, *, space: Space | None = None) -> "Broadcast":
        """Open a named broadcast. Raises NotFoundError."""
        return cls.over(data.Broadcast.open(name, space=space))

    @classmethod
    def open_or_create(
        cls,
        name: str,
        capacity: int = 1 << 20,
        *,
        when_full: WhenFull = "overwrite",
        space: Space | None = None,
        mode: int | None = None,
    ) -> "Broadcast":
        """Open the broadcast of that name, or make it. Raises MismatchError if it exists with other arguments."""
        return cls.over(data.Broadcast.open_or_create(name, capacity, when_full=when_full, space=space, mode=mode))

    async def publish(self, data: "Buffer") -> None:
        """Publish a message; the oldest ones make room for it, with ``when_full="wait"`` once all readers that live have got them.

        Tasks of one loop that publish equally many bytes come in order of arrival. A cancelled one has published nothing.

        Raises:
            MessageTooLongError: It has more than ``message_size`` bytes.
            MisuseError: Another process publishes here, and lives.
            EndOfStream: It was shut down.
        """
        room = _loops.room_in_broadcast(self.sync, memoryview(data).nbytes)
        await reactor().wait(room, lambda: room, partial(self.sync.publish_nowait, data))

    def publish_nowait(self, data: "Buffer") -> None:
        """Publish a message at once or raise WouldBlock: a reader has not got yet what is in the way."""
        self.sync.publish_nowait(data)

    async def loan(self, size: int) -> data.Loan:
        """Lend the ``size`` bytes of the next message to write in place; leaving its ``with`` block publishes them.

        One loan is open at a time: whoever publishes meanwhile, also another task, gets MisuseError. A cancelled task has lent nothing.
        """
        room = _loops.room_in_broadcast(self.sync, size)
        return await reactor().wait(room, lambda: room, single(partial(self.sync.loan, size, timeout=0)))

    def subscribe(self, *, start: Literal["now", "oldest"] = "now") -> "Subscription":
        """Begin to read, with the next message, or with the oldest that is still there."""
        return Subscription.over(self.sync.subscribe(start=start))

    def shutdown(self) -> None:
        """Publish nothing more: readers get what is there, then EndOfStream."""
        self.sync.shutdown()

    @property
    def capacity(self) -> int:
        """Bytes of the ring, as it was made."""
        return self.sync.capacity

    @property
    def when_full(self) -> WhenFull:
        """What a message does that finds no room, as it was made."""
        return self.sync.when_full

    @property
    def message_size(self) -> int:
        """How many bytes a message can have."""
        return self.sync.message_size

    def statistics(self) -> data.BroadcastStatistics:
        """Return a frozen snapshot."""
        return self.sync.statistics()


class Subscription(Face[data.Subscription]):
    """One who reads a broadcast in coroutines: ``aio.Broadcast.subscribe``, or ``subscription.aio``.

    Tasks that share one get its messages in order of arrival. ``async for`` gets until EndOfStream, and lets the loop's other tasks
    run from time to time.
    """

    __slots__ = ()

    async def get(self) -> bytes:
        """Get the next message, waiting for one. A cancelled task has taken none.

        Raises:
            EndOfStream: It was shut down, and everything was got.
            PeerDiedError: The writer has died, and everything was got. Told once: the next call waits for a successor.
        """
        return await reactor().wait(self.sync, lambda: self.sync, self.sync.get_nowait)

    def get_nowait(self) -> bytes:
        """Get the next message or raise WouldBlock at once."""
        return self.sync.get_nowait()

    async def get_into(self, buffer: "Buffer") -> int:
        """Get the next message into a writable buffer, and its length. One that does not fit stays the next."""
        attempt = single(partial(self.sync.get_into, buffer, timeout=0))
        return await reactor().wait(self.sync, lambda: self.sync, attempt)

    async def take(self) -> data.Lease:
        """Take the next message, waiting for one, and read it in place until the lease ends. A cancelled task has taken none."""
        return await reactor().wait(self.sync, lambda: self.sync, self.sync.take_nowait)

    def take_nowait(self) -> data.Lease:
        """Take the next message or raise WouldBlock at once."""
        return self.sync.take_nowait()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return Messages(self.get)

    @property
    def lost(self) -> int:
        """How many messages were overwritten before this one came to them, or had read them in place."""
        return self.sync.lost

    @property
    def behind(self) -> int:
        """How many messages were published and not got yet."""
        return self.sync.behind

    def statistics(self) -> data.SubscriptionStatistics:
        """Return a frozen snapshot."""
        return self.sync.statistics()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None, /
    ) -> None:
        self.close()
