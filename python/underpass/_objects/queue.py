"""`underpass.ObjectQueue`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from functools import partial
from itertools import count, islice
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, Self, cast, overload

from underpass._core import Block, Lease, Objects, Pool, QueueStatistics, Space
from underpass._objects.lease import ObjectLease
from underpass.errors import EndOfStream, MessageTooLongError, MismatchError, MisuseError, UnderpassError

# ruff: noqa: SLF001 - what a block does for its message, and a lease for its queue, is nobody else's to ask for
# pyright: reportPrivateUsage=false
if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from underpass import aio as _aio
    from underpass._objects.coding import Coder, Pieces
else:
    from typing import TypeVar

__all__ = ["Filled", "ObjectQueue"]

if TYPE_CHECKING:
    # A queue without a type has any object.
    T = TypeVar("T", default=Any)
else:
    T = TypeVar("T")
Order = Literal["fifo", "lifo", "priority"]

# A message that begins so is the reference to a block, and the block has the message.
_REFERENCE = b"\0"

_BLOCKS = 16
_BLOCK_SIZE = 1 << 18
_INLINE_SIZE = 1024


class ObjectQueue(Objects, Generic[T]):
    """`Queue`'s verbs for Python objects, which are encoded where they are put, and decoded where they are got.

    Without a type it takes any picklable object (protocol 5). With one, ``ObjectQueue(Job)``, it takes what msgspec can pack, and looks
    that the object is of the type, on both sides. Nothing runs beside the caller: ``put`` encodes in its own frame, so a bad object
    raises there, with the path to the part that is bad, and nothing is put.

    An object of up to ``inline_size`` encoded bytes lies in the queue itself. A longer one is written once, into a block of a `Pool`:
    what a pickle leaves out of band (numpy arrays and whatever else has ``pickle.PickleBuffer``) is copied there from where it is, and
    read in place by who gets it. A block lives as long as anything looks at it; who keeps many arrays needs as many blocks. The
    message owns its block, so an object survives its putter, and comes back if who leased it dies.

    .. warning::
        To unpickle is to run what the pickle says. Whoever may write to the space may run code as whoever gets from a queue without a type:
        in a space of your own that is you, in a group's it is the group. A queue with a type runs nothing but that type's own checks.

    A put may wait for a block, and then for room. ``shutdown`` and ``purge`` end both. Zephyr's ``k_queue`` holds references as well.

    Args:
        type: What is put; None: any picklable object. Whoever opens the queue says the same.
        capacity: Objects it holds, queued and leased together.
        order: Which one is got first: "fifo", "lifo" or "priority".
        max_deliveries: One that comes back after so many deliveries goes to ``dead_letters``. None: it always comes back.
        inline_size: Bytes of the longest object that lies in the queue itself; 25 or more.
        blocks: How many blocks of its own it has, for longer ones that are queued, at work, or still looked at.
        block_size: Bytes of each: the longest object, encoded.
        pool: Takes its blocks from there, and has none of its own: of several sizes, say, or shared with others.

    Raises:
        ValueError: A parameter is out of range.
        OutOfSpaceError: The space has not that many bytes left.

    Example:
        >>> import underpass
        >>> frames = underpass.ObjectQueue(capacity=8)
        >>> frames.put({"camera": "left", "pixels": bytearray(5000)})
        >>> frame = frames.get()
        >>> frame["camera"], len(frame["pixels"])
        ('left', 5000)
    """

    __slots__ = ("_coder", "_pool", "_type")

    if TYPE_CHECKING:
        _coder: Coder
        _pool: Pool
        _type: Any

    @overload
    def __new__(
        cls,
        type: None = None,
        capacity: int = 64,
        *,
        order: Order = "fifo",
        max_deliveries: int | None = None,
        inline_size: int = _INLINE_SIZE,
        blocks: int = _BLOCKS,
        block_size: int = _BLOCK_SIZE,
        pool: Pool | None = None,
    ) -> Self: ...
    @overload
    def __new__(
        cls,
        type: type[T],
        capacity: int = 64,
        *,
        order: Order = "fifo",
        max_deliveries: int | None = None,
        inline_size: int = _INLINE_SIZE,
        blocks: int = _BLOCKS,
        block_size: int = _BLOCK_SIZE,
        pool: Pool | None = None,
    ) -> Self: ...
    def __new__(  # noqa: PLR0913 - what a queue and its pool are made with
        cls,
        type: Any = None,  # noqa: A002 - the constructor's word
        capacity: int = 64,
        *,
        order: Order = "fifo",
        max_deliveries: int | None = None,
        inline_size: int = _INLINE_SIZE,
        blocks: int = _BLOCKS,
        block_size: int = _BLOCK_SIZE,
        pool: Pool | None = None,
    ) -> Any:
        made = _Made(capacity, order, max_deliveries, inline_size, blocks, block_size, pool)
        return cls._over(partial(Objects._create, made), type, pool)

    @classmethod
    def create(  # noqa: PLR0913 - the constructor's, with a name and a place
        cls,
        name: str,
        type: type[T] | None = None,  # noqa: A002 - the constructor's word
        capacity: int = 64,
        *,
        order: Order = "fifo",
        max_deliveries: int | None = None,
        inline_size: int = _INLINE_SIZE,
        blocks: int = _BLOCKS,
        block_size: int = _BLOCK_SIZE,
        pool: Pool | None = None,
        space: Space | None = None,
        mode: int | None = None,
    ) -> ObjectQueue[T]:
        """Make a named queue. Raises ExistsError if the name is taken."""
        made = _Made(capacity, order, max_deliveries, inline_size, blocks, block_size, pool)
        return cls._over(partial(Objects._create, made, name, space, mode), type, pool)

    @classmethod
    def open(
        cls,
        name: str,
        type: type[T] | None = None,  # noqa: A002 - the constructor's word
        *,
        pool: Pool | None = None,
        space: Space | None = None,
        timeout: float | None = 0,
    ) -> ObjectQueue[T]:
        """Open a named queue, waiting up to ``timeout`` seconds for the name; of one that was made with a pool, with that.

        Raises:
            NotFoundError: There is none of that name.
            MismatchError: Its blocks are another pool's.
        """
        return cls._over(partial(Objects._open, name, space, timeout), type, pool)

    @classmethod
    def open_or_create(  # noqa: PLR0913 - the constructor's, with a name and a place
        cls,
        name: str,
        type: type[T] | None = None,  # noqa: A002 - the constructor's word
        capacity: int = 64,
        *,
        order: Order = "fifo",
        max_deliveries: int | None = None,
        inline_size: int = _INLINE_SIZE,
        blocks: int = _BLOCKS,
        block_size: int = _BLOCK_SIZE,
        pool: Pool | None = None,
        space: Space | None = None,
        mode: int | None = None,
    ) -> ObjectQueue[T]:
        """Open the queue of that name, or make it. Raises MismatchError if it exists with other parameters."""
        made = _Made(capacity, order, max_deliveries, inline_size, blocks, block_size, pool)
        return cls._over(partial(Objects._open_or_create, made, name, space, mode), type, pool)

    @classmethod
    def _over(cls, make: Callable[[], Objects], type: Any, pool: Pool | None) -> Self:  # noqa: A002 - the constructor's word
        from underpass._objects.coding import coder

        # Before anything is made.
        encoder = coder(type)
        made = make()
        self = Objects.__new__(cls, made)
        if made._pool_nonce != (0 if pool is None else pool._nonce):
            whose = "those of another pool: pass it, pool=" if made._pool_nonce else "its own: leave pool= out"
            raise MismatchError(f"{made!r} takes its blocks from {whose}")
        found = pool or made._blocks
        assert found is not None, "it has blocks of its own, or a pool"
        self._pool = found
        self._type = type
        self._coder = encoder
        return self

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        opener, travel = cast("tuple[Callable[..., Objects], tuple[Any, ...]]", super().__reduce__())
        return _reopened, (type(self), opener, travel, self._type, None if self._blocks else self._pool)

    # ── putting ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def put(self, obj: T, *, priority: int = 0, front: bool = False, timeout: float | None = None) -> None:
        """Put an object, waiting for a block, if it is a long one, and for room.

        The object is encoded before that, by the caller: what it is changed to afterwards does not count. If the putter dies before this
        returns, the object is in the queue, or was never put. For ``priority`` and ``front`` see `Queue.put`.

        Raises:
            TypeError: It cannot be pickled, or is not of the queue's type; the text has the path to the part that is wrong.
            ValueError: The same, of a value that the type does not allow.
            MessageTooLongError: It is longer than the largest block.
            TimedOut: No block, or no room, within ``timeout`` seconds; the text says who has what.
            EndOfStream: The queue was shut down.
            ResetError: It was purged while this call waited.
        """
        pieces, size = self._encode(obj)
        if size <= self.inline_size:
            self._messages.put(b"".join(pieces), priority=priority, front=front, timeout=timeout)
            return
        left = _Left(timeout)
        with Filled(self._alloc(self._pool, size, left()), pieces) as message:
            self._messages.put(message, priority=priority, front=front, timeout=left())

    def put_nowait(self, obj: T, *, priority: int = 0, front: bool = False) -> None:
        """Put an object or raise WouldBlock at once."""
        pieces, size = self._encode(obj)
        if size <= self.inline_size:
            self._messages.put_nowait(b"".join(pieces), priority=priority, front=front)
            return
        with Filled(self._alloc(self._pool, size, None, nowait=True), pieces) as message:
            self._messages.put_nowait(message, priority=priority, front=front)

    def put_many(self, objects: Iterable[T], *, priority: int = 0, timeout: float | None = None) -> None:
        """Put all the objects, waiting for blocks and room; what it raises says in ``transferred`` how many were put.

        All are encoded before the first is put: if one is bad, none is. Others' objects may come between long ones.
        """
        encoded = [self._encode(obj) for obj in objects]
        left, done = _Left(timeout), 0
        try:
            if all(size <= self.inline_size for _, size in encoded):
                self._messages.put_many([b"".join(pieces) for pieces, _ in encoded], priority=priority, timeout=left())
                return
            for pieces, size in encoded:
                if size <= self.inline_size:
                    self._messages.put(b"".join(pieces), priority=priority, timeout=left())
                else:
                    with Filled(self._alloc(self._pool, size, left()), pieces) as message:
                        self._messages.put(message, priority=priority, timeout=left())
                done += 1
        except UnderpassError as error:
            setattr(error, "transferred", done + getattr(error, "transferred", 0))  # noqa: B010  not all errors declare it
            raise

    def _encode(self, obj: T) -> tuple[Pieces, int]:
        pieces = self._coder.write(obj)
        size = sum(map(len, pieces))
        if size > self.inline_size and size > (limit := max(self._pool.sizes)):
            raise MessageTooLongError(
                f"{type(obj).__qualname__} of {size} bytes, encoded, is not put into {self!r}: the largest block of {self._pool!r} "
                f"has {limit}: create it with a larger block_size=, or pass a pool= of larger blocks",
                size=size,
                limit=limit,
                argument="block_size",
            )
        return pieces, size

    def putting(self) -> AbstractContextManager[None, None]:
        """Register this process as a putter for the length of a ``with`` block; see `Queue.putting`."""
        return self._messages.putting()

    # ── getting ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def get(self, *, timeout: float | None = None) -> T:
        """Get the front object, waiting for one. It is gone from the queue, and what it holds is the caller's to write.

        An array of a long object lies in its block still, which goes back to the pool with the last view of it, whether the queue is
        open then or not. An object that cannot be decoded is gone as well: `take` keeps it.

        Raises:
            TimedOut: No object within ``timeout`` seconds; the text says who works on what.
            EndOfStream: The queue was shut down, or its last registered putter left, and nothing is queued or leased.
            PeerDiedError: The last registered putter died, and nothing is queued or leased.
            Exception: Whatever decoding raises: the class is not known here, say, or the message is of another type.
        """
        return self.take(timeout=timeout)._get()

    def get_nowait(self) -> T:
        """Get the front object or raise WouldBlock at once."""
        return self.take_nowait()._get()

    def get_many(self, limit: int | None = None, *, timeout: float | None = None) -> list[T]:
        """Get at least one object, waiting for it, then those that are there beside it by then, up to ``limit``.

        One that cannot be decoded after others were stays in front: whoever gets it meets the error again.
        """
        if limit is not None and limit < 1:
            raise ValueError(f"limit={limit} gets nothing: pass at least 1")
        return self._those_beside([self.get(timeout=timeout)], limit)

    def _those_beside(self, got: list[T], limit: int | None) -> list[T]:
        # Putters go on, and as fast as this one may: what comes from now on is another call's.
        there = self.depth
        for _ in range(there if limit is None else min(there, limit - len(got))):
            try:
                lease = self.take_nowait()
            except UnderpassError:
                break  # nothing is there; whatever else it is, whoever comes next meets it
            with lease:
                try:
                    value = lease._own()
                except Exception:  # noqa: BLE001 - put back, whoever comes next meets it
                    lease._give_up()
                    break
            got.append(value)
        return got

    def take(self, *, timeout: float | None = None) -> ObjectLease[T]:
        """Lease the front object, waiting for one: look at its ``value``, then say done or put it back.

        The object is this process's until it is settled. If the process dies, it goes back to the front.
        """
        left = _Left(timeout)
        return self._first(lambda: self._messages.take(timeout=left()))

    def take_nowait(self) -> ObjectLease[T]:
        """Lease the front object or raise WouldBlock at once."""
        return self._first(self._messages.take_nowait)

    def _first(self, take: Callable[[], Lease[memoryview]]) -> ObjectLease[T]:
        """Lease the first object that is one: a void message is nobody's, and thrown away."""
        while (found := self._leased(take())) is None:
            pass
        return found

    def _leased(self, lease: Lease[memoryview]) -> ObjectLease[T] | None:
        """Return the object of a message; None if that is void, and then it is gone."""
        message = lease.value
        if bytes(message[:1]) != _REFERENCE:
            return ObjectLease(self._coder, lease, None)
        block = self._pool._read(bytes(message[1:]), lease)
        if block is not None:
            return ObjectLease(self._coder, lease, block)
        lease.done()
        return None

    def leases(self) -> Iterator[ObjectLease[T]]:
        """Lease object after object, until EndOfStream: ``for job in queue.leases(): with job: ...``."""
        with suppress(EndOfStream):
            while True:
                yield self.take()

    def __iter__(self) -> Iterator[T]:
        with suppress(EndOfStream):
            while True:
                yield self.get()

    # ── all of it ───────────────────────────────────────────────────────────────────────────────────────────────────

    def peek(self, index: int = 0) -> T:
        """Return a copy of the object at ``index`` from the front, which stays there. Raises IndexError.

        Copies those before it as well, and keeps getters waiting while it copies one.
        """
        if index < 0:
            raise ValueError(f"index={index} is negative: the first one is at 0")
        there = (message for at in count() if (message := self._peek(self._pool, at)) is not None)
        return cast("T", self._coder.read(memoryview(bytearray(next(islice(there, index, None))))))

    def purge(self) -> int:
        """Throw away what is queued; how many objects. Putters that wait leave with ResetError."""
        return self._purge(self._pool)

    def shutdown(self, *, immediate: bool = False) -> None:
        """Refuse further puts; getters drain what is there. With ``immediate`` what is queued is thrown away."""
        self._messages.shutdown()
        if immediate:
            self.purge()
        else:
            self._pool._recall()

    def join(self, *, timeout: float | None = None) -> None:
        """Wait until nothing is queued or leased. Raises TimedOut."""
        self._messages.join(timeout=timeout)

    @property
    def depth(self) -> int:
        """Objects queued now, those at work not counted; a void message, of a putter that died, is one until somebody comes to it."""
        return self._messages.depth

    @property
    def capacity(self) -> int:
        """Objects that it can hold."""
        return self._messages.capacity

    @property
    def inline_size(self) -> int:
        """Bytes of the longest object that lies in the queue itself."""
        return self._messages.message_size

    @property
    def pool(self) -> Pool:
        """Where its blocks are: its own, or the one that it was made with."""
        return self._pool

    @property
    def dead_letters(self) -> ObjectQueue[T]:
        """The queue of objects that were delivered ``max_deliveries`` times. Raises MisuseError without that."""
        return type(self)._over(self._dead_letters, self._type, None if self._blocks else self._pool)

    @property
    def aio(self) -> _aio.ObjectQueue[T]:
        """The same queue for coroutines."""
        return cast("_aio.ObjectQueue[T]", super().aio)

    def statistics(self) -> QueueStatistics:
        """Return a frozen snapshot: depth, and who works on what since when; ``pool.statistics()`` has the blocks."""
        return self._messages.statistics()


class Filled:
    """A block that a message refers to: its own until the message has arrived, and the message's from then on."""

    __slots__ = ("_block", "_pieces")

    def __init__(self, block: Block, pieces: Pieces) -> None:
        self._block = block
        self._pieces = pieces

    def __enter__(self) -> bytes:
        with memoryview(self._block) as view:
            at = 0
            for piece in self._pieces:
                view[at : at + len(piece)] = piece
                at += len(piece)
        return _REFERENCE + self._block._reference()

    def __exit__(self, exc_type: object, exc: object, tb: object) -> None:
        if exc_type is None:
            self._block._queued()
        else:
            # It may be another's, if the message has arrived all the same.
            with suppress(MisuseError):
                self._block.release()


class _Left:
    """What is left of a time-out for those who wait more than once."""

    __slots__ = ("_timeout", "_until")

    def __init__(self, timeout: float | None) -> None:
        self._timeout = timeout
        self._until: float | None = None

    def __call__(self) -> float | None:
        if not self._timeout:
            return self._timeout
        now = time.monotonic()
        if self._until is None:
            self._until = now + self._timeout
            return self._timeout
        return max(0.0, self._until - now)


class _Made(NamedTuple):
    """What a queue of objects and its pool are made with."""

    capacity: int
    order: Order
    max_deliveries: int | None
    inline_size: int
    blocks: int
    block_size: int
    pool: Pool | None


def _reopened(
    cls: type[ObjectQueue[Any]],
    opener: Callable[..., Objects],
    travel: tuple[Any, ...],
    annotation: Any,
    pool: Pool | None,
) -> ObjectQueue[Any]:
    return cls._over(partial(opener, *travel), annotation, pool)
