"""`underpass.Pipe`, awaitable."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from underpass import _loops, data
from underpass.aio.face import Face
from underpass.aio.running import reactor
from underpass.aio.target import target
from underpass.errors import DiedError, EndOfStream, ResetError
from underpass.memory import Space

if TYPE_CHECKING:
    from typing_extensions import Buffer

T = TypeVar("T")


#: Parts of a stream after which other tasks run, also if none had to wait.
PARTS = 8


def _same(it: T) -> T:
    return it


async def _pause(parts: int) -> None:
    """Let other tasks of the loop run now and then, however fast the other side is."""
    if parts and parts % PARTS == 0:
        await reactor().loop.breathe()


class Pipe(Face[data.Pipe]):
    """A pipe for coroutines: ``aio.Pipe()``, or ``pipe.aio``.

    Tasks of one loop that wait for equally many bytes are served in order of arrival. A cancelled task has read or written all of a
    piece (at most half the capacity) or none; what it had read of a longer one is lost, so bound that by `read_some`.

    Example:
        >>> import asyncio, underpass.aio
        >>> async def main():
        ...     pipe = underpass.aio.Pipe()
        ...     await pipe.write(b"a line")
        ...     return await pipe.read(6)
        >>> asyncio.run(main())
        b'a line'
    """

    __slots__ = ()

    def __init__(self, capacity: int = 65536) -> None:
        super().__init__(data.Pipe(capacity))

    @classmethod
    def create(cls, name: str, capacity: int = 65536, *, space: Space | None = None, mode: int | None = None) -> "Pipe":
        """Make a named pipe. Raises ExistsError if the name is taken."""
        return cls.over(data.Pipe.create(name, capacity, space=space, mode=mode))

    @classmethod
    def open(cls, name: str, *, space: Space | None = None) -> "Pipe":
        """Open a named pipe. Raises NotFoundError."""
        return cls.over(data.Pipe.open(name, space=space))

    @classmethod
    def open_or_create(
        cls, name: str, capacity: int = 65536, *, space: Space | None = None, mode: int | None = None
    ) -> "Pipe":
        """Open the pipe of that name, or make it. Raises MismatchError if it exists with another capacity."""
        return cls.over(data.Pipe.open_or_create(name, capacity, space=space, mode=mode))

    async def write(self, data: "Buffer") -> None:
        """Write all the bytes, waiting for room.

        Raises:
            EndOfStream: The pipe was shut down; ``transferred`` says how many bytes were written before.
            ResetError: It was reset meanwhile.
        """
        view = memoryview(data).cast("B")
        chunk = max(len(view), 1) if len(view) <= self.capacity // 2 else max(self.capacity // 4, 1)
        # Both know of every reset since now.
        sizes, room = (chunk, len(view) % chunk or chunk), self.sync.room
        sinces = {size: _loops.bytes_of_room_since(room, size) for size in sizes}
        done, parts = 0, 0
        try:
            while True:
                await _pause(parts)
                part = view[done : done + chunk]
                since = sinces[len(part) or chunk]
                attempt = partial(_loops.write_since, self.sync, part, since)
                place = partial(_same, since)
                await reactor().wait(_loops.line(since), place, attempt, by_handle=True, verb="write")
                done, parts = done + len(part), parts + 1
                if done == len(view):
                    return
        except (EndOfStream, ResetError, DiedError) as error:
            error.transferred = done
            raise

    def write_nowait(self, data: "Buffer") -> None:
        """Write all the bytes at once, or none and raise WouldBlock."""
        self.sync.write_nowait(data)

    async def read(self, size: int) -> bytes:
        """Read ``size`` bytes, waiting for all of them.

        Raises:
            EndOfStream: The pipe was shut down, or its last registered writer left, and fewer are left.
            PeerDiedError: The last registered writer died, and fewer are left.
            ResetError: It was reset meanwhile. Each has in ``data`` what was read of more than half the capacity.
        """
        if size <= self.capacity // 2:
            return await self._with_bytes(size, partial(_loops.read_since, self.sync, size))
        read, parts, since = bytearray(), 0, _loops.bytes_since(self.sync, 1)
        try:
            while len(read) < size:
                await _pause(parts)
                attempt = partial(_loops.read_some_since, self.sync, size - len(read), since)
                read += await reactor().wait(_loops.line(since), lambda: since, attempt, by_handle=True)
                parts += 1
        except (EndOfStream, ResetError, DiedError) as error:
            error.transferred, error.data = len(read), bytes(read)
            raise
        return bytes(read)

    def read_nowait(self, size: int) -> bytes:
        """Read ``size`` bytes at once, or none and raise WouldBlock."""
        return self.sync.read_nowait(size)

    async def read_into(self, buffer: "Buffer") -> int:
        """Fill a writable buffer as `read` does, and return how many bytes that are: all it has."""
        view = target(buffer)
        try:
            view[:] = await self.read(len(view))
        except (EndOfStream, ResetError, DiedError) as error:
            view[: len(error.data)] = error.data
            raise
        return len(view)

    async def read_some(self, limit: int) -> bytes:
        """Read what is there, at least one byte and at most ``limit``, waiting for the first. A cancelled task has read none."""
        return await self._with_bytes(1, partial(_loops.read_some_since, self.sync, limit))

    def read_some_nowait(self, limit: int) -> bytes:
        """Read what is there, at most ``limit`` bytes, or raise WouldBlock at once."""
        return self.sync.read_some_nowait(limit)

    def putting(self) -> AbstractContextManager[None, None]:
        """Register this process as a writer for the length of a ``with`` block."""
        return self.sync.putting()

    def reset(self) -> None:
        """Throw away what is in it. Who waits leaves with ResetError."""
        self.sync.reset()

    def shutdown(self) -> None:
        """Refuse further writes, for good; readers drain what is left."""
        self.sync.shutdown()

    @property
    def depth(self) -> int:
        """Bytes in it now."""
        return self.sync.depth

    @property
    def capacity(self) -> int:
        """How many bytes it can hold."""
        return self.sync.capacity

    def statistics(self) -> data.PipeStatistics:
        """Return a frozen snapshot."""
        return self.sync.statistics()

    async def _with_bytes(self, least: int, read: Callable[[Any], T]) -> T:
        since = _loops.bytes_since(self.sync, least)
        return await reactor().wait(_loops.line(since), lambda: since, partial(read, since), by_handle=True)
