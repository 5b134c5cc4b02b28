"""`underpass.Pool`, awaitable."""

from collections.abc import Mapping
from functools import partial

from underpass import memory
from underpass.aio.face import Face
from underpass.aio.running import reactor
from underpass.memory import Block, PoolStatistics, Space


class Pool(Face[memory.Pool]):
    """A pool for coroutines: ``aio.Pool(blocks, block_size)``, or ``pool.aio``.

    Tasks of one loop that wait for equally many bytes get blocks in order of arrival.

    Example:
        >>> import asyncio, underpass.aio
        >>> async def main():
        ...     pool = underpass.aio.Pool(2, 4096)
        ...     with await pool.alloc(5) as block:
        ...         block[:] = b"hello"
        ...         return bytes(block)
        >>> asyncio.run(main())
        b'hello'
    """

    __slots__ = ()

    def __init__(self, blocks: int, block_size: int, *, more: Mapping[int, int] | None = None) -> None:
        super().__init__(memory.Pool(blocks, block_size, more=more))

    @classmethod
    def create(  # noqa: PLR0913 - the object's own arguments
        cls,
        name: str,
        blocks: int,
        block_size: int,
        *,
        more: Mapping[int, int] | None = None,
        space: Space | None = None,
        mode: int | None = None,
    ) -> "Pool":
        """Make a named pool. Raises ExistsError if the name is taken."""
        return cls.over(memory.Pool.create(name, blocks, block_size, more=more, space=space, mode=mode))

    @classmethod
    def open(cls, name: str, *, space: Space | None = None) -> "Pool":
        """Open a named pool. Raises NotFoundError."""
        return cls.over(memory.Pool.open(name, space=space))

    @classmethod
    def open_or_create(  # noqa: PLR0913 - the object's own arguments
        cls,
        name: str,
        blocks: int,
        block_size: int,
        *,
        more: Mapping[int, int] | None = None,
        space: Space | None = None,
        mode: int | None = None,
    ) -> "Pool":
        """Open the pool of that name, or make it. Raises MismatchError if it exists with other blocks."""
        return cls.over(memory.Pool.open_or_create(name, blocks, block_size, more=more, space=space, mode=mode))

    async def alloc(self, size: int | None = None) -> Block:
        """Take a block of at least ``size`` bytes, waiting for one. A cancelled task has taken none."""
        member = partial(self.sync.room_for, size)
        return await reactor().wait((self.sync, "alloc", size), member, partial(self.sync.alloc_nowait, size))

    def alloc_nowait(self, size: int | None = None) -> Block:
        """Take a block of at least ``size`` bytes or raise WouldBlock at once."""
        return self.sync.alloc_nowait(size)

    def receive(self, reference: bytes) -> Block:
        """Take a block over that its owner has handed on, once."""
        return self.sync.receive(reference)

    @property
    def free(self) -> int:
        """Blocks that are free, of all sizes."""
        return self.sync.free

    @property
    def sizes(self) -> dict[int, int]:
        """How many blocks there are, by their bytes."""
        return self.sync.sizes

    def statistics(self) -> PoolStatistics:
        """Return a frozen snapshot."""
        return self.sync.statistics()
