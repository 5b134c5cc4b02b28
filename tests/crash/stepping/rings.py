"""Deaths inside a ring: a packet is there whole or not at all, whoever reads next has what was not freed, and nobody waits for the dead."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from tests.crash.stepping.children import Child
from tests.crash.stepping.operation import Operation, Tally
from underpass import Event, MisuseError, PeerDiedError, TimedOut, WouldBlock, wait_any
from underpass.data import Loan, MpscRing, Packet, Ring, SpscRing

PACKET = b"packet"


def made() -> MpscRing:
    """Return one that has two packets, which nobody reads yet, and room for more."""
    ring = MpscRing(256)
    for content in (b"first", b"second"):
        ring.write(content)
    return ring


def full() -> MpscRing:
    """Return one that has no room."""
    ring = MpscRing(64)
    for content in (b"1", b"2"):
        ring.write(content * 32)
    return ring


def known(ring: Ring) -> Ring:
    """Return it once this process has a life, and is known to nobody there."""
    MpscRing(64).write(b"")
    return ring


def write(ring: Ring) -> None:
    """Write one, if there is room, and nobody else is the writer who lives. It is as all others: who waits for room is in no order."""
    with suppress(WouldBlock, MisuseError, PeerDiedError):
        ring.write_nowait(PACKET)


def pause() -> None:
    """Sleep for a moment, as the library does."""
    with suppress(TimedOut):
        Event().wait(timeout=0.001)


def read(ring: Ring) -> bytes:
    """Read one, once nobody else reads who lives; a writer's death is told, and what comes then is another's."""
    while True:
        try:
            return ring.read()
        except (MisuseError, PeerDiedError):
            pause()


def read_elsewhere(ring: Ring) -> None:
    """Read one in a process that ends: the reader is who reads first."""
    child = Child("reader", partial(read, ring))
    child.result()
    child.close()


def books(ring: Ring, _tally: Tally) -> list[bytes]:
    """What is there, once whoever has read has ended."""
    found = list[bytes]()
    while True:
        try:
            found.append(ring.read_nowait())
        except (WouldBlock, PeerDiedError):
            return found
        except MisuseError:
            pause()


def is_due(ring: Ring) -> bool:
    return ring.next_size is not None


def has_room(ring: Ring) -> bool:
    try:
        return len(wait_any(ring.room_for(len(PACKET)), timeout=0)) == 1
    except TimedOut:
        return False


def until_written(ring: Ring) -> None:
    """Write one, waiting for room; or be told that nobody reads."""
    with suppress(PeerDiedError):
        ring.write(PACKET)


def claimed(ring: Ring) -> Loan:
    loan = known(ring).claim(len(PACKET))
    loan[:] = PACKET
    return loan


def kept(ring: Ring, end: Callable[[Packet], Callable[[], object]]) -> Callable[[], object]:
    return end(known(ring).take())


def writing(verb: str, prepare: Callable[[Ring], Callable[[], object]], *, only: bool = False) -> Operation[Ring]:
    """Return the line of a writer: whoever waits for a packet gets one."""
    return Operation(
        noun="Ring",
        verb=f"{verb}, the only writer" if only else verb,
        world=lambda: SpscRing(256) if only else MpscRing(256),
        prepare=lambda it: prepare(known(it)),
        again=write,
        books=books,
        wait=read,
        due=is_due,
        unordered="who has written meanwhile may have ended by the time it asks who writes" if only else "",
    )


def reading(verb: str, prepare: Callable[[Ring], Callable[[], object]]) -> Operation[Ring]:
    """Return the line of a reader."""
    return Operation(
        noun="Ring", verb=verb, world=made, prepare=lambda it: prepare(known(it)), again=write, books=books
    )


OPERATIONS: list[Operation[Ring]] = [
    writing("write", lambda it: partial(it.write, PACKET)),
    writing("write", lambda it: partial(it.write, PACKET), only=True),
    writing("write_nowait", lambda it: partial(it.write_nowait, PACKET)),
    writing("claim", lambda it: partial(it.claim, 8)),
    writing("claim", lambda it: partial(it.claim, 8), only=True),
    writing("claim_nowait", lambda it: partial(it.claim_nowait, 8)),
    Operation(
        noun="Ring",
        verb="write, asleep",
        world=full,
        prepare=lambda it: partial(known(it).write, PACKET),
        partner=read_elsewhere,
        again=write,
        books=books,
    ),
    Operation(
        noun="Ring",
        verb="write, timed out",
        world=full,
        prepare=lambda it: partial(known(it).write, PACKET, timeout=0.002),
        raises=(TimedOut,),
        again=write,
        books=books,
    ),
    Operation(
        noun="Loan",
        verb="commit, of a ring",
        world=lambda: MpscRing(256),
        prepare=lambda it: claimed(it).commit,
        again=write,
        books=books,
        wait=read,
        due=is_due,
    ),
    Operation(
        noun="Loan",
        verb="abandon, of a ring",
        world=lambda: MpscRing(256),
        prepare=lambda it: claimed(it).abandon,
        again=write,
        books=books,
        wait=read,
        due=is_due,
    ),
    reading("take", lambda it: it.take),
    reading("take_nowait", lambda it: it.take_nowait),
    reading("read_nowait", lambda it: it.read_nowait),
    reading("read", lambda it: it.read),
    Operation(
        noun="Ring",
        verb="read, asleep",
        world=lambda: MpscRing(256),
        prepare=lambda it: known(it).read,
        partner=write,
        again=write,
        books=books,
    ),
    Operation(
        noun="Ring",
        verb="read, timed out",
        world=lambda: MpscRing(256),
        prepare=lambda it: partial(known(it).read, timeout=0.002),
        raises=(TimedOut,),
        again=write,
        books=books,
    ),
    Operation(
        noun="Packet",
        verb="free",
        world=full,
        prepare=lambda it: kept(it, lambda packet: packet.free),
        again=write,
        books=books,
        wait=until_written,
        due=has_room,
    ),
    Operation(
        noun="Packet",
        verb="put_back",
        world=made,
        prepare=lambda it: kept(it, lambda packet: packet.put_back),
        again=write,
        books=books,
    ),
]
