"""Which peers run against underpass, in what, and what underpass must reach beside them."""

from __future__ import annotations

from collections.abc import Sequence

from underpass.tools.bench import locks, wakes
from underpass.tools.bench.groups import Group, contests
from underpass.tools.bench.peers import (
    crowd,
    fan,
    fasterfifo,
    grpcs,
    iceoryx,
    ours,
    posix,
    rpycs,
    sockets,
    zeromq,
)
from underpass.tools.bench.peers.idle import watch_idle_peers
from underpass.tools.bench.peers.kills import KILLS
from underpass.tools.bench.peers.shapes import Flow
from underpass.tools.bench.placement import Placement
from underpass.tools.bench.targets import Target, at_most, times

ROUND_TRIPS, ONE_PRODUCER, TWO_PRODUCERS = "round trips", "one producer", "two producers"
CONTENTION, WAKING, CROWD, FAN = "contention", "wakes", "crowd", "fan"

# gRPC last: its threads are in the client from then on.
ECHOES = (
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
FLOWS = (sockets.PIPE_FLOW, sockets.SOCKET_FLOW, zeromq.FLOW, posix.FLOW, fasterfifo.FLOW)

_TRIPS = (ours.ECHO.contestant(batch=100, samples=20), *(echo.contestant() for echo in ECHOES))
_CONTENDED = (*locks.CONTENDED, locks.contended("posix_ipc.Semaphore", lambda: posix.semaphore(1)))
_WAKES = tuple(wake.contestant() for wake in (*wakes.WAKES, posix.WAKE))
_MEMORY = 64 * 1024


def _flows(producers: int) -> Group:
    ours_first: Sequence[Flow] = (ours.FLOW, ours.FLOW_MANY, *FLOWS)
    contestants = [flow.contestant(producers) for flow in ours_first]
    title = f"Messages of 64 bytes, from {producers} to one"
    return Group(title, contests([(Placement.TWO_CPUS, contestants)]), flows=True)


GROUPS = {
    ROUND_TRIPS: Group(
        "Round trip of 64 bytes", contests([(Placement.TWO_CPUS, _TRIPS), (Placement.UNPINNED, _TRIPS)])
    ),
    ONE_PRODUCER: _flows(1),
    TWO_PRODUCERS: _flows(2),
    FAN: Group(
        f"Messages of 1 MiB, from one to {fan.READERS}, of which each gets all",
        contests([(Placement.TWO_CPUS, [each.contestant() for each in fan.FANS])]),
    ),
    CONTENTION: Group("A lock that two processes want all the time", contests([(Placement.TWO_CPUS, _CONTENDED)])),
    WAKING: Group("From a wake to the sleeper that runs", contests([(Placement.TWO_CPUS, _WAKES)])),
    "idle peers": Group("CPU of a server that nobody calls", watch_idle_peers),
    "kills": Group("From SIGKILL to the one who waits for it", contests([(Placement.UNPINNED, KILLS)])),
    CROWD: Group("A thousand clients", crowd.measure),
}

TARGETS = (
    *(
        Target(f"call: ahead of {echo.name}", ROUND_TRIPS, place, ours.CALL, against=echo.name, bound=times(1))
        for echo in ECHOES
        if echo.sleeps
        for place in (Placement.TWO_CPUS, Placement.UNPINNED)
    ),
    *(
        Target(
            f"Queue, {group}: ahead of {flow.name}",
            group,
            Placement.TWO_CPUS,
            ours.MANY,
            against=flow.name,
            bound=times(1),
            unit="messages/s",
        )
        for flow in FLOWS
        for group in (ONE_PRODUCER, TWO_PRODUCERS)
    ),
    *(
        Target(
            f"{name}: at least 0.7 x multiprocessing.Lock",
            CONTENTION,
            Placement.TWO_CPUS,
            name,
            against=locks.PROCESS_LOCK,
            bound=times(1 / 0.7),
        )
        for name in (locks.SEMAPHORE, locks.MUTEX)
    ),
    *(
        Target(f"wake: ahead of {peer}", WAKING, Placement.TWO_CPUS, wakes.SEMAPHORE, against=peer, bound=times(1))
        for peer in (wakes.EVENTFD, wakes.PROCESS_SEMAPHORE, wakes.PROCESS_EVENT, posix.WAKE.name)
    ),
    Target(
        "Broadcast, 1 MiB to two readers: at least 3 x pyzmq PUB/SUB",
        FAN,
        Placement.TWO_CPUS,
        fan.OURS,
        against=fan.ZEROMQ,
        bound=times(1 / 3),
    ),
    Target(
        "call among 999 idle clients: at most 1.3 x alone",
        CROWD,
        Placement.TWO_CPUS,
        crowd.CROWDED,
        against=crowd.ALONE,
        bound=times(1.3),
    ),
    Target(
        "memory of a client: at most 64 KiB",
        CROWD,
        Placement.UNPINNED,
        crowd.MEMORY,
        bound=at_most(_MEMORY),
        unit="bytes",
    ),
)
