"""Deaths inside what Queue has besides its puts and gets: looks, copies into a buffer, putters that leave, its end."""

from collections.abc import Callable
from functools import partial

from tests.crash.stepping.operation import Operation, nothing
from tests.crash.stepping.queues import (
    books,
    get,
    get_one,
    has_room,
    known,
    put,
    put_and_get,
    put_another,
    with_messages,
)
from underpass import EndOfStream, Queue, ResetError


def registered(queue: Queue) -> Callable[[], object]:
    block = known(queue).putting()
    block.__enter__()
    return partial(block.__exit__, None, None, None)


def put_in_vain(queue: Queue) -> str:
    try:
        queue.put(b"w")
    except (EndOfStream, ResetError):
        return "refused"
    return "put"


def shut_down_and_get(queue: Queue) -> None:
    queue.shutdown()
    queue.get_nowait()


OPERATIONS: list[Operation[Queue]] = [
    Operation(
        noun="Queue",
        verb="get_into",
        world=with_messages(b"a", b"b", b"c"),
        prepare=lambda queue: partial(known(queue).get_into, bytearray(16)),
        contend=put_and_get,
        again=get_one,
        books=books,
    ),
    Operation(
        noun="Queue",
        verb="get_into, of a full one",
        world=with_messages(b"a", b"b", capacity=2),
        prepare=lambda queue: partial(known(queue).get_into, bytearray(16)),
        wait=put,
        due=has_room,
        again=get_one,
        books=books,
    ),
    Operation(
        noun="Queue",
        verb="peek",
        world=with_messages(b"a", b"b", b"c"),
        prepare=lambda queue: partial(known(queue).peek, 1),
        contend=put_and_get,
        again=put_another,
        books=books,
    ),
    Operation(
        noun="Queue",
        verb="peek, of a full one",
        world=with_messages(b"a", b"b", capacity=2),
        prepare=lambda queue: known(queue).peek,
        wait=put,
        due=has_room,
        again=get_one,
        books=books,
    ),
    Operation(
        noun="Queue",
        verb="putting, left by the last",
        world=with_messages(),
        prepare=registered,
        wait=get,
        # It has left, or has died.
        due=lambda _: True,
        contend=put_and_get,
        again=nothing,
        books=books,
    ),
    Operation(
        noun="Queue",
        verb="shutdown, immediate",
        world=with_messages(b"a", b"b", capacity=2),
        prepare=lambda queue: partial(known(queue).shutdown, immediate=True),
        partly=(lambda queue: queue.shutdown(), shut_down_and_get),
        wait=put_in_vain,
        due=has_room,
        again=lambda queue: queue.shutdown(),
        books=books,
    ),
]
