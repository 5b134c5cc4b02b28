"""Deaths inside a Queue with an order of its own: in the heap of its shelf; and inside what puts a message in front."""

from collections.abc import Callable
from functools import partial

from tests.crash.stepping.operation import Operation
from tests.crash.stepping.queues import (
    books,
    get,
    get_one,
    has_message,
    has_room,
    has_room_or_dead_holder,
    known,
    put,
    put_another,
    settle,
    take_one,
    with_messages,
)
from underpass import Queue

MESSAGES = ((b"a", 1), (b"b", 3), (b"c", 2), (b"d", 3), (b"e", 0))


def shelf(capacity: int = 8, *, arrived: int = 0) -> Callable[[], Queue]:
    """Return what makes a queue with messages on its shelf, and so many that have only arrived."""

    def make() -> Queue:
        queue = Queue(capacity, 16, order="priority")
        for message, priority in MESSAGES:
            queue.put_nowait(message, priority=priority)
        queue.peek()
        for number in range(arrived):
            queue.put_nowait(b"n", priority=2 + number)
        return queue

    return make


def by_priority(
    verb: str,
    prepare: Callable[[Queue], Callable[[], object]],
    again: Callable[[Queue], object],
    *,
    arrived: int = 0,
) -> Operation[Queue]:
    return Operation(
        noun="Queue",
        verb=f"{verb}, of a shelf",
        world=shelf(arrived=arrived),
        prepare=prepare,
        again=again,
        books=books,
    )


OPERATIONS: list[Operation[Queue]] = [
    by_priority("get", lambda queue: known(queue).get, get_one),
    by_priority("take", lambda queue: known(queue).take, take_one),
    by_priority("done", settle(lambda lease: lease.done), get_one),
    by_priority("put_back", settle(lambda lease: lease.put_back), get_one),
    by_priority("put_back behind", settle(lambda lease: partial(lease.put_back, front=False)), get_one),
    by_priority("purge", lambda queue: known(queue).purge, lambda queue: queue.purge()),
    by_priority("peek, arrivals", lambda queue: partial(queue.peek, 1), get_one, arrived=2),
    by_priority("remove", lambda queue: partial(known(queue).remove, b"c"), get_one),
    Operation(
        noun="Queue",
        verb="remove, of a full one",
        world=with_messages(b"a", b"b", b"c", capacity=3),
        prepare=lambda queue: partial(known(queue).remove, b"c"),
        wait=put,
        due=has_room,
        again=get_one,
        books=books,
    ),
    Operation(
        noun="Queue",
        verb="get, of a full shelf",
        world=shelf(5),
        prepare=lambda queue: known(queue).get,
        wait=put,
        due=has_room,
        again=get_one,
        books=books,
    ),
    Operation(
        noun="Queue",
        verb="put, in front",
        world=with_messages(b"a", capacity=8),
        prepare=lambda queue: partial(known(queue).put, b"v", front=True),
        again=put_another,
        books=books,
    ),
    Operation(
        noun="Queue",
        verb="put, in front of nothing",
        world=with_messages(capacity=8),
        prepare=lambda queue: partial(known(queue).put, b"v", front=True),
        wait=get,
        due=has_message,
        again=put_another,
        books=books,
    ),
    Operation(
        noun="Lease",
        verb="done, of a full shelf",
        world=shelf(5),
        prepare=settle(lambda lease: lease.done),
        wait=put,
        due=has_room_or_dead_holder,
        again=get_one,
        books=books,
    ),
]
