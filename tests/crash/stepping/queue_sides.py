"""Deaths inside what Queue has besides its puts and gets: looks, copies into a buffer, putters that leave, its end."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from tests.crash.stepping.operation import Operation, nothing
from tests.crash.stepping.queues import (
    books,
    get,
    get_all,
    get_one,
    has_message,
    has_room,
    is_drained,
    join,
    known,
    put,
    put_and_get,
    put_another,
    with_messages,
)
from underpass import EndOfStream, Queue, ResetError, TimedOut, WouldBlock

# Long enough for a sleep, in seconds.
LOOK = 0.002


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


empty = with_messages()
full = with_messages(b"a", capacity=1)


def refused(
    verb: str,
    world: Callable[[], Queue],
    prepare: Callable[[Queue], Callable[[], object]],
    error: type[Exception],
) -> Operation[Queue]:
    """What ends without a message."""
    return Operation(
        noun="Queue",
        verb=verb,
        world=world,
        prepare=lambda queue: prepare(known(queue)),
        raises=(error,),
        wait=get,
        due=has_message,
        again=put_another,
        books=books,
    )


def asleep(
    verb: str,
    world: Callable[[], Queue],
    prepare: Callable[[Queue], Callable[[], object]],
    partner: Callable[[Queue], object],
) -> Operation[Queue]:
    """What sleeps until the partner has changed something."""
    return replace(refused(verb, world, prepare, WouldBlock), raises=(), partner=partner)


def filling(it: Operation[Queue]) -> Operation[Queue]:
    """The same of one that wants to put."""
    return replace(it, wait=put, due=has_room, again=get_one)


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
        # Nobody would make room for the contender again.
        meanwhile=get_one,
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
    refused("get_nowait, refused", empty, lambda queue: queue.get_nowait, WouldBlock),
    refused("take, timed out", empty, lambda queue: partial(queue.take, timeout=LOOK), TimedOut),
    refused("take_nowait, refused", empty, lambda queue: queue.take_nowait, WouldBlock),
    refused("get_into, timed out", empty, lambda queue: partial(queue.get_into, bytearray(16), timeout=LOOK), TimedOut),
    asleep("get_into, asleep", empty, lambda queue: partial(queue.get_into, bytearray(16)), put_another),
    replace(
        asleep("get_many, asleep", empty, lambda queue: partial(queue.get_many, 2), put_another),
        unordered="it takes what has come when it wakes, one message or two",
    ),
    filling(refused("put_nowait, refused", full, lambda queue: partial(queue.put_nowait, b"v"), WouldBlock)),
    filling(refused("loan, timed out", full, lambda queue: partial(queue.loan, 1, timeout=LOOK), TimedOut)),
    filling(asleep("loan, asleep", full, lambda queue: partial(queue.loan, 1), get_one)),
    replace(
        refused("join, timed out", full, lambda queue: partial(queue.join, timeout=LOOK), TimedOut),
        wait=join,
        due=is_drained,
        again=get_all,
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
