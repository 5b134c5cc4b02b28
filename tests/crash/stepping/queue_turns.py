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


getting: Operation[Queue] = Operation(
    noun="Queue",
    verb="get, in line, asleep",
    world=with_messages(),
    prepare=lambda queue: known(queue).get,
    partner=lambda queue: queue.put_nowait(b"a"),
    wait=get,
    due=has_message,
    again=put_another,
    books=books,
)
putting: Operation[Queue] = Operation(
    noun="Queue",
    verb="put, in line, asleep",
    world=with_messages(b"a", capacity=1),
    prepare=lambda queue: partial(known(queue).put, b"v"),
    partner=get_one,
    wait=put,
    due=has_room,
    again=get_one,
    books=books,
)

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
    Operation(
        noun="Queue",
        verb="get, from the first in line",
        world=with_messages(b"a", capacity=1),
        prepare=lambda queue: known(queue).get,
        wait=put,
        due=has_room,
        again=get_one,
        books=books,
    ),
    getting,
    replace(
        getting, verb="take, in line, asleep", prepare=lambda queue: known(queue).take, again=take_what_returns_and_put
    ),
    replace(
        getting,
        verb="get, in line, timed out",
        prepare=lambda queue: partial(known(queue).get, timeout=LOOK),
        partner=None,
        raises=(TimedOut,),
    ),
    replace(
        getting,
        verb="get, in line, sent away",
        partner=lambda queue: queue.cancel_wait(),
        raises=(ResetError,),
    ),
    putting,
    replace(putting, verb="loan, in line, asleep", prepare=lambda queue: partial(known(queue).loan, 1)),
    replace(
        putting,
        verb="put, in line, timed out",
        prepare=lambda queue: partial(known(queue).put, b"v", timeout=LOOK),
        partner=None,
        raises=(TimedOut,),
    ),
    Operation(
        noun="Queue",
        verb="cancel_wait",
        world=with_messages(),
        prepare=lambda queue: known(queue).cancel_wait,
        wait=get,
        due=has_message,
        again=put_another,
        books=books,
    ),
]
