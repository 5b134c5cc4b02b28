"""Which event loop runs here, and its reactor: made at the first wait, ended with the loop."""

import asyncio
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

from underpass.aio.on_asyncio import Asyncio
from underpass.aio.reactor import Reactor

if TYPE_CHECKING:
    from underpass.aio.on_trio import Trio


class _Latest(threading.local):
    """What this thread used last. The loop keeps it; when the loop goes, it goes."""

    place: "weakref.ref[Asyncio | Trio] | None" = None


_latest = _Latest()


def reactor() -> Reactor:
    """Return the reactor of the loop that runs here.

    Raises:
        RuntimeError: None does.
    """
    loop, in_trio = _loop()
    place = _latest.place() if _latest.place is not None else None
    if place is None or place.loop is not loop or place.reactor.closed:
        if place is not None and isinstance(place, Asyncio) and place.loop.is_closed():
            place.close()
        place = _begin(loop, in_trio=in_trio)
        _latest.place = weakref.ref(place)
    return place.reactor


def _loop() -> tuple[Any, bool]:
    """Return the loop that runs here, and whether it is trio's."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_task():
        return trio.lowlevel.current_trio_token(), True
    return asyncio.get_running_loop(), False


def look_again() -> None:
    """Have the tasks that wait in this thread look at everything: something changed of which nobody tells them."""
    place = _latest.place() if _latest.place is not None else None
    if place is not None and not place.reactor.closed:
        place.reactor.look(everything=True)


def _begin(loop: Any, *, in_trio: bool) -> "Asyncio | Trio":
    if in_trio:
        from underpass.aio.on_trio import Trio

        return Trio(loop)
    return Asyncio(loop)
