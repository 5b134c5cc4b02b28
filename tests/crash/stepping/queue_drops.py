"""Deaths inside a full Queue that drops a message: each is counted once, and what makes room for a loan is told."""

from collections.abc import Callable
from functools import partial
from typing import Literal

from tests.crash.stepping.operation import Operation, Tally
from tests.crash.stepping.queues import books, get_one, has_message, known, put_another, settle
from underpass import EndOfStream, Queue

MESSAGES = ((b"a", 2), (b"b", 0), (b"c", 1), (b"d", 0))


def full(*, count: int = 4, order: Literal["fifo", "priority"] = "fifo", newest: bool = False) -> Callable[[], Queue]:
    """Return what makes a full queue of so many messages."""

    def make() -> Queue:
        queue = Queue(count, 16, order=order, when_full="drop_newest" if newest else "drop_oldest")
        for message, priority in MESSAGES[:count]:
            queue.put_nowait(message, priority=0 if order == "fifo" else priority)
        return queue

    return make


def drop(queue: Queue) -> None:
    """Make room, and put nothing: as far as a put comes that dies."""
    queue.loan(1, timeout=0).abandon()


def lend(queue: Queue) -> str:
    try:
        queue.loan(1).abandon()
    except EndOfStream:
        return "end"
    return "lent"


def counted(queue: Queue, tally: Tally) -> str:
    """Return how many were dropped, and what is there."""
    dropped = queue.dropped
    return f"{dropped} dropped, left: {books(queue, tally)}"


def dropping(
    verb: str,
    world: Callable[[], Queue],
    prepare: Callable[[Queue], Callable[[], object]],
    *partly: Callable[[Queue], object],
) -> Operation[Queue]:
    return Operation(
        noun="Queue", verb=verb, world=world, prepare=prepare, again=put_another, books=counted, partly=partly
    )


OPERATIONS: list[Operation[Queue]] = [
    dropping("put, the oldest goes", full(), lambda queue: partial(known(queue).put, b"v"), drop),
    dropping(
        "put, the least urgent goes",
        full(order="priority"),
        lambda queue: partial(known(queue).put, b"v", priority=1),
        drop,
    ),
    dropping("put, the newest goes", full(newest=True), lambda queue: partial(known(queue).put, b"v")),
    dropping("loan, the oldest goes", full(), lambda queue: partial(known(queue).loan, 1), drop),
    dropping("put, in front, the oldest goes", full(), lambda queue: partial(known(queue).put, b"v", front=True), drop),
    Operation(
        noun="Lease",
        verb="put_back, somebody waits to lend",
        world=full(count=1),
        prepare=settle(lambda lease: lease.put_back),
        wait=lend,
        due=has_message,
        again=get_one,
        books=counted,
    ),
    Operation(
        noun="Lease",
        verb="put_back behind, somebody waits to lend",
        world=full(count=1),
        prepare=settle(lambda lease: partial(lease.put_back, front=False)),
        wait=lend,
        due=has_message,
        again=get_one,
        books=counted,
    ),
]
