"""A verb for which a task waits in a place of its own, as a thread does, and is served in its turn."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

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


async def in_turn(at_once: Callable[[], T], stay: Callable[..., Stay[T]], *arguments: Any) -> T:
    """Return what ``at_once`` returns, or once that raises WouldBlock what a task is given in a place of its own.

    ``at_once`` takes nothing from those who wait. A task that is cancelled has taken nothing: what it was given meanwhile is the next
    one's.
    """
    where = reactor()
    if where.cancelled:
        await where.loop.end_if_cancelled()
    try:
        return at_once()
    except WouldBlock:
        place = stay(*arguments)
    try:
        return await where.wait(place, lambda: place, place.attempt)
    finally:
        place.give_up()
