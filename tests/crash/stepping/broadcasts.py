"""Deaths inside Broadcast: a message is there for all or for none, and no reader gets a torn one."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from tests.crash.stepping.operation import Operation, Tally
from underpass import Broadcast, EndOfStream, MisuseError, PeerDiedError, Subscription, TimedOut, WouldBlock

RING = 128
MESSAGE = b"0123456789abcdef"


def made() -> Broadcast:
    """Return one that nobody writes to yet: whoever is stepped becomes the writer."""
    return Broadcast(RING)


def known(broadcast: Broadcast) -> Broadcast:
    """Return the broadcast once this process has claimed its life."""
    Broadcast(64).publish(b"")
    return broadcast


def publish(broadcast: Broadcast) -> None:
    """Publish one, if nobody else does who lives."""
    with suppress(EndOfStream, MisuseError):
        broadcast.publish(MESSAGE)


def messages(broadcast: Broadcast, _tally: Tally | None = None) -> list[bytes | str]:
    """All that is there, each of which is whole."""
    mine, got = broadcast.subscribe(start="oldest"), list[bytes | str]()
    while True:
        try:
            got.append(mine.get_nowait())
            assert got[-1] == MESSAGE
        except WouldBlock:
            return got
        except EndOfStream:
            return [*got, "end"]
        except PeerDiedError:
            pass


def books(broadcast: Broadcast, _tally: Tally) -> tuple[int, list[bytes | str]]:
    return broadcast.statistics().published, messages(broadcast)


def is_whole(broadcast: Broadcast, _tally: Tally) -> bool:
    """Whether something is there: how often others could publish depends on when the one before them had ended."""
    return bool(messages(broadcast))


def get(broadcast: Broadcast) -> str:
    """Get a message, of whomever: a writer's death is told once."""
    mine = broadcast.subscribe(start="oldest")
    while True:
        try:
            return mine.get().decode()
        except EndOfStream:
            return "end"
        except PeerDiedError:
            pass


def after(broadcast: Broadcast, count: int) -> Callable[[], None]:
    """Publish so many, and return what publishes one more."""
    for _ in range(count):
        broadcast.publish(MESSAGE)
    return lambda: broadcast.publish(MESSAGE)


def at_once(broadcast: Broadcast) -> Callable[[], None]:
    """Publish one, and return what publishes another without waiting."""
    broadcast.publish(MESSAGE)
    return partial(broadcast.publish_nowait, MESSAGE)


def ended(broadcast: Broadcast) -> Callable[[], None]:
    """Publish one, and return what says that it is the last."""
    broadcast.publish(MESSAGE)
    return broadcast.shutdown


def reader(broadcast: Broadcast) -> Subscription:
    """Subscribe, as a process that has used the library before."""
    return known(broadcast).subscribe(start="oldest")


def with_one() -> Broadcast:
    """Return one with a message."""
    broadcast = made()
    broadcast.publish(MESSAGE)
    return broadcast


def is_due(broadcast: Broadcast) -> bool:
    statistics = broadcast.statistics()
    return statistics.published > 0 or statistics.shut_down


def waiting() -> Broadcast:
    """Return one whose writer waits for its readers. Four messages lie in it."""
    return Broadcast(RING, when_full="wait")


def waited_for(broadcast: Broadcast) -> Subscription:
    """Subscribe where the writer waits, and be all that it waits for: one more message does not fit."""
    mine = known(broadcast).subscribe()
    for _ in range(RING // (16 + len(MESSAGE))):
        broadcast.publish(MESSAGE)
    return mine


def lend(broadcast: Broadcast, count: int) -> Callable[[], object]:
    """Publish so many, and write one more in place; return what commits it."""
    for _ in range(count):
        broadcast.publish(MESSAGE)
    loan = broadcast.loan(len(MESSAGE))
    loan[:] = MESSAGE
    return loan.commit


def given_up(broadcast: Broadcast) -> Callable[[], object]:
    """Publish one, and begin to write another in place; return what gives that up."""
    broadcast.publish(MESSAGE)
    loan = broadcast.loan(len(MESSAGE))
    loan[:1] = b"?"
    return loan.abandon


def lent(broadcast: Broadcast) -> Callable[[], object]:
    """Publish one, and return what writes half of another in place."""
    broadcast.publish(MESSAGE)

    def borrow() -> object:
        loan = broadcast.loan(len(MESSAGE))
        loan[:8] = b"????????"
        return loan

    return borrow


def end_lease(broadcast: Broadcast) -> Callable[[], object]:
    """Take a message of a writer that waits, for which there is no room any more, and return what ends that."""
    lease = waited_for(broadcast).take()
    assert bytes(lease.value) == MESSAGE
    return lease.done


def publish_now(broadcast: Broadcast) -> None:
    """Publish one, if nobody else does who lives, and no reader that lives is in the way."""
    with suppress(EndOfStream, MisuseError, WouldBlock):
        broadcast.publish_nowait(MESSAGE)


def getting(verb: str, got: Callable[[Subscription], Callable[[], object]]) -> Operation[Broadcast]:
    """Return the line of one that gets what is there."""
    return Operation(
        noun="Subscription",
        verb=verb,
        world=with_one,
        prepare=lambda it: got(reader(it)),
        again=publish,
        books=books,
    )


OPERATIONS: list[Operation[Broadcast]] = [
    Operation(
        noun="Broadcast",
        verb="loan",
        world=made,
        prepare=lambda it: lent(known(it)),
        again=publish,
        books=books,
    ),
    Operation(
        noun="Loan",
        verb="commit, of a broadcast",
        world=made,
        prepare=lambda it: lend(known(it), 0),
        again=publish,
        books=books,
        wait=get,
        due=is_due,
    ),
    Operation(
        noun="Loan",
        verb="commit, of a broadcast, over the oldest",
        world=made,
        prepare=lambda it: lend(known(it), 5),
        again=publish,
        books=books,
    ),
    Operation(
        noun="Loan",
        verb="abandon, of a broadcast",
        world=made,
        prepare=lambda it: given_up(known(it)),
        again=publish,
        books=books,
    ),
    Operation(
        noun="Lease",
        verb="done, of a broadcast, waited for",
        world=waiting,
        prepare=end_lease,
        again=publish_now,
        books=books,
    ),
    Operation(
        noun="Subscription",
        verb="take, waited for",
        world=waiting,
        prepare=lambda it: waited_for(it).take,
        again=publish_now,
        books=books,
    ),
    Operation(
        noun="Broadcast",
        verb="publish, the first",
        world=made,
        prepare=lambda it: after(known(it), 0),
        again=publish,
        books=books,
        wait=get,
        due=is_due,
        unordered="who comes in between is the writer, and may have ended by the time that the victim goes on",
    ),
    Operation(
        noun="Broadcast",
        verb="publish_nowait",
        world=made,
        prepare=lambda it: at_once(known(it)),
        again=publish,
        books=books,
    ),
    Operation(
        noun="Broadcast",
        verb="publish, over the oldest",
        world=made,
        prepare=lambda it: after(known(it), 5),
        again=publish,
        books=books,
    ),
    Operation(
        noun="Broadcast",
        verb="shutdown",
        world=made,
        prepare=lambda it: ended(known(it)),
        again=publish,
        books=books,
    ),
    Operation(
        noun="Subscription",
        verb="get, asleep",
        world=made,
        prepare=lambda it: reader(it).get,
        partner=publish,
        again=publish,
        books=books,
        wait=get,
        due=is_due,
    ),
    Operation(
        noun="Broadcast",
        verb="subscribe, waited for",
        world=waiting,
        prepare=lambda it: known(it).subscribe,
        again=publish,
        books=books,
    ),
    Operation(
        noun="Subscription",
        verb="get, waited for",
        world=waiting,
        prepare=lambda it: waited_for(it).get,
        again=publish_now,
        books=books,
    ),
    Operation(
        noun="Subscription",
        verb="close, waited for",
        world=waiting,
        prepare=lambda it: waited_for(it).close,
        again=publish_now,
        books=books,
    ),
    Operation(
        noun="Broadcast",
        verb="publish, waiting, timed out",
        world=waiting,
        prepare=lambda it: (waited_for(it), partial(it.publish, MESSAGE, timeout=0.002))[1],
        raises=(TimedOut,),
        again=publish_now,
        books=books,
    ),
    Operation(
        noun="Subscription",
        verb="get, timed out",
        world=made,
        prepare=lambda it: partial(reader(it).get, timeout=0.002),
        raises=(TimedOut,),
        again=publish,
        books=is_whole,
        wait=get,
        due=is_due,
    ),
    Operation(
        noun="Broadcast",
        verb="subscribe",
        world=with_one,
        prepare=lambda it: known(it).subscribe,
        again=publish,
        books=books,
    ),
    getting("get", lambda mine: mine.get),
    getting("get_nowait", lambda mine: mine.get_nowait),
    getting("take", lambda mine: mine.take),
    getting("take_nowait", lambda mine: mine.take_nowait),
    getting("get_into", lambda mine: partial(mine.get_into, bytearray(len(MESSAGE)))),
]
