"""The CPU that a server of each peer burns while nobody calls it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator

from underpass.tools.bench.idle import watch
from underpass.tools.bench.measure import Absent, Effort, Row
from underpass.tools.bench.peers import fasterfifo, grpcs, iceoryx, ours, posix, rpycs, sockets, zeromq
from underpass.tools.bench.peers.shapes import place_of
from underpass.tools.bench.placement import Placement, UnavailableError

SERVERS = (
    ours.ECHO,
    sockets.PIPE_ECHO,
    sockets.SOCKET_ECHO,
    zeromq.ECHO,
    posix.ECHO,
    fasterfifo.ECHO,
    iceoryx.POLLING,
    iceoryx.EVENTS,
    rpycs.ECHO,
    grpcs.ECHO,
)


def watch_idle_peers(group: str, effort: Effort) -> Iterator[Row | Absent]:
    """Start a server of each, and read their CPU clocks before and after."""
    with contextlib.ExitStack() as opened:
        waits: dict[str, Callable[[], object]] = {}
        for echo in SERVERS:
            try:
                place = opened.enter_context(place_of(echo.module))
            except UnavailableError as error:
                yield Absent(group, echo.name, Placement.UNPINNED, str(error))
            else:
                waits[echo.name] = functools.partial(echo.serve, opened.enter_context(echo.made(place)))
        # Whoever polls is never asleep: that is what this measures.
        yield from watch(group, effort, waits, asleep=False)
