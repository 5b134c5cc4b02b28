"""Which event loop runs here, and its reactor: made at the first wait, ended with the loop."""

import asyncio
import os
import sys
import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from underpass import _loops
from underpass.aio.on_asyncio import Asyncio
from underpass.aio.reactor import Reactor

if TYPE_CHECKING:
    from underpass.aio.on_trio import Trio


class _Here(threading.local):
    """The places of this thread's loops, and the one that was used last. A loop keeps its place; when the loop goes, it goes."""

    def __init__(self) -> None:
        self.places: WeakKeyDictionary[Any, ref[Asyncio | Trio]] = WeakKeyDictionary()
        self.latest: ref[Asyncio | Trio] | None = None
        #: In a forked process: trio's loop that goes on in the parent. asyncio's knows by itself that it runs nowhere else.
        self.inherited: object = _loops.inherited_loop()


_here = _Here()


def _forked() -> None:
    """Leave the loops to the parent: in the child none runs yet."""
    global _here  # noqa: PLW0603 - the child's threads begin anew
    _here = _Here()


os.register_at_fork(after_in_child=_forked)


def reactor() -> Reactor:
    """Return the reactor of the loop that runs here.

    Raises:
        RuntimeError: None does.
    """
    loop, in_trio = _loop()
    latest = _here.latest
    place = latest() if latest is not None else None
    if place is None or place.loop is not loop or place.reactor.closed:
        place = _place(loop, in_trio=in_trio)
        _here.latest = ref(place)
    return place.reactor


def _loop() -> tuple[Any, bool]:
    """Return the loop that runs here, and whether it is trio's."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_task():
        token = trio.lowlevel.current_trio_token()
        if token is not _here.inherited:
            return token, True
    return asyncio.get_running_loop(), False


def look_again() -> None:
    """Have the tasks that wait in this thread look at everything: something changed of which nobody tells them."""
    try:
        known = _here.places.get(_loop()[0])
    except RuntimeError:
        # None runs: they go on with the loop that ran last.
        known = _here.latest
    place = known() if known is not None else None
    if place is not None and not place.reactor.closed:
        place.reactor.look(everything=True)


def _place(loop: Any, *, in_trio: bool) -> "Asyncio | Trio":
    """Return the place of a loop, which may have run before and let others run since."""
    known = _here.places.get(loop)
    place = known() if known is not None else None
    if place is not None and not place.reactor.closed:
        return place
    for known in list(_here.places.values()):
        left = known()
        if isinstance(left, Asyncio) and left.loop.is_closed():
            left.close()
    place = _begin(loop, in_trio=in_trio)
    _here.places[loop] = ref(place)
    return place


def _begin(loop: Any, *, in_trio: bool) -> "Asyncio | Trio":
    if in_trio:
        from underpass.aio.on_trio import Trio

        return Trio(loop)
    return Asyncio(loop)
