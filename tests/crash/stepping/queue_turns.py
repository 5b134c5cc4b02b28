"""Deaths inside a Queue whose waiters have their turns: who is behind the dead in line is not held up by them."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from tests.crash.stepping.operation import Operation
from tests.crash.stepping.queue_sides import LOOK
from tests.crash.stepping.queues import (
    books,
    get_one,
    has_message,
    has_room,
    known,
    put,
    put_and_get,
    put_another,
    take_one,
)
from underpass import EndOfStream, Queue, ResetError, TimedOut


def with_messages(*messages: bytes, capacity: int = 4) -> Callable[[], Queue]:
    """Return what makes a queue with these messages."""

    def make() -> Queue:
        queue = Queue(capacity, 16, fairness="arrival")
        queue.put_many(messages)
        return queue

    return make


def get(queue: Queue) -> str:
    try:
        return queue.get().decode()
    except EndOfStream:
        return "end"
    except ResetError:
        return "sent away"


def take_what_returns_and_put(queue: Queue) -> None:
    """Take what was the dead one's, if nobody waits for it: its place in line is found first, or its lease."""
    take_one(queue)
    put_another(queue)


def getting(
    verb: str,
    prepare: Callable[[Queue], Callable[[], object]],
    partner: Callable[[Queue], object] | None,
    *raises: type[Exception],
) -> Operation[Queue]:
    """One who waits for a message, in line, and perhaps another behind."""
    return Operation(
        noun="Queue",
        verb=verb,
        world=with_messages(),
        prepare=prepare,
        partner=partner,
        raises=raises,
        wait=get,
        due=has_message,
        again=put_another,
        books=books,
    )


def putting(
    verb: str,
    prepare: Callable[[Queue], Callable[[], object]],
    partner: Callable[[Queue], object] | None,
    *raises: type[Exception],
) -> Operation[Queue]:
    """One who waits for room, in line, and perhaps another behind."""
    return replace(
        getting(verb, prepare, partner, *raises),
        world=with_messages(b"a", capacity=1),
        wait=put,
        due=has_room,
        again=get_one,
    )


def put_one(queue: Queue) -> None:
    queue.put_nowait(b"a")


def send_away(queue: Queue) -> None:
    queue.cancel_wait()


OPERATIONS: list[Operation[Queue]] = [
    Operation(
        noun="Queue",
        verb="put, to the first in line",
        world=with_messages(capacity=8),
        prepare=lambda queue: partial(known(queue).put, b"v"),
        wait=get,
        due=has_message,
        contend=put_and_get,
        again=put_another,
        books=books,
    ),
    # Whoever else gets in the middle leaves a message to this one.
    replace(
        putting("get, from the first in line", lambda queue: known(queue).get, None),
        world=with_messages(b"a", b"b", capacity=2),
    ),
    getting("get, in line, asleep", lambda queue: known(queue).get, put_one),
    replace(
        getting("take, in line, asleep", lambda queue: known(queue).take, put_one), again=take_what_returns_and_put
    ),
    getting("get, in line, timed out", lambda queue: partial(known(queue).get, timeout=LOOK), None, TimedOut),
    getting("get, in line, sent away", lambda queue: known(queue).get, send_away, ResetError),
    putting("put, in line, asleep", lambda queue: partial(known(queue).put, b"v"), get_one),
    putting("loan, in line, asleep", lambda queue: partial(known(queue).loan, 1), get_one),
    putting("put, in line, timed out", lambda queue: partial(known(queue).put, b"v", timeout=LOOK), None, TimedOut),
    getting("cancel_wait, of who is in line", lambda queue: known(queue).cancel_wait, None),
]
