"""`underpass.data.SpscRing` and `MpscRing`, awaitable."""

from functools import partial
from typing import TYPE_CHECKING, TypeVar

from underpass import data
from underpass.aio.face import Face
from underpass.aio.running import reactor
from underpass.memory import Space

if TYPE_CHECKING:
    from typing_extensions import Buffer

Plain = TypeVar("Plain", bound=data.Ring)


class Ring(Face[Plain]):
    """What `SpscRing` and `MpscRing` have for coroutines."""

    __slots__ = ()

    async def write(self, data: "Buffer") -> None:
        """Write a packet, waiting for room. A cancelled task has written none.

        Raises:
            PeerDiedError: There is no room, and the reader has died.
            MessageTooLongError: More than half the capacity.
        """
        view = memoryview(data).cast("B")
        member = partial(self.sync.room_for, len(view))
        await reactor().wait((self.sync, "room", len(view)), member, partial(self.sync.write_nowait, view))

    def write_nowait(self, data: "Buffer") -> None:
        """Write a packet or raise WouldBlock at once."""
        self.sync.write_nowait(data)

    async def claim(self, size: int) -> data.Loan:
        """Claim the next packet to write it in place, waiting for room. A cancelled task has claimed none."""
        member = partial(self.sync.room_for, size)
        return await reactor().wait((self.sync, "room", size), member, partial(self.sync.claim_nowait, size))

    def claim_nowait(self, size: int) -> data.Loan:
        """Claim the next packet or raise WouldBlock at once."""
        return self.sync.claim_nowait(size)

    async def read(self) -> bytes:
        """Read the next packet, waiting for it. A cancelled task has read none.

        Raises:
            PeerDiedError: It is an `SpscRing` with nothing in it, and its writer has died.
            MisuseError: Another process reads, or somebody here has a packet.
        """
        return await reactor().wait(self.sync, lambda: self.sync, self.sync.read_nowait)

    def read_nowait(self) -> bytes:
        """Read the next packet or raise WouldBlock at once."""
        return self.sync.read_nowait()

    async def take(self) -> data.Packet:
        """Take the next packet to read it in place, waiting for it. A cancelled task has taken none."""
        return await reactor().wait(self.sync, lambda: self.sync, self.sync.take_nowait)

    def take_nowait(self) -> data.Packet:
        """Take the next packet or raise WouldBlock at once."""
        return self.sync.take_nowait()

    @property
    def next_size(self) -> int | None:
        """Bytes of the next packet; None: it is not there, or not committed."""
        return self.sync.next_size

    @property
    def depth(self) -> int:
        """Packets that were claimed and not freed."""
        return self.sync.depth

    @property
    def capacity(self) -> int:
        """Bytes that it holds."""
        return self.sync.capacity

    def statistics(self) -> data.RingStatistics:
        """Return a frozen snapshot."""
        return self.sync.statistics()


class SpscRing(Ring[data.SpscRing]):
    """A ring of one writer for coroutines: ``aio.SpscRing(capacity)``, or ``ring.aio``.

    Example:
        >>> import asyncio, underpass.aio
        >>> async def main():
        ...     ring = underpass.aio.SpscRing(4096)
        ...     await ring.write(b"hello")
        ...     return await ring.read()
        >>> asyncio.run(main())
        b'hello'
    """

    __slots__ = ()

    def __init__(self, capacity: int) -> None:
        super().__init__(data.SpscRing(capacity))

    @classmethod
    def create(cls, name: str, capacity: int, *, space: Space | None = None, mode: int | None = None) -> "SpscRing":
        """Make a named ring. Raises ExistsError if the name is taken."""
        return cls.over(data.SpscRing.create(name, capacity, space=space, mode=mode))

    @classmethod
    def open(cls, name: str, *, space: Space | None = None) -> "SpscRing":
        """Open a named ring. Raises NotFoundError."""
        return cls.over(data.SpscRing.open(name, space=space))

    @classmethod
    def open_or_create(
        cls, name: str, capacity: int, *, space: Space | None = None, mode: int | None = None
    ) -> "SpscRing":
        """Open the ring of that name, or make it. Raises MismatchError if it exists with another capacity."""
        return cls.over(data.SpscRing.open_or_create(name, capacity, space=space, mode=mode))


class MpscRing(Ring[data.MpscRing]):
    """A ring of many writers for coroutines: ``aio.MpscRing(capacity)``, or ``ring.aio``.

    Tasks of one loop that wait for room for equally many bytes get it in order of arrival.

    Example:
        >>> import asyncio, underpass.aio
        >>> async def main():
        ...     log = underpass.aio.MpscRing(4096)
        ...     with await log.claim(5) as packet:
        ...         packet[:] = b"hello"
        ...     with await log.take() as packet:
        ...         return bytes(packet)
        >>> asyncio.run(main())
        b'hello'
    """

    __slots__ = ()

    def __init__(self, capacity: int) -> None:
        super().__init__(data.MpscRing(capacity))

    @classmethod
    def create(cls, name: str, capacity: int, *, space: Space | None = None, mode: int | None = None) -> "MpscRing":
        """Make a named ring. Raises ExistsError if the name is taken."""
        return cls.over(data.MpscRing.create(name, capacity, space=space, mode=mode))

    @classmethod
    def open(cls, name: str, *, space: Space | None = None) -> "MpscRing":
        """Open a named ring. Raises NotFoundError."""
        return cls.over(data.MpscRing.open(name, space=space))

    @classmethod
    def open_or_create(
        cls, name: str, capacity: int, *, space: Space | None = None, mode: int | None = None
    ) -> "MpscRing":
        """Open the ring of that name, or make it. Raises MismatchError if it exists with another capacity."""
        return cls.over(data.MpscRing.open_or_create(name, capacity, space=space, mode=mode))
