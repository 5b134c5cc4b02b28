"""`underpass.wait_any`, `wait_all` and `select`, awaitable: each wait has a set of its own, which its loop waits for."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from functools import partial
from types import MethodType, TracebackType
from typing import Any, Literal, TypeVar, cast, overload

from underpass import sync, waiting
from underpass.aio.atomic import AtomicInt
from underpass.aio.attempt import single
from underpass.aio.condition import Condition
from underpass.aio.face import Face
from underpass.aio.notification import Notification
from underpass.aio.reach import Reach, is_in_reach
from underpass.aio.running import reactor
from underpass.aio.rwlock import RWLock
from underpass.aio.seat import Seat
from underpass.errors import TimedOut
from underpass.memory import SharedObject

A = TypeVar("A")
B = TypeVar("B")
W = TypeVar("W")
#: What a verb of a face returns that can be selected: something to await, or the block that it begins.
Operation = Awaitable[Any] | AbstractAsyncContextManager[Any]

EVERY_FLAG = (1 << 64) - 1
#: Verbs that begin a block.
BLOCKS = frozenset({"holding", "recovering"})


async def wait_any(*what: W) -> list[W]:
    """Wait until one of these is ready at least; return all that are, in the order given.

    Takes nothing, as `underpass.wait_any`. While it waits it has a `WaitSet`: a bell of the space and some descriptors.

    Args:
        what: Faces or objects that can be waited for beside others, `process`, descriptors.

    Raises:
        TypeError: Not something that can be waited for.
        ValueError: Nothing was given.
        ClosedError: One of these was closed.
        OutOfSpaceError: It has to wait, and there is no room for a bell, or no descriptor left.

    Example:
        >>> import asyncio, underpass.aio
        >>> async def main():
        ...     jobs, stop = underpass.aio.Queue(), underpass.aio.Event()
        ...     stop.set()
        ...     return await underpass.aio.wait_any(jobs, stop) == [stop]
        >>> asyncio.run(main())
        True
    """
    plain = [_plain(one) for one in what]
    ready = await Reach("wait_any", plain).wait(
        lambda places: single(lambda: waiting.wait_any(*(plain[place] for place in places), timeout=0))()
    )
    return [one for one, its in zip(what, plain, strict=True) if any(its is other for other in ready)]


async def wait_all(*what: object) -> None:
    """Wait until all of these are ready at one look. Takes nothing; otherwise as `wait_any`, of objects alone."""
    plain = [_plain(one) for one in what]
    where = reactor()
    where.may_await(str, plain)
    if where.cancelled:
        await where.loop.end_if_cancelled()
    while True:
        with suppress(TimedOut):
            if all(is_in_reach(one) for one in plain):
                return waiting.wait_all(*plain, timeout=0)
        for one in what:
            await wait_any(one)


@overload
async def select(
    a: Callable[[], Awaitable[A]], b: Callable[[], Awaitable[B]], /
) -> tuple[Literal[0], A] | tuple[Literal[1], B]: ...
@overload
async def select(*operations: Callable[[], Operation]) -> tuple[int, Any]: ...
async def select(*operations: Callable[[], Operation]) -> tuple[int, Any]:
    """Do the first of these operations that need not wait, and no other; return its place and what it returned.

    A task that is cancelled has done none. As `underpass.select`, it stands in no order, also among the tasks of its loop: a `Mutex`
    that another task has, or waits for, it tries once nobody does. Waits as `wait_any` does.

    Of ``holding`` and ``recovering`` what is returned is a block that is held already, with what ``as`` of the verb's own has: enter it
    at once, by ``async with``.

    Args:
        operations: Bound verbs of faces, as in ``select(jobs.get, stop.wait)``, or ``functools.partial`` of one with arguments: a
            ``put`` with its message, a ``wait`` for some flags, or for a change from a value.

    Raises:
        TypeError: Not a verb of a face whose object can be waited for; or one of an `RWLock`, which tells the task by its place in
            line.
        ValueError: Nothing was given.
        Exception: What the operation raised that was tried.

    Example:
        >>> import asyncio, underpass.aio
        >>> async def main():
        ...     jobs, stop = underpass.aio.Queue(), underpass.aio.Event()
        ...     await jobs.put(b"wheel")
        ...     return await underpass.aio.select(jobs.get, stop.wait)
        >>> asyncio.run(main())
        (0, b'wheel')
    """
    verbs = [_verb(operation) for operation in operations]

    def attempt(places: list[int]) -> tuple[int, Any]:
        chosen, done = single(lambda: waiting.select(*(verbs[place][1] for place in places), timeout=0))()
        place = places[chosen]
        plain = verbs[place][0]
        if isinstance(plain, sync.Mutex):
            Seat.of(plain).taken()
        return place, SelectedBlock(plain, done) if _name(operations[place]) in BLOCKS else done

    return await Reach("select", [what for what, _ in verbs]).wait(attempt)


class SelectedBlock:
    """A block that `select` has begun: it is held already, until it ends."""

    __slots__ = ("_block", "_plain")

    def __init__(self, plain: SharedObject, block: AbstractContextManager[Any]) -> None:
        self._plain = plain
        self._block = block

    async def __aenter__(self) -> Any:
        return self._block.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        def end() -> None:
            self._block.__exit__(kind, error, trace)

        if isinstance(self._plain, sync.Mutex):
            Seat.of(self._plain).end(end, error)
        else:
            end()


def _plain(what: Any) -> Any:
    return cast("Face[Any]", what).sync if isinstance(what, Face) else what


def _bound(operation: Callable[[], Any]) -> Any:
    return operation.func if isinstance(operation, partial) else operation


def _name(operation: Callable[[], Any]) -> str:
    return cast("str", _bound(operation).__name__)


def _verb(operation: Callable[[], Operation]) -> tuple[Any, Callable[[], Any]]:
    """Return what a face's verb waits for, and the verb of its object."""
    bound = _bound(operation)
    face = bound.__self__ if isinstance(bound, MethodType) else None
    if not isinstance(face, Face) or isinstance(face, (Condition, RWLock)):
        raise TypeError(
            f"{operation!r} is no verb of an object in underpass.aio that can be selected: pass jobs.get, stop.wait"
        )
    plain, name = _plain(face), _name(operation)
    verb = getattr(plain, name)
    if not isinstance(operation, partial):
        return plain.room if name == "put" else plain, verb
    arguments, keywords = operation.args, operation.keywords
    if name == "wait" and isinstance(face, AtomicInt):
        what = plain.change_from(*arguments, **keywords)
    elif name == "wait" and isinstance(face, Notification) and (arguments or keywords):
        wish = {key: value for key, value in keywords.items() if key != "consume"}
        what = plain.flags(*arguments, **wish) if arguments or "bits" in wish else plain.flags(EVERY_FLAG, **wish)
    else:
        what = plain.room if name == "put" else plain
    return what, partial(verb, *arguments, **keywords)
