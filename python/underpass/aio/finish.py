"""Structured calls, after AC (Harris, Abadi, Isaacs, McIlroy: AC, composable asynchronous IO for native languages, OOPSLA 2011).

AC's ``do { async S1; async S2; } finish`` is ``async with finish() as block: block.start(S1); block.start(S2)``.

Invariant: a call runs in the turn of who starts it until it first waits, so a block whose calls never wait runs as if ``start`` were an
ordinary call; and nobody comes past the end of a block before all calls that were started in it have ended.
"""

import enum
from collections.abc import Awaitable, Callable, Coroutine
from inspect import iscoroutine
from types import TracebackType
from typing import Any, Final, Literal, ParamSpec, Protocol, Self, TypeVar

from underpass.aio.call import Call
from underpass.aio.running import reactor
from underpass.errors import MisuseError

T = TypeVar("T")
P = ParamSpec("P")


class Cancelled(enum.Enum):
    """What `cancellable` returns of an operation that was cancelled: it has had no effect."""

    CANCELLED = "cancelled"

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "CANCELLED"


CANCELLED: Final = Cancelled.CANCELLED


class Crew(Protocol):
    """What a block asks of its event loop: the tasks of its calls."""

    def open(self) -> None:
        """Begin, in the task that entered the block."""
        ...

    def start(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        """Make a task of it, and its first step at once."""
        ...

    def cancel(self) -> None:
        """Cancel all tasks in the block, its own one included. Waits for none."""
        ...

    async def close(self, error: BaseException | None) -> None:
        """Wait until all have ended. Raises what ends the task of the block itself."""
        ...

    def absorb(self) -> bool:
        """Say whether the cancellation that the running task has caught is that of a block around it; it is over then."""
        ...


class Finish:
    """A block of calls that all end before it does: ``async with finish() as block:``.

    `start` runs a call at once, in the caller's turn, until the call first waits; then the caller goes on. Calls are tasks of the
    event loop, so they wait beside each other and never run at once. A call may start others in the same block.

    Errors of the calls, and of the block itself, come out of its end as one ExceptionGroup, when all calls have ended: so where an error
    arrives does not depend on whether its call had to wait. An error of a call cancels nobody; a block that is left by an exception is
    cancelled.

    `cancel` asks everything in the block to end: what waits ends with the loop's own cancellation (``asyncio.CancelledError``,
    ``trio.Cancelled``), and so does every awaitable verb of this library that is begun in it from then on, without effect, even if it
    need not wait. Blocks in it are cancelled with it, unless they are shielded; so are blocks that are entered later. Each verb has had
    its effect or was cancelled, never both.

    Args:
        shield: Neither `cancel` of a block around this one nor, on trio, of a scope around it reaches in.

    Example:
        >>> import asyncio, underpass.aio
        >>> async def main():
        ...     names = underpass.aio.Queue()
        ...     async with underpass.aio.finish() as both:
        ...         first = both.start(names.get)
        ...         second = both.start(names.get)
        ...         await names.put(b"wheel")
        ...         await names.put(b"axle")
        ...     return first.result(), second.result()
        >>> asyncio.run(main())
        (b'wheel', b'axle')
    """

    def __init__(self, *, shield: bool = False) -> None:
        self.shield: Final = shield
        self.state: Literal["new", "open", "over"] = "new"
        self.cancel_requested: bool = False
        #: The block around this one, as far as it runs in the same task or started it.
        self.outer: Finish | None = None
        self.crew: Crew
        #: What its calls, and itself, have raised: its end raises them.
        self.errors: list[Exception] = []

    def start(self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> Call[T]:
        """Call an async function, and go on when it has ended or waits for the first time.

        It runs in a copy of the caller's context, as every task does. What it raises comes out of the block's end.

        Raises:
            MisuseError: The block is over, not yet entered, or of another event loop.
            TypeError: That is no async function.
        """
        if self.state != "open" or reactor() is not self._where:
            why = {"new": "is not entered yet", "over": "is over", "open": "is another event loop's"}[self.state]
            raise MisuseError(f"{_name(function)} not started: this finish block {why}")
        if iscoroutine(function):
            function.close()
            raise TypeError("start() makes the call itself: start(f, x), not start(f(x))")
        awaitable = function(*args, **kwargs)
        if not hasattr(awaitable, "__await__"):
            raise TypeError(f"{_name(function)} is no async function: it returned {awaitable!r}")
        call: Call[T] = Call(_name(function))
        self.crew.start(self._run(call, awaitable), call.name)
        return call

    def cancel(self) -> None:
        """Ask everything in the block to end. Does not wait: the end of the block does. More than once is as good as once."""
        if self.state != "open" or self.cancel_requested:
            return
        self.cancel_requested = True
        self._where.cancelled += 1
        self.crew.cancel()

    def cancelled_by(self) -> "Finish | None":
        """Return the innermost block, this one or around it, whose `cancel` reaches here; None if there is none."""
        block: Finish | None = self
        while block is not None and not block.cancel_requested:
            block = None if block.shield else block.outer
        return block

    async def __aenter__(self) -> Self:
        if self.state != "new":
            raise MisuseError("a finish block is entered once: make one for each `async with`")
        self._where = reactor()
        self._host = self._where.loop.task()
        self.outer = self._where.blocks.get(self._host)
        self.crew = self._where.loop.crew(self)
        self.crew.open()
        self._where.blocks[self._host] = self
        self.state = "open"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if isinstance(error, Exception):
            self.errors.append(error)
        ending: BaseException | None = None
        try:
            await self.crew.close(error)
        except BaseException as raised:  # noqa: BLE001 - raised again below, beside what the calls raised
            ending = raised
        self.state = "over"
        if self.cancel_requested:
            self._where.cancelled -= 1
        if self.outer is None:
            del self._where.blocks[self._host]
        else:
            self._where.blocks[self._host] = self.outer
        try:
            if self.errors:
                also = [] if ending is None else [ending]
                raise BaseExceptionGroup("errors in a finish block", [*self.errors, *also])
            if ending is not None:
                raise ending
        finally:
            self.errors, ending, error = [], None, None
        return True

    async def _run(self, call: Call[T], awaitable: Awaitable[T]) -> None:
        where, task = self._where, self._where.loop.task()
        where.blocks[task] = self
        try:
            call.returned(await awaitable)
        except Exception as error:  # noqa: BLE001 - the end of the block raises it
            call.raised(error)
            self.errors.append(error)
        except BaseException:
            call.cancelled()
            raise
        finally:
            del where.blocks[task]


def finish(*, shield: bool = False) -> Finish:
    """Make a block whose calls all end before it does: AC's ``do { ... } finish``. See `Finish`."""
    return Finish(shield=shield)


def cancel() -> None:
    """Cancel the innermost `finish` block around the running task.

    Raises:
        MisuseError: There is none.
    """
    where = reactor()
    block: Finish | None = where.blocks.get(where.loop.task())
    if block is None:
        raise MisuseError("nothing to cancel: no finish block is around this task")
    block.cancel()


async def cancellable(operation: Awaitable[T], /) -> T | Cancelled:
    """Await an operation, and return CANCELLED if a `finish` block around it was cancelled before the operation had its effect.

    So a call goes on where the cancellation would have ended it. For each verb of this library: its effect or CANCELLED, never both, and
    CANCELLED at once if the block was cancelled before. But a call of a gate that the server has taken is abandoned: CANCELLED says that
    no reply comes, and the server may have acted. A cancellation by the event loop's own means is raised as ever.

    Example:
        >>> import asyncio, underpass.aio
        >>> async def main():
        ...     jobs = underpass.aio.Queue()
        ...     async with underpass.aio.finish() as block:
        ...         got = block.start(underpass.aio.cancellable, jobs.get())
        ...         block.cancel()
        ...     return got.result()
        >>> asyncio.run(main())
        CANCELLED
    """
    where = reactor()
    try:
        return await operation
    except where.loop.cancelled_error:
        block: Finish | None = where.blocks.get(where.loop.task())
        if block is None or not block.crew.absorb():
            raise
        return CANCELLED


def _name(function: object) -> str:
    return str(getattr(function, "__qualname__", repr(function)))
