"""A verb for which a task waits in a place of its own, as a thread does, and is served in its turn."""

from collections.abc import Awaitable, Callable, Generator
from typing import Any, Generic, Protocol, TypeVar

from underpass.aio.reactor import Reactor
from underpass.aio.running import reactor
from underpass.errors import WouldBlock

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Stay(Protocol[T_co]):
    """A task's place, from its first attempt on, and what it is given there."""

    def attempt(self) -> T_co:
        """Come, or look again; raise WouldBlock while it has to wait."""
        ...

    def give_up(self) -> None:
        """Leave the place; what it was given and has not taken is another's."""
        ...


class Done(Generic[T]):
    """What need not be waited for, to be awaited."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, Any, T]:
        """Return it."""
        return self._value
        yield


def in_turn(at_once: Callable[[], T], stay: Callable[..., Stay[T]], *arguments: Any) -> Awaitable[T]:
    """Return, to be awaited, what ``at_once`` returns, or once that raises WouldBlock what a task is given in a place of its own.

    ``at_once`` takes nothing from those who wait. A task that is cancelled has taken nothing: what it was given meanwhile is the next
    one's. No coroutine around the wait, since whoever is woken goes through each.
    """
    where = reactor()
    where.may_await(stay, *arguments)
    if where.cancelled:
        return _unless_cancelled(where, at_once, stay, arguments)
    return _come(where, at_once, stay, arguments)


async def _unless_cancelled(
    where: Reactor, at_once: Callable[[], T], stay: Callable[..., Stay[T]], arguments: tuple[Any, ...]
) -> T:
    await where.loop.end_if_cancelled()
    return await _come(where, at_once, stay, arguments)


def _come(
    where: Reactor, at_once: Callable[[], T], stay: Callable[..., Stay[T]], arguments: tuple[Any, ...]
) -> Awaitable[T]:
    try:
        return Done(at_once())
    except WouldBlock:
        place = stay(*arguments)
    return where.wait(place, lambda: place, place.attempt, give_up=place.give_up)
