"""`underpass.ObjectQueue`, awaitable."""

# ruff: noqa: SLF001 - the two halves of one class
# pyright: reportPrivateUsage=false

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Generic, Literal

from underpass import data, memory
from underpass._objects.queue import Filled, T
from underpass.aio.face import Face
from underpass.aio.messages import Messages
from underpass.aio.pool import Pool
from underpass.aio.queue import Queue
from underpass.errors import UnderpassError
from underpass.memory import Space

if TYPE_CHECKING:
    from underpass._objects.coding import Pieces

Order = Literal["fifo", "lifo", "priority"]


class ObjectQueue(Face[data.ObjectQueue[T]], Generic[T]):
    """A queue of objects for coroutines: ``aio.ObjectQueue()``, or ``queue.aio``.

    Objects are encoded and decoded in the loop's thread. Tasks of one loop get objects, blocks and room in order of arrival. A task that
    waits for a block is not told of a shutdown or a purge: it goes on when a block is free, and is told then.

    Example:
        >>> import asyncio, underpass.aio
        >>> async def main():
        ...     jobs = underpass.aio.ObjectQueue()
        ...     await jobs.put({"part": "wheel"})
        ...     jobs.shutdown()
        ...     return [job async for job in jobs]
        >>> asyncio.run(main())
        [{'part': 'wheel'}]
    """

    __slots__ = ()

    def __init__(  # noqa: PLR0913 - the object's own arguments
        self,
        type: type[T] | None = None,  # noqa: A002 - the object's own word
        capacity: int = 64,
        *,
        order: Order = "fifo",
        max_deliveries: int | None = None,
        inline_size: int = 1024,
        blocks: int = 16,
        block_size: int = 1 << 18,
        pool: memory.Pool | None = None,
    ) -> None:
        made = data.ObjectQueue[Any](
            type,
            capacity,
            order=order,
            max_deliveries=max_deliveries,
            inline_size=inline_size,
            blocks=blocks,
            block_size=block_size,
            pool=pool,
        )
        super().__init__(made)

    @classmethod
    def create(  # noqa: PLR0913 - the object's own arguments
        cls,
        name: str,
        type: type[T] | None = None,  # noqa: A002 - the object's own word
        capacity: int = 64,
        *,
        order: Order = "fifo",
        max_deliveries: int | None = None,
        inline_size: int = 1024,
        blocks: int = 16,
        block_size: int = 1 << 18,
        pool: memory.Pool | None = None,
        space: Space | None = None,
        mode: int | None = None,
    ) -> "ObjectQueue[T]":
        """Make a named queue. Raises ExistsError if the name is taken."""
        made = data.ObjectQueue[T].create(
            name,
            type,
            capacity,
            order=order,
            max_deliveries=max_deliveries,
            inline_size=inline_size,
            blocks=blocks,
            block_size=block_size,
            pool=pool,
            space=space,
            mode=mode,
        )
        return cls.over(made)

    @classmethod
    def open(
        cls,
        name: str,
        type: type[T] | None = None,  # noqa: A002 - the object's own word
        *,
        pool: memory.Pool | None = None,
        space: Space | None = None,
    ) -> "ObjectQueue[T]":
        """Open a named queue; of one that was made with a pool, with that. Raises NotFoundError."""
        return cls.over(data.ObjectQueue[T].open(name, type, pool=pool, space=space))

    @classmethod
    def open_or_create(  # noqa: PLR0913 - the object's own arguments
        cls,
        name: str,
        type: type[T] | None = None,  # noqa: A002 - the object's own word
        capacity: int = 64,
        *,
        order: Order = "fifo",
        max_deliveries: int | None = None,
        inline_size: int = 1024,
        blocks: int = 16,
        block_size: int = 1 << 18,
        pool: memory.Pool | None = None,
        space: Space | None = None,
        mode: int | None = None,
    ) -> "ObjectQueue[T]":
        """Open the queue of that name, or make it. Raises MismatchError if it exists with other parameters."""
        found = data.ObjectQueue[T].open_or_create(
            name,
            type,
            capacity,
            order=order,
            max_deliveries=max_deliveries,
            inline_size=inline_size,
            blocks=blocks,
            block_size=block_size,
            pool=pool,
            space=space,
            mode=mode,
        )
        return cls.over(found)

    async def put(self, obj: T, *, priority: int = 0, front: bool = False) -> None:
        """Put an object, waiting for a block, if it is a long one, and for room. A cancelled task has put none.

        Raises:
            TypeError: It cannot be pickled, or is not of the queue's type.
            MessageTooLongError: It is longer than the largest block.
            EndOfStream: The queue was shut down.
            ResetError: It was purged while this waited for room.
        """
        await self._put(self.sync._encode(obj), priority=priority, front=front)

    def put_nowait(self, obj: T, *, priority: int = 0, front: bool = False) -> None:
        """Put an object or raise WouldBlock at once."""
        self.sync.put_nowait(obj, priority=priority, front=front)

    async def put_many(self, objects: Iterable[T], *, priority: int = 0) -> None:
        """Put all objects in order, waiting for blocks and room; others' may come between them. A bad one among them: none is put.

        A task that is cancelled has put a first part of them. What else ends it in the middle says how many, in ``transferred``.
        """
        encoded, done = [self.sync._encode(obj) for obj in objects], 0
        try:
            for one in encoded:
                await self._put(one, priority=priority)
                done += 1
        except UnderpassError as error:
            setattr(error, "transferred", done)  # noqa: B010  not all errors declare it
            raise

    async def _put(self, encoded: "tuple[Pieces, int]", *, priority: int, front: bool = False) -> None:
        pieces, size = encoded
        messages = Queue.over(self.sync._messages)
        if size <= self.sync.inline_size:
            await messages.put(b"".join(pieces), priority=priority, front=front)
            return
        with Filled(await Pool.over(self.sync.pool).alloc(size), pieces) as message:
            await messages.put(message, priority=priority, front=front)

    async def get(self) -> T:
        """Get the front object, waiting for one. A cancelled task has taken none.

        Raises:
            EndOfStream: The queue was shut down, or its last registered putter left, and nothing is queued or leased.
            PeerDiedError: The last registered putter died, and nothing is queued or leased.
        """
        return (await self.take())._get()

    def get_nowait(self) -> T:
        """Get the front object or raise WouldBlock at once."""
        return self.sync.get_nowait()

    async def get_many(self, limit: int | None = None) -> list[T]:
        """Get at least one object, waiting for it, then those that are there beside it, up to ``limit``."""
        if limit is not None and limit < 1:
            raise ValueError(f"limit={limit} gets nothing: pass at least 1")
        return self.sync._those_beside([await self.get()], limit)

    async def take(self) -> data.ObjectLease[T]:
        """Lease the front object, waiting for one: look at its ``value``, then say done or put it back."""
        messages = Queue.over(self.sync._messages)
        while (found := self.sync._leased(await messages.take())) is None:
            pass
        return found

    def take_nowait(self) -> data.ObjectLease[T]:
        """Lease the front object or raise WouldBlock at once."""
        return self.sync.take_nowait()

    def leases(self) -> AsyncIterator[data.ObjectLease[T]]:
        """Lease object after object, until EndOfStream: ``async for job in queue.aio.leases(): with job: ...``."""
        return Messages(self.take)

    def __aiter__(self) -> AsyncIterator[T]:
        return Messages(self.get)

    def putting(self) -> AbstractContextManager[None, None]:
        """Register this process as a putter for the length of a ``with`` block."""
        return self.sync.putting()

    def shutdown(self, *, immediate: bool = False) -> None:
        """Refuse further puts; getters drain what is there. With ``immediate`` what is queued is thrown away."""
        self.sync.shutdown(immediate=immediate)

    def peek(self, index: int = 0) -> T:
        """Return a copy of the object at ``index`` from the front, which stays there. Raises IndexError."""
        return self.sync.peek(index)

    def purge(self) -> int:
        """Throw away what is queued; how many objects. Who waits for room gets ResetError."""
        return self.sync.purge()

    async def join(self) -> None:
        """Wait until nothing is queued or leased. All tasks that wait go on together."""
        await Queue.over(self.sync._messages).join()

    @property
    def depth(self) -> int:
        """Objects queued now, those at work not counted."""
        return self.sync.depth

    @property
    def capacity(self) -> int:
        """How many objects it holds."""
        return self.sync.capacity

    @property
    def inline_size(self) -> int:
        """Bytes of the longest object that lies in the queue itself."""
        return self.sync.inline_size

    @property
    def pool(self) -> memory.Pool:
        """Where its blocks are."""
        return self.sync.pool

    @property
    def dead_letters(self) -> "ObjectQueue[T]":
        """Where objects go that were delivered too often."""
        return type(self).over(self.sync.dead_letters)

    def statistics(self) -> data.QueueStatistics:
        """Return a frozen snapshot."""
        return self.sync.statistics()
