"""Arguments that are none: each method once with each kind of mistake. TypeError or ValueError, with what is wrong in its text."""

import array
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import underpass
from underpass import MessageTooLongError, Port, Queue, Semaphore, Space

HUGE = 10**30
STRIDED = memoryview(bytearray(16))[::2]

# What is called is typed for those who call it well.
Mistake = tuple[str, Callable[[Any], object], type[Exception], str]

NUMBER = r"object cannot be interpreted as an integer"
TIME = r"must be real number, not str"
OUT = r"is out of range: it has more than 64 bits"


@pytest.fixture(scope="module")
def it() -> Iterator[SimpleNamespace]:
    """Make one of each. They live in the session's space, since each case has one of its own."""
    port = Port(message_size=8)
    queue = Queue(4, 8)
    queue.put(b"message")
    objects = SimpleNamespace(
        u=underpass,
        semaphore=Semaphore(1),
        queue=queue,
        port=port,
        gate=port.gate(),
        loan=queue.loan(4),
        lease=queue.take(),
    )
    yield objects
    objects.loan.abandon()
    objects.lease.done()
    for thing in (objects.semaphore, queue, objects.gate, port):
        thing.close()


TYPES: list[Mistake] = [
    ("value is missing", lambda it: it.u.Semaphore(), TypeError, "missing 1 required positional argument: 'value'"),
    ("value is text", lambda it: it.u.Semaphore("1"), TypeError, NUMBER),
    ("value is a float", lambda it: it.u.Semaphore(1.5), TypeError, NUMBER),
    ("limit is text", lambda it: it.u.Semaphore(1, limit="x"), TypeError, NUMBER),
    (
        "saturate is text",
        lambda it: it.u.Semaphore(1, saturate="yes"),
        TypeError,
        "'str' object is not an instance of 'bool'",
    ),
    ("limit by place", lambda it: it.u.Semaphore(1, 2), TypeError, "positional arguments but"),
    ("name is a number", lambda it: it.u.Semaphore.create(1, 1), TypeError, "'int' object is not an instance of 'str'"),
    ("name is None", lambda it: it.u.Queue.create(None), TypeError, "'None' is not an instance of 'str'"),
    ("name is bytes", lambda it: it.u.Port.create(b"x"), TypeError, "'bytes' object is not an instance of 'str'"),
    ("gate's name is a number", lambda it: it.u.Gate.open(5), TypeError, "'int' object is not an instance of 'str'"),
    (
        "space is a path",
        lambda it: it.u.Queue.create("x", space="here"),
        TypeError,
        "'str' object is not an instance of 'Space'",
    ),
    ("mode is text", lambda it: it.u.Queue.create("x", mode="600"), TypeError, NUMBER),
    ("open's timeout is text", lambda it: it.u.Queue.open("x", timeout="1"), TypeError, TIME),
    ("acquire's timeout by place", lambda it: it.semaphore.acquire(1), TypeError, "positional arguments but"),
    ("acquire's timeout is text", lambda it: it.semaphore.acquire(timeout="1"), TypeError, TIME),
    ("holding's timeout is text", lambda it: it.semaphore.holding(timeout="1"), TypeError, TIME),
    ("count is text", lambda it: it.semaphore.release("1"), TypeError, NUMBER),
    ("count is a float", lambda it: it.semaphore.release(1.0), TypeError, NUMBER),
    ("capacity is text", lambda it: it.u.Queue("4"), TypeError, NUMBER),
    ("message_size is a float", lambda it: it.u.Queue(4, 8.0), TypeError, NUMBER),
    ("max_deliveries is text", lambda it: it.u.Queue(max_deliveries="x"), TypeError, NUMBER),
    (
        "put an object",
        lambda it: it.queue.put({}),
        TypeError,
        "^Queue carries bytes: encode text, and pack or pickle objects: .*not 'dict'$",
    ),
    (
        "put text",
        lambda it: it.queue.put("x"),
        TypeError,
        "Queue carries bytes: encode text, and pack or pickle objects: .*not 'str'",
    ),
    ("put None", lambda it: it.queue.put_nowait(None), TypeError, "pack or pickle objects: .*not 'NoneType'"),
    ("put timeout by place", lambda it: it.queue.put(b"x", 1), TypeError, "positional arguments but"),
    ("put no list", lambda it: it.queue.put_many(5), TypeError, "'int' object is not iterable"),
    ("put many objects", lambda it: it.queue.put_many([b"x", {}]), TypeError, "pack or pickle objects"),
    ("put many bytes' numbers", lambda it: it.queue.put_many(b"xy"), TypeError, "not 'int'"),
    (
        "put a strided view",
        lambda it: it.queue.put(STRIDED),
        BufferError,
        "'memoryview' is not contiguous: pass a contiguous copy",
    ),
    ("get's timeout by place", lambda it: it.queue.get(1), TypeError, "positional arguments but"),
    ("get into what is read only", lambda it: it.queue.get_into(b"x"), TypeError, "read-only 'bytes'"),
    ("get into a number", lambda it: it.queue.get_into(5), TypeError, "not 'int'"),
    ("get into a strided view", lambda it: it.queue.get_into(STRIDED), BufferError, "not contiguous"),
    ("get many's limit is text", lambda it: it.queue.get_many("x"), TypeError, NUMBER),
    ("take's timeout is text", lambda it: it.queue.take(timeout="1"), TypeError, TIME),
    ("loan's size is text", lambda it: it.queue.loan("x"), TypeError, NUMBER),
    ("peek's index is text", lambda it: it.queue.peek("x"), TypeError, NUMBER),
    ("join's timeout is text", lambda it: it.queue.join(timeout="1"), TypeError, TIME),
    ("immediate by place", lambda it: it.queue.shutdown(True), TypeError, "positional arguments but"),  # noqa: FBT003
    ("front is text", lambda it: it.lease.put_back(front="x"), TypeError, "'str' object is not an instance of 'bool'"),
    ("commit's size is text", lambda it: it.loan.commit("x"), TypeError, NUMBER),
    ("loan's index is text", lambda it: it.loan["x"], TypeError, "memoryview: invalid slice key"),
    (
        "loan's item is an object",
        lambda it: it.loan.__setitem__(slice(0, 2), {}),
        TypeError,
        "bytes-like object is required, not 'dict'",
    ),
    ("port's message_size is text", lambda it: it.u.Port(message_size="x"), TypeError, NUMBER),
    ("port's message_size by place", lambda it: it.u.Port(8), TypeError, "positional arguments but"),
    ("receive's timeout is text", lambda it: it.port.receive(timeout="1"), TypeError, TIME),
    (
        "reply_wait to a number",
        lambda it: it.port.reply_wait(5),
        TypeError,
        "'int' object is not an instance of 'Request'",
    ),
    ("serve by a number", lambda it: it.port.serve(5), TypeError, "handler is not callable: 'int'"),
    ("serve bytes by a number", lambda it: it.port.serve_bytes(5), TypeError, "handler is not callable: 'int'"),
    (
        "call with an object",
        lambda it: it.gate.call({}),
        TypeError,
        "^Gate and Port carry bytes; an Interface carries objects: .*'dict'",
    ),
    ("call's timeout is text", lambda it: it.gate.call(b"", timeout="1"), TypeError, TIME),
    ("call into what is read only", lambda it: it.gate.call_into(b"", b""), TypeError, "read-only 'bytes'"),
    (
        "call into with an object",
        lambda it: it.gate.call_into({}, bytearray(8)),
        TypeError,
        "Interface carries objects",
    ),
    ("gate out of nothing", lambda it: it.u.Gate(), TypeError, "No constructor defined|cannot create"),
    ("space is a number", lambda it: it.u.Space(5), TypeError, "str, bytes or os.PathLike"),
    ("space's mode is text", lambda it: it.u.Space(mode="700"), TypeError, NUMBER),
    ("group is a float", lambda it: it.u.Space(group=1.5), TypeError, "a name, a number or None, not"),
    ("serve what is no interface", lambda it: it.u.serve(5, at="x"), TypeError, "Interface"),
    ("connect to what is no interface", lambda it: it.u.connect(5, "x"), TypeError, "class"),
    (
        "connect to the base class",
        lambda it: it.u.connect(it.u.Interface, 5),
        TypeError,
        "subclass underpass.Interface",
    ),
]

VALUES: list[Mistake] = [
    ("value below 0", lambda it: it.u.Semaphore(-1), ValueError, "value=-1 is not between 0 and the limit"),
    (
        "value above limit",
        lambda it: it.u.Semaphore(3, limit=2),
        ValueError,
        "value=3 is not between 0 and the limit of 2",
    ),
    ("value is huge", lambda it: it.u.Semaphore(HUGE), ValueError, OUT),
    ("limit is 0", lambda it: it.u.Semaphore(0, limit=0), ValueError, "limit=0 is not between 1 and"),
    ("limit is huge", lambda it: it.u.Semaphore(0, limit=-HUGE), ValueError, OUT),
    (
        "timeout below 0",
        lambda it: it.semaphore.acquire(timeout=-0.1),
        ValueError,
        r"timeout=-0.1 is not a time: pass seconds >= 0",
    ),
    ("timeout is no number", lambda it: it.queue.get(timeout=float("nan")), ValueError, "is not a time"),
    ("open's timeout below 0", lambda it: it.u.Gate.open("x", timeout=-1), ValueError, "timeout=-1 is not a time"),
    ("call's timeout below 0", lambda it: it.gate.call(b"", timeout=-1), ValueError, "timeout=-1 is not a time"),
    ("count is 0", lambda it: it.semaphore.release(0), ValueError, "count=0 is below 1"),
    ("count is huge", lambda it: it.semaphore.release(HUGE), ValueError, OUT),
    ("wakes are many", lambda it: it.u.AtomicInt().wake(HUGE), ValueError, OUT),
    ("capacity is 0", lambda it: it.u.Queue(0), ValueError, "capacity=0 is not between 1 and"),
    ("capacity below 0", lambda it: it.u.Queue(-1), ValueError, "capacity=-1 is not between 1 and 268435456"),
    (
        "capacity is above 32 bits",
        lambda it: it.u.Queue(1 << 40),
        ValueError,
        "=1099511627776 is not between 1 and 268435456",
    ),
    ("capacity is huge", lambda it: it.u.Queue.create("x", HUGE), ValueError, OUT),
    ("message_size is 0", lambda it: it.u.Queue(1, 0), ValueError, "message_size=0 is not between 1 and"),
    ("message_size is large", lambda it: it.u.Queue(1, 2**31), ValueError, "message_size=2147483648 is not between"),
    (
        "max_deliveries is 0",
        lambda it: it.u.Queue(max_deliveries=0),
        ValueError,
        "max_deliveries=0 would deliver nothing",
    ),
    ("max_deliveries below 0", lambda it: it.u.Queue(max_deliveries=-1), ValueError, "max_deliveries=-1"),
    ("get many of 0", lambda it: it.queue.get_many(0), ValueError, "limit=0 gets nothing"),
    ("get many below 0", lambda it: it.queue.get_many(-1), ValueError, "limit=-1 is negative"),
    ("loan below 0", lambda it: it.queue.loan(-1), ValueError, "size=-1 is negative"),
    ("loan is huge", lambda it: it.queue.loan(HUGE), ValueError, OUT),
    ("peek below 0", lambda it: it.queue.peek(-1), ValueError, "index=-1 is negative"),
    ("peek far behind", lambda it: it.queue.peek(2**40), IndexError, "has no message at"),
    ("commit more than was lent", lambda it: it.loan.commit(5), ValueError, "size=5 is more than the 4 bytes lent"),
    ("commit below 0", lambda it: it.loan.commit(-1), ValueError, "size=-1 is negative"),
    ("commit a huge size", lambda it: it.loan.commit(HUGE), ValueError, OUT),
    ("write beyond the loan", lambda it: it.loan.__setitem__(4, 0), IndexError, "out of bounds"),
    ("write more than a byte", lambda it: it.loan.__setitem__(0, 256), ValueError, "invalid value"),
    (
        "port's message_size below 0",
        lambda it: it.u.Port(message_size=-1),
        ValueError,
        "message_size=-1 is not between 0 and",
    ),
    (
        "port's message_size is large",
        lambda it: it.u.Port.create("x", message_size=2**40),
        ValueError,
        "is not between 0 and",
    ),
    ("space's path has a 0", lambda it: it.u.Space("a\0b"), ValueError, "null byte"),
    ("gate's name is none", lambda it: it.u.Gate.open("a b"), ValueError, "cannot be a name"),
]

LENGTHS: list[tuple[str, Callable[[Any], object]]] = [
    ("put", lambda it: it.queue.put(b"x" * 9)),
    ("put_nowait", lambda it: it.queue.put_nowait(bytearray(9))),
    ("put an array", lambda it: it.queue.put(array.array("i", [1, 2, 3])[:3].tobytes()[:9])),
    ("put_many", lambda it: it.queue.put_many([b"x", b"x" * 9])),
    ("loan", lambda it: it.queue.loan(9)),
    ("call", lambda it: it.gate.call(b"x" * 9)),
    ("call_into", lambda it: it.gate.call_into(b"x" * 9, bytearray(8))),
]


@pytest.mark.parametrize(
    ("call", "error", "text"), [mistake[1:] for mistake in TYPES + VALUES], ids=[m[0] for m in TYPES + VALUES]
)
def test_mistake_is_told(it: SimpleNamespace, call: Callable[[Any], object], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        call(it)
    assert caught.type is error
    assert str(caught.value)
    # Nothing happened.
    assert (it.semaphore.value, it.queue.depth, len(it.loan)) == (1, 0, 4)


@pytest.mark.parametrize("call", [call for _, call in LENGTHS], ids=[name for name, _ in LENGTHS])
def test_message_that_is_too_long_names_both_sizes_and_the_argument(
    it: SimpleNamespace, call: Callable[[Any], object]
) -> None:
    with pytest.raises(
        MessageTooLongError, match=r"9 bytes are more than its message_size of 8; .*message_size=9"
    ) as caught:
        call(it)
    assert (caught.value.size, caught.value.limit, caught.value.argument) == (9, 8, "message_size")
    assert isinstance(caught.value, ValueError)
    assert it.queue.depth == 0


def test_nothing_is_left_by_mistakes(it: SimpleNamespace) -> None:
    assert it.u is underpass
    assert list(Space()) == []
