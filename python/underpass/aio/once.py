"""`underpass.Once`, awaitable."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from inspect import isawaitable

from underpass import sync
from underpass.aio.attempt import single
from underpass.aio.face import Face
from underpass.aio.seat import Seat
from underpass.memory import Space


class Once(Face[sync.Once]):
    """What exactly one task of exactly one process runs: ``aio.Once()``, or ``once.aio``.

    Who comes while another runs it waits until that one has come to its end. If that one is cancelled, raises or dies instead, one who
    waits runs it.

    Example:
        >>> import asyncio, underpass.aio
        >>> async def prepare():
        ...     print("only once")
        >>> async def main():
        ...     ready = underpass.aio.Once()
        ...     return await ready.call(prepare), await ready.call(prepare)
        >>> asyncio.run(main())
        only once
        (True, False)
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(sync.Once())

    @classmethod
    def create(cls, name: str, *, space: Space | None = None, mode: int | None = None) -> "Once":
        """Make a named once. Raises ExistsError if the name is taken."""
        return cls.over(sync.Once.create(name, space=space, mode=mode))

    @classmethod
    def open(cls, name: str, *, space: Space | None = None) -> "Once":
        """Open a named once. Raises NotFoundError."""
        return cls.over(sync.Once.open(name, space=space))

    @classmethod
    def open_or_create(cls, name: str, *, space: Space | None = None, mode: int | None = None) -> "Once":
        """Open the once of that name, or make it."""
        return cls.over(sync.Once.open_or_create(name, space=space, mode=mode))

    async def call(self, function: Callable[[], Awaitable[object] | object]) -> bool:
        """Run ``function()`` unless it has run, and await what it returns, if that can be; True if this call did.

        Raises:
            MisuseError: This task is running it: a function may not call its own once.
            Exception: What ``function`` raises; then it has not run, and the next one runs it.
        """
        async with self.running() as turn:
            if turn is None:
                return False
            returned = function()
            if isawaitable(returned):
                await returned
        return True

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[sync.OnceTurn | None]:
        """Run it in an ``async with`` block: the block gets its turn, or None if it has run and there is nothing to do.

        ``turn.died`` is the OwnerDiedError of who died in the middle, if somebody did. A block that ends by an exception, or is
        cancelled, leaves it to the next. Waits, and raises, as ``call`` does.
        """
        seat = Seat.of(self.sync)

        @single
        def attempt() -> tuple[AbstractContextManager[sync.OnceTurn | None, None], sync.OnceTurn | None]:
            block = self.sync.running(timeout=0)
            return block, block.__enter__()

        block, turn = await seat.take(self.sync, attempt)
        if turn is None:
            seat.give(partial(block.__exit__, None, None, None))
            yield None
            return
        try:
            yield turn
        except BaseException as error:
            seat.give(partial(block.__exit__, type(error), error, error.__traceback__))
            raise
        else:
            seat.give(partial(block.__exit__, None, None, None))

    @property
    def done(self) -> bool:
        """True once it has run."""
        return self.sync.done

    def statistics(self) -> sync.OnceStatistics:
        """Return a frozen snapshot."""
        return self.sync.statistics()
