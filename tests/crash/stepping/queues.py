"""Deaths inside Queue, its leases and its loans."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from tests.crash.stepping.operation import Operation, Tally
from underpass import EndOfStream, Lease, PeerDiedError, Queue, TimedOut, WouldBlock

CAPACITY = 4
# The last registered putter did.
DIED = "died"


def with_messages(*messages: bytes, capacity: int = CAPACITY, max_deliveries: int | None = None) -> Callable[[], Queue]:
    """Return what makes a queue with these messages."""

    def make() -> Queue:
        queue = Queue(capacity, 16, max_deliveries=max_deliveries)
        for message in messages:
            queue.put_nowait(message)
        return queue

    return make


def known(queue: Queue) -> Queue:
    """Return the queue once this process has claimed its life, as one that has used the queue before."""
    with suppress(IndexError, WouldBlock):
        queue.peek()
    return queue


# ── who else is there ───────────────────────────────────────────────────────────────────────────────────────────────


def get(queue: Queue) -> str:
    try:
        return queue.get().decode()
    except EndOfStream:
        return "end"
    except PeerDiedError:
        return DIED


def put(queue: Queue) -> str:
    try:
        queue.put(b"w")
    except EndOfStream:
        return "end"
    return "put"


def join(queue: Queue) -> str:
    queue.join()
    return "joined"


def has_message(queue: Queue) -> bool:
    statistics = queue.statistics()
    return statistics.depth > 0 or statistics.shut_down or bool(statistics.leases)


def has_message_or_putter(queue: Queue) -> bool:
    """Say whether a getter's wait is to end, where a registered putter can only be a dead one."""
    return has_message(queue) or queue.statistics().putters > 0


def has_room(queue: Queue) -> bool:
    statistics = queue.statistics()
    return statistics.depth + len(statistics.leases) + len(statistics.loans) < queue.capacity or statistics.shut_down


def has_room_or_dead_holder(queue: Queue) -> bool:
    return has_room(queue) or bool(queue.statistics().leases)


def is_drained(queue: Queue) -> bool:
    statistics = queue.statistics()
    return statistics.depth == 0 and not statistics.leases and not statistics.loans


def put_and_get(queue: Queue, tally: Tally) -> None:
    queue.put(b"c")
    tally["c"] -= 1
    tally[queue.get().decode()] += 1


def put_and_take(queue: Queue, tally: Tally) -> None:
    queue.put(b"c")
    tally["c"] -= 1
    lease = queue.take()
    with memoryview(lease) as message:
        tally[bytes(message).decode()] += 1
    lease.done()


# ── what the survivor does and finds ────────────────────────────────────────────────────────────────────────────────


def drain(queue: Queue) -> list[str]:
    """Return what is queued, in order, each with its number of deliveries."""
    found: list[str] = []
    try:
        while True:
            lease = queue.take_nowait()
            with memoryview(lease) as message:
                found.append(f"{bytes(message).decode()}{lease.deliveries}")
            lease.done()
    except (WouldBlock, EndOfStream):
        return found
    except PeerDiedError:
        return [*found, DIED]


def books(queue: Queue, tally: Tally) -> str:
    """Return what is there. Afterwards every slot is free again, nobody holds anything, and a join returns."""
    found = drain(queue)
    statistics = queue.statistics()
    assert (statistics.depth, statistics.leases, statistics.loans) == (0, [], []), statistics
    queue.join(timeout=0)
    if statistics.shut_down:
        return " ".join([*found, "shut down"])
    for _ in range(queue.capacity):
        queue.put_nowait(b"slot")
    assert [message for message in drain(queue) if message != DIED] == ["slot1"] * queue.capacity
    if tally:
        # In company, whoever of the two was first: how many of each are there, and were.
        for message in found:
            tally[message[:-1]] += 1
        return str(sorted((message, count) for message, count in tally.items() if count))
    return " ".join(found)


def look(queue: Queue) -> None:
    known(queue)


def put_another(queue: Queue) -> None:
    queue.put_nowait(b"s")


def get_one(queue: Queue) -> None:
    with suppress(WouldBlock, EndOfStream):
        queue.get_nowait()


def take_one(queue: Queue) -> str:
    """Return which it was, and how often it was delivered: of two that come back from the dead either can be in front."""
    try:
        lease = queue.take_nowait()
    except WouldBlock:
        return ""
    with memoryview(lease) as message:
        taken = f"{bytes(message).decode()}{lease.deliveries}"
    lease.done()
    return taken


def get_all(queue: Queue) -> None:
    with suppress(WouldBlock, EndOfStream):
        while True:
            queue.get_nowait()


def settle(how: Callable[[Lease[memoryview]], Callable[[], object]]) -> Callable[[Queue], Callable[[], object]]:
    """Return the preparation of an operation of a lease."""
    return lambda queue: how(queue.take_nowait())


def loan(queue: Queue) -> Callable[[], object]:
    lent = known(queue).loan(1)
    lent[:] = b"v"
    return lent.commit


def abandon(queue: Queue) -> Callable[[], object]:
    return known(queue).loan(1).abandon


PUTS: list[Operation[Queue]] = [
    Operation(
        noun="Queue",
        verb="put",
        world=with_messages(capacity=8),
        prepare=lambda queue: partial(known(queue).put, b"v"),
        wait=get,
        due=has_message,
        contend=put_and_get,
        again=put_another,
        books=books,
    ),
    Operation(
        noun="Queue",
        verb="put, first of a process",
        world=with_messages(capacity=8),
        prepare=lambda queue: partial(queue.put, b"v"),
        wait=get,
        due=has_message,
        again=put_another,
        books=books,
    ),
    Operation(
        noun="Queue",
        verb="put, asleep",
        world=with_messages(b"a", b"b", capacity=2),
        prepare=lambda queue: partial(known(queue).put, b"v"),
        partner=lambda queue: queue.get_nowait(),
        wait=put,
        due=has_room,
        again=get_one,
        books=books,
    ),
    Operation(
        noun="Queue",
        verb="put, timed out",
        world=with_messages(b"a", capacity=1),
        prepare=lambda queue: partial(known(queue).put, b"v", timeout=0.002),
        raises=(TimedOut,),
        wait=put,
        due=has_room,
        again=get_one,
        books=books,
    ),
    Operation(
        noun="Queue",
        verb="put_many",
        world=with_messages(),
        prepare=lambda queue: partial(known(queue).put_many, [b"v", b"w", b"x"]),
        partly=(
            lambda queue: queue.put_nowait(b"v"),
            lambda queue: queue.put_many([b"v", b"w"]),
        ),
        wait=get,
        due=has_message,
        again=put_another,
        books=books,
    ),
    Operation(
        noun="Queue",
        verb="loan",
        world=with_messages(b"a", capacity=2),
        prepare=lambda queue: partial(known(queue).loan, 1),
        contend=put_and_get,
        again=put_another,
        # Whoever puts takes the room.
        meanwhile=get_one,
        books=books,
    ),
    Operation(
        noun="Loan",
        verb="commit",
        world=with_messages(capacity=8),
        prepare=loan,
        wait=get,
        due=has_message,
        contend=put_and_get,
        again=put_another,
        books=books,
    ),
    Operation(
        noun="Loan",
        verb="abandon",
        world=with_messages(b"a", capacity=2),
        prepare=abandon,
        wait=put,
        due=has_room,
        again=get_one,
        books=books,
    ),
    Operation(
        noun="Queue",
        verb="putting, entered",
        world=with_messages(),
        prepare=lambda queue: known(queue).putting().__enter__,
        wait=get,
        due=has_message_or_putter,
        again=put_another,
        books=books,
    ),
]

GETS: list[Operation[Queue]] = [
    Operation(
        noun="Queue",
        verb="get",
        world=with_messages(b"a", b"b", b"c"),
        prepare=lambda queue: known(queue).get,
        contend=put_and_get,
        again=get_one,
        books=books,
    ),
    Operation(
        noun="Queue",
        verb="get, of a full one",
        world=with_messages(b"a", b"b", capacity=2),
        prepare=lambda queue: known(queue).get,
        wait=put,
        due=has_room,
        again=get_one,
        books=books,
    ),
    Operation(
        noun="Queue",
        verb="get, asleep",
        world=with_messages(),
        prepare=lambda queue: known(queue).get,
        partner=lambda queue: queue.put_nowait(b"p"),
        wait=get,
        due=has_message,
        again=put_another,
        books=books,
    ),
    Operation(
        noun="Queue",
        verb="get, timed out",
        world=with_messages(),
        prepare=lambda queue: partial(known(queue).get, timeout=0.002),
        raises=(TimedOut,),
        wait=get,
        due=has_message,
        again=put_another,
        books=books,
    ),
    Operation(
        noun="Queue",
        verb="get_many",
        world=with_messages(b"a", b"b", b"c", capacity=3),
        prepare=lambda queue: partial(known(queue).get_many, 3),
        partly=(lambda queue: queue.get(), lambda queue: queue.get_many(2)),
        wait=put,
        due=has_room,
        again=get_one,
        books=books,
    ),
    Operation(
        noun="Queue",
        verb="take",
        world=with_messages(b"a", b"b"),
        prepare=lambda queue: known(queue).take,
        contend=put_and_take,
        again=take_one,
        books=books,
    ),
    Operation(
        noun="Queue",
        verb="take, asleep",
        world=with_messages(),
        prepare=lambda queue: known(queue).take,
        partner=lambda queue: queue.put_nowait(b"p"),
        # One that takes would become a holder, tell all sleepers so, and sleep first.
        wait=get,
        due=has_message,
        again=put_another,
        books=books,
    ),
    Operation(
        noun="Lease",
        verb="done",
        world=with_messages(b"a", b"b", capacity=2),
        prepare=settle(lambda lease: lease.done),
        wait=put,
        # The only holder is the dead one: who sleeps takes back what it held.
        due=has_room_or_dead_holder,
        again=get_one,
        books=books,
    ),
    Operation(
        noun="Lease",
        verb="done, of the last one",
        world=with_messages(b"a", capacity=2),
        prepare=settle(lambda lease: lease.done),
        wait=join,
        due=is_drained,
        again=get_all,
        books=books,
    ),
    Operation(
        noun="Lease",
        verb="put_back",
        world=with_messages(b"a", capacity=2),
        prepare=settle(lambda lease: lease.put_back),
        wait=get,
        due=has_message,
        contend=put_and_get,
        again=put_another,
        # A message more would leave the contender no room.
        meanwhile=look,
        books=books,
    ),
    Operation(
        noun="Lease",
        verb="put_back, behind",
        world=with_messages(b"a", capacity=2),
        prepare=settle(lambda lease: partial(lease.put_back, front=False)),
        wait=get,
        due=has_message,
        contend=put_and_get,
        again=put_another,
        # A message more would leave the contender no room.
        meanwhile=look,
        books=books,
    ),
    Operation(
        noun="Lease",
        verb="put_back, to the dead letters",
        world=with_messages(b"a", b"b", max_deliveries=1),
        prepare=settle(lambda lease: lease.put_back),
        again=take_one,
        books=lambda queue, tally: (books(queue, tally), drain(queue.dead_letters)),
    ),
]

ENDS: list[Operation[Queue]] = [
    Operation(
        noun="Queue",
        verb="shutdown",
        world=with_messages(),
        prepare=lambda queue: known(queue).shutdown,
        wait=get,
        due=has_message,
        again=lambda queue: queue.shutdown(),
        books=books,
    ),
    Operation(
        noun="Queue",
        verb="purge",
        world=with_messages(b"a", b"b", capacity=2),
        prepare=lambda queue: known(queue).purge,
        partly=(lambda queue: queue.get_nowait(),),
        again=lambda queue: queue.purge(),
        books=books,
    ),
    Operation(
        noun="Queue",
        verb="join, asleep",
        world=with_messages(b"a"),
        prepare=lambda queue: known(queue).join,
        partner=lambda queue: queue.get_nowait(),
        wait=join,
        due=is_drained,
        again=get_all,
        books=books,
    ),
]

OPERATIONS = [*PUTS, *GETS, *ENDS]
