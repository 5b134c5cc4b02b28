"""`underpass.wait_any`, `wait_all` and `select`, awaitable: each wait has a set of its own, which its loop waits for."""

from collections.abc import Awaitable, Callable
from functools import partial
from types import MethodType
from typing import Any, Literal, TypeVar, cast, overload

from underpass import waiting
from underpass.aio.atomic import AtomicInt
from underpass.aio.attempt import single
from underpass.aio.condition import Condition
from underpass.aio.face import Face
from underpass.aio.mutex import Mutex
from underpass.aio.notification import Notification
from underpass.aio.running import reactor
from underpass.aio.rwlock import RWLock
from underpass.errors import TimedOut
from underpass.waiting import WaitSet

A = TypeVar("A")
B = TypeVar("B")
T = TypeVar("T")
W = TypeVar("W")

EVERY_FLAG = (1 << 64) - 1


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
    ready = await _wait(plain, single(lambda: waiting.wait_any(*plain, timeout=0)))
    return [one for one, its in zip(what, plain, strict=True) if any(its is other for other in ready)]


async def wait_all(*what: object) -> None:
    """Wait until all of these are ready at one look. Takes nothing; otherwise as `wait_any`, of objects alone."""
    plain = [_plain(one) for one in what]
    where = reactor()
    where.may_await(str, plain)
    if where.cancelled:
        await where.loop.end_if_cancelled()
    while True:
        try:
            return waiting.wait_all(*plain, timeout=0)
        except TimedOut:
            for one in what:
                await wait_any(one)


@overload
async def select(
    a: Callable[[], Awaitable[A]], b: Callable[[], Awaitable[B]], /
) -> tuple[Literal[0], A] | tuple[Literal[1], B]: ...
@overload
async def select(*operations: Callable[[], Awaitable[Any]]) -> tuple[int, Any]: ...
async def select(*operations: Callable[[], Awaitable[Any]]) -> tuple[int, Any]:
    """Do the first of these operations that need not wait, and no other; return its place and what it returned.

    A task that is cancelled has done none. As `underpass.select`, it stands in no order, also among the tasks of its loop. Waits as
    `wait_any` does.

    Args:
        operations: Bound verbs of faces, as in ``select(jobs.get, stop.wait)``, or ``functools.partial`` of one with arguments: a
            ``put`` with its message, a ``wait`` for some flags, or for a change from a value.

    Raises:
        TypeError: Not a verb of a face whose object can be waited for; or one of a lock, which belongs to the task that waits for
            it.
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
    waited_for = [what for what, _ in verbs]
    return await _wait(waited_for, single(lambda: waiting.select(*(verb for _, verb in verbs), timeout=0)))


def _plain(what: Any) -> Any:
    return cast("Face[Any]", what).sync if isinstance(what, Face) else what


def _verb(operation: Callable[[], Awaitable[Any]]) -> tuple[Any, Callable[[], Any]]:
    """Return what a face's verb waits for, and the verb of its object."""
    bound: Any = operation.func if isinstance(operation, partial) else operation
    face = bound.__self__ if isinstance(bound, MethodType) else None
    if not isinstance(face, Face) or isinstance(face, (Mutex, Condition, RWLock)) or bound.__name__ == "holding":
        raise TypeError(
            f"{operation!r} is no verb of an object in underpass.aio that can be selected: pass jobs.get, stop.wait"
        )
    plain, name = _plain(face), cast("str", bound.__name__)
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


async def _wait(what: list[Any], attempt: Callable[[], T]) -> T:
    where = reactor()
    made: list[WaitSet] = []

    def member() -> WaitSet:
        made.append(WaitSet())
        for one in what:
            if one not in made[0]:
                made[0].add(one)
        return made[0]

    def look() -> T:
        for members in made:
            # What has come by now is found by the attempt; what comes later is told.
            members.ready()
        return attempt()

    try:
        return await where.wait(member, member, look)
    finally:
        where.let_go(member)
        for members in made:
            members.close()
