"""Message after message, until the end of a queue: what ``async for`` goes through."""

from collections.abc import Awaitable, Callable
from typing import Generic, Self, TypeVar

from underpass.aio.running import reactor
from underpass.errors import EndOfStream

T = TypeVar("T")

# What is there is taken without a turn of the loop; after so many its other tasks get one.
_AT_ONCE = 64


class Messages(Generic[T]):
    """An iterator that lets the loop's other tasks run from time to time."""

    __slots__ = ("_count", "_get")

    def __init__(self, get: Callable[[], Awaitable[T]]) -> None:
        self._get = get
        self._count = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        self._count += 1
        if self._count % _AT_ONCE == 0:
            await reactor().loop.breathe()
        try:
            return await self._get()
        except EndOfStream:
            raise StopAsyncIteration from None
