"""`underpass.Queue`, awaitable."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from underpass import _loops, data
from underpass.aio.attempt import single
from underpass.aio.face import Face
from underpass.aio.messages import Messages
from underpass.aio.running import reactor
from underpass.errors import DiedError, EndOfStream, ResetError, TimedOut, WouldBlock
from underpass.memory import Space

if TYPE_CHECKING:
    from typing_extensions import Buffer

Order = Literal["fifo", "lifo", "priority"]
WhenFull = Literal["wait", "drop_oldest", "drop_newest"]
Fairness = Literal["barging", "arrival", "priority"]
T = TypeVar("T")


class Queue(Face[data.Queue]):
    """A queue for coroutines: ``aio.Queue()``, or ``queue.aio``.

    Tasks of one loop get messages, and room, in order of arrival; where ``fairness`` gives threads their turns, when no thread waits.
    ``async for`` gets until EndOfStream, and lets the loop's other tasks run from time to time.

    Example:
        >>> import asyncio, underpass.aio
        >>> async def main():
        ...     jobs = underpass.aio.Queue()
        ...     await jobs.put(b"wheel")
        ...     jobs.shutdown()
        ...     return [job async for job in jobs]
        >>> asyncio.run(main())
        [b'wheel']
    """

    __slots__ = ()

    def __init__(  # noqa: PLR0913 - the object's own arguments
        self,
        capacity: int = 64,
        message_size: int = 256,
        *,
        order: Order = "fifo",
        when_full: WhenFull = "wait",
        fairness: Fairness = "barging",
        max_deliveries: int | None = None,
    ) -> None:
        super().__init__(
            data.Queue(
                capacity,
                message_size,
                order=order,
                when_full=when_full,
                fairness=fairness,
                max_deliveries=max_deliveries,
            )
        )

    @classmethod
    def create(  # noqa: PLR0913 - the object's own arguments
        cls,
        name: str,
        capacity: int = 64,
        message_size: int = 256,
        *,
        order: Order = "fifo",
        when_full: WhenFull = "wait",
        fairness: Fairness = "barging",
        max_deliveries: int | None = None,
        space: Space | None = None,
        mode: int | None = None,
    ) -> "Queue":
        """Make a named queue. Raises ExistsError if the name is taken."""
        made = data.Queue.create(
            name,
            capacity,
            message_size,
            order=order,
            when_full=when_full,
            fairness=fairness,
            max_deliveries=max_deliveries,
            space=space,
            mode=mode,
        )
        return cls.over(made)

    @classmethod
    def open(cls, name: str, *, space: Space | None = None) -> "Queue":
        """Open a named queue. Raises NotFoundError."""
        return cls.over(data.Queue.open(name, space=space))

    @classmethod
    def open_or_create(  # noqa: PLR0913 - the object's own arguments
        cls,
        name: str,
        capacity: int = 64,
        message_size: int = 256,
        *,
        order: Order = "fifo",
        when_full: WhenFull = "wait",
        fairness: Fairness = "barging",
        max_deliveries: int | None = None,
        space: Space | None = None,
        mode: int | None = None,
    ) -> "Queue":
        """Open the queue of that name, or make it. Raises MismatchError if it exists with other parameters."""
        found = data.Queue.open_or_create(
            name,
            capacity,
            message_size,
            order=order,
            when_full=when_full,
            fairness=fairness,
            max_deliveries=max_deliveries,
            space=space,
            mode=mode,
        )
        return cls.over(found)

    async def put(self, data: "Buffer", *, priority: int = 0, front: bool = False) -> None:
        """Put a message, waiting for room; by priority, or in front. A cancelled task has put none.

        Raises:
            EndOfStream: The queue was shut down.
            ResetError: It was purged meanwhile: the message was not put.
        """
        if self.sync.when_full != "wait":
            # Where messages are dropped nobody waits to put, nor for a task that waits for a slot to write in.
            await reactor().may_act(self._putting)
            return self.sync.put_nowait(data, priority=priority, front=front)
        # As `_when_there_is_room`, without a frame more.
        since = _loops.room_since(self.sync.room)
        attempt = partial(_loops.put_since, self.sync, data, priority, front, since)
        return await reactor().wait(_loops.line(since), lambda: since, attempt, by_handle=True)

    def put_nowait(self, data: "Buffer", *, priority: int = 0, front: bool = False) -> None:
        """Put a message or raise WouldBlock at once."""
        self.sync.put_nowait(data, priority=priority, front=front)

    async def put_many(self, items: "Iterable[Buffer]", *, priority: int = 0) -> None:
        """Put all messages in order, waiting for room; others' may come between them.

        A task that is cancelled has put a first part of them. What else ends it in the middle says how many, in ``transferred``.
        """
        if self.sync.when_full != "wait":
            await reactor().may_act(self._putting)
            return self.sync.put_many(items, priority=priority)
        left, count = list(items), 0

        def put(queue: data.Queue, since: Any) -> None:
            nonlocal count
            try:
                _loops.put_many_since(queue, left[count:], priority, since)
            except TimedOut as late:
                count += late.transferred
                raise WouldBlock(str(late)) from None

        try:
            return await self._when_there_is_room(put)
        except (EndOfStream, ResetError, DiedError) as error:
            error.transferred += count
            raise

    async def loan(self, size: int, *, priority: int = 0) -> data.Loan:
        """Lend ``size`` bytes of a free slot to write in place, waiting for one; leaving its ``with`` block puts them."""
        return await self._when_there_is_room(_loops.loan_since, size, priority)

    async def get(self) -> bytes:
        """Get the front message, waiting for one. A cancelled task has taken none.

        Raises:
            EndOfStream: The queue was shut down, or its last registered putter left, and nothing is queued or leased.
            PeerDiedError: The last registered putter died, and nothing is queued or leased.
        """
        return await self._when_there_is_a_message(self.sync.get_nowait)

    def get_nowait(self) -> bytes:
        """Get the front message or raise WouldBlock at once."""
        return self.sync.get_nowait()

    async def get_into(self, buffer: "Buffer") -> int:
        """Get the front message into a writable buffer, and its length. One that does not fit stays in the queue."""
        return await self._when_there_is_a_message(single(partial(self.sync.get_into, buffer, timeout=0)))

    async def get_many(self, limit: int | None = None) -> list[bytes]:
        """Get at least one message, waiting for it, then whatever is there, up to ``limit``."""
        limits = () if limit is None else (limit,)
        return await self._when_there_is_a_message(single(partial(self.sync.get_many, *limits, timeout=0)))

    async def take(self) -> data.Lease:
        """Lease the front message, waiting for one: read it in place, then say done or put it back."""
        return await self._when_there_is_a_message(self.sync.take_nowait)

    def take_nowait(self) -> data.Lease:
        """Lease the front message or raise WouldBlock at once."""
        return self.sync.take_nowait()

    def leases(self) -> AsyncIterator[data.Lease]:
        """Lease message after message, until EndOfStream: ``async for job in queue.aio.leases(): with job: ...``."""
        return Messages(self.take)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return Messages(self.get)

    def putting(self) -> AbstractContextManager[None, None]:
        """Register this process as a putter for the length of a ``with`` block."""
        return self.sync.putting()

    def shutdown(self, *, immediate: bool = False) -> None:
        """Refuse further puts; getters drain what is there. With ``immediate`` what is queued is thrown away."""
        self.sync.shutdown(immediate=immediate)

    def peek(self, index: int = 0) -> bytes:
        """Return the message at ``index`` from the front, which stays there. Raises IndexError."""
        return self.sync.peek(index)

    def purge(self) -> int:
        """Throw away what is queued; how many messages. Who waits to put gets ResetError."""
        return self.sync.purge()

    def remove(self, data: "Buffer") -> bool:
        """Throw away the first message that is these bytes; whether there was one."""
        return self.sync.remove(data)

    def cancel_wait(self) -> bool:
        """Send away the thread that is the first of those that wait to get; whether one waited. Tasks are not concerned."""
        return self.sync.cancel_wait()

    async def join(self) -> None:
        """Wait until nothing is queued or leased. All tasks that wait go on together."""
        attempt = single(partial(self.sync.join, timeout=0))
        await reactor().wait((self.sync, "drained"), lambda: self.sync.drained, attempt, together=True)

    @property
    def depth(self) -> int:
        """Messages queued now, those at work not counted."""
        return self.sync.depth

    @property
    def capacity(self) -> int:
        """How many messages it holds."""
        return self.sync.capacity

    @property
    def message_size(self) -> int:
        """How many bytes a message can have."""
        return self.sync.message_size

    @property
    def when_full(self) -> WhenFull:
        """What a put does that finds no room."""
        return self.sync.when_full

    @property
    def fairness(self) -> Fairness:
        """Who of the threads that wait has the first turn."""
        return self.sync.fairness

    @property
    def dropped(self) -> int:
        """Messages that were dropped because it was full."""
        return self.sync.dropped

    @property
    def dead_letters(self) -> "Queue":
        """Where messages go that were delivered too often."""
        return type(self).over(self.sync.dead_letters)

    def statistics(self) -> data.QueueStatistics:
        """Return a frozen snapshot."""
        return self.sync.statistics()

    async def _when_there_is_a_message(self, attempt: Callable[[], T]) -> T:
        return await reactor().wait(_loops.nonce(self.sync), lambda: self.sync, attempt, by_handle=True)

    async def _when_there_is_room(self, verb: Callable[..., T], *arguments: object) -> T:
        """Return what ``verb(queue, *arguments, since)`` returns, which puts nothing after a purge since this task came."""
        since = _loops.room_since(self.sync.room)
        attempt = partial(verb, self.sync, *arguments, since)
        return await reactor().wait(_loops.line(since), lambda: since, attempt, by_handle=True)

    def _putting(self) -> object:
        """Return what stands for a put where it is refused."""
        return self.sync.room
