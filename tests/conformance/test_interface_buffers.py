"""Buffers as arguments and results: what crosses, what is refused, and how often it is copied."""

from __future__ import annotations

import gc
import tracemalloc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conformance.backends import PATIENCE, Processes, Threads
from underpass import (
    CorruptedError,
    Interface,
    MessageTooLongError,
    MismatchError,
    Port,
    RemoteError,
    connect,
    serving,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

World = Threads | Processes

SIZE = 8 << 20
ROOM = SIZE + 4096


class Darkroom(Interface):
    """Every kind of buffer, there and back."""

    def whole(self, data: bytes) -> bytes:
        return data

    def changeable(self, data: bytearray) -> bytearray:
        data += b"!"
        return data

    def view(self, data: memoryview) -> memoryview:
        return data[::-1] if data.nbytes < 100 else data

    def array(self, data: np.ndarray) -> np.ndarray:
        return data

    def doubled(self, data: NDArray[np.floating[Any]], factor: float = 2) -> NDArray[np.float64]:
        return np.asarray(data * factor, np.float64)

    def maybe(self, data: bytes | None, array: np.ndarray | None) -> np.ndarray | None:
        return array if data is None else np.frombuffer(data, np.uint8)

    def mixed(self, name: str, first: bytes, numbers: list[int], second: memoryview, *, third: bytes = b"3") -> str:
        return f"{name} {first!r} {numbers} {bytes(second)!r} {third!r}"

    def measure(self, data: memoryview) -> int:
        return data.nbytes

    def count(self, data: np.ndarray) -> int:
        return int(data.nbytes)

    def make(self, size: int) -> np.ndarray:
        return np.zeros(size, np.uint8)

    def lie(self) -> np.ndarray:
        return cast("np.ndarray", [1, 2])

    def writable(self, data: np.ndarray) -> bool:
        return bool(data.flags.writeable)


@contextmanager
def darkroom_in(world: World) -> Generator[Any]:
    stop = world.flag()

    def run() -> None:
        with serving(Darkroom(), at=Port.create("darkroom", message_size=ROOM)):
            stop.wait()

    server = world.start(run)
    with connect(Darkroom, "darkroom", timeout=PATIENCE) as proxy:
        yield proxy
    stop.raise_()
    server.result()


@pytest.fixture
def darkroom(world: World) -> Iterator[Any]:
    with darkroom_in(world) as proxy:
        yield proxy


# ── what crosses ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("data", [b"", b"x", b"0123456789abcdef", b"\xff" * 100_000])
def test_bytes_cross_as_what_is_annotated(darkroom: Darkroom, data: bytes) -> None:
    whole, changeable, view = (
        darkroom.whole(data),
        darkroom.changeable(bytearray(data)),
        darkroom.view(memoryview(data)),
    )
    assert (type(whole), whole) == (bytes, data)
    assert (type(changeable), changeable) == (bytearray, data + b"!")
    assert type(view) is memoryview
    assert bytes(view) == (data[::-1] if len(data) < 100 else data)


def test_any_bytes_like_object_goes_for_another(darkroom: Darkroom) -> None:
    anything = cast("Callable[[object], bytes]", darkroom.whole)
    assert anything(bytearray(b"a")) == b"a"
    assert anything(memoryview(b"abcdef")[::2]) == b"ace"
    assert anything(memoryview(bytes(12)).cast("I")) == bytes(12)


ARRAYS = [
    np.arange(12, dtype=np.int32).reshape(3, 4),
    np.arange(12.0).reshape(3, 4).T,
    np.arange(24, dtype=">u2").reshape(2, 3, 4)[:, ::2],
    np.array(5 + 2j),
    np.zeros((3, 0, 2), np.float32),
    np.array([True, False]),
    np.array(["2026-01-01", "NaT"], "datetime64[ns]"),
    np.array([1, 2], "timedelta64[25s]"),
    np.array(["wörter", "x"]),
    np.array([b"raw", b""]),
    np.arange(3, dtype=np.float16),
    np.arange(-3, 3, dtype=np.int8)[::-1],
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_arrays_cross(darkroom: Darkroom, array: NDArray[Any]) -> None:
    back = darkroom.array(array)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(back, array)
    assert back.flags.f_contiguous == array.flags.f_contiguous or not array.flags.forc
    assert back.ctypes.data % 16 == 0


def test_buffers_travel_beside_other_arguments(darkroom: Darkroom) -> None:
    assert darkroom.mixed("n", b"1", [1, 2], memoryview(b"two")) == "n b'1' [1, 2] b'two' b'3'"
    assert darkroom.mixed(third=b"", second=memoryview(b""), numbers=[], first=b"x" * 33, name="") == (
        f" {b'x' * 33!r} [] b'' b''"
    )
    np.testing.assert_array_equal(darkroom.doubled(np.ones(3, np.float32)), [2, 2, 2])
    np.testing.assert_array_equal(darkroom.doubled(np.ones(3), factor=3), [3, 3, 3])


def test_none_stands_for_a_buffer_where_it_may(darkroom: Darkroom) -> None:
    assert darkroom.maybe(None, None) is None
    np.testing.assert_array_equal(cast("Any", darkroom.maybe(b"\1\2", None)), [1, 2])
    np.testing.assert_array_equal(cast("Any", darkroom.maybe(None, np.arange(3))), [0, 1, 2])


def test_what_arrives_is_a_read_only_view(darkroom: Darkroom) -> None:
    assert not darkroom.writable(np.zeros(3))
    assert not darkroom.array(np.zeros(3)).flags.writeable


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────────────────────


class Special(np.ndarray):
    pass


@pytest.mark.parametrize(
    ("method", "argument", "text"),
    [
        ("whole", "text", "argument 'data': Expected bytes, got str"),
        ("whole", None, "argument 'data': Expected bytes, got NoneType"),
        ("whole", np.zeros(3), "Expected bytes, got ndarray"),
        ("array", [1, 2], "argument 'data': Expected ndarray, got list"),
        ("array", np.ma.masked_array([1], [True]), "Expected ndarray, got MaskedArray"),
        ("array", np.zeros(3).view(Special), "Expected ndarray, got Special"),
        ("array", np.array([object()]), "got one of object"),
        ("array", np.zeros(2, [("a", "i4"), ("b", "f8")]), "got one of "),
        ("doubled", np.arange(3), "Expected an array of floating, got one of int64"),
    ],
)
def test_what_is_no_such_buffer_is_the_callers_error(method: str, argument: object, text: str) -> None:
    with Port() as port, pytest.raises(TypeError, match=text) as caught:
        getattr(connect(Darkroom, port.gate()), method)(argument)
    assert f"Darkroom.{method}" in str(caught.value)


def test_a_result_that_is_no_such_buffer_is_the_servers_error(darkroom: Darkroom) -> None:
    with pytest.raises(RemoteError, match="its result: Expected ndarray, got list"):
        darkroom.lie()


def test_arrays_inside_of_containers_are_refused() -> None:
    def method(self: object, arrays: list[np.ndarray]) -> None: ...

    with pytest.raises(TypeError, match=r"parameter 'arrays': ndarray travels as a whole argument"):
        connect(type("Bad", (Interface,), {"method": method}), "nowhere")


def test_too_long_buffers_say_what_to_raise_and_the_next_call_goes_through(darkroom: Darkroom) -> None:
    with pytest.raises(MessageTooLongError, match="message_size=") as request:
        darkroom.count(np.zeros(ROOM))
    assert request.value.size > request.value.limit == ROOM
    with pytest.raises(MessageTooLongError, match="message_size=") as reply:
        darkroom.make(ROOM)
    assert reply.value.size > reply.value.limit == ROOM
    assert darkroom.whole(b"still here") == b"still here"


def test_other_types_of_items_are_another_schema() -> None:
    def darkroom(items: type[Any]) -> type[Interface]:
        def develop(self: object, film: object) -> None:
            """Develop it."""

        develop.__annotations__ = {"film": NDArray[items], "return": None}
        return type("Film", (Interface,), {"develop": develop})

    with serving(darkroom(np.float64)(), at="film"):
        cast("Any", connect(darkroom(np.float64), "film")).develop(np.zeros(3))
        with pytest.raises(MismatchError, match="float32"):
            cast("Any", connect(darkroom(np.float32), "film")).develop(np.zeros(3, np.float32))


HEADS = [
    b"",
    b"\0" * 7,
    b"\0\0\xff\xff\xff\xff",
    b"\0\0\1\0\0\0\x90",
    b"\0\0\2\0\0\0\x91\x05",
    b"\0\0\2\0\0\0\x91\xff",
    b"\0\0\x0a\0\0\0\x91\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
]
SHAPES: list[tuple[object, list[object]]] = [
    ("|O", [1]),
    ("<f8", [-1]),
    ("<f8", [1 << 62, 1 << 62]),
    ("<f8", [0, 1 << 62, 1 << 62]),
    ("<f8", [1 << 20]),
    ("<f8", [1] * 100),
    ("<U0", [1 << 60]),
    ("<U999999999999", [0]),
    ("i4,i4", [1]),
    ("{'names': []}", [1]),
    ("<f3", [1]),
    ("<M8[parsec]", [1]),
    (7, [1]),
]


def packed(head: object) -> bytes:
    body = msgspec.msgpack.encode([head])
    return b"\0\0" + len(body).to_bytes(4, "little") + body + bytes(64)


REQUESTS = HEADS + [packed([dtype, shape, False]) for dtype, shape in SHAPES]


@pytest.mark.parametrize("request_", REQUESTS)
def test_heads_that_lie_reach_no_memory(request_: bytes) -> None:
    with Port(message_size=4096) as port, serving(Darkroom(), at=port):
        gate = port.gate()
        proxy = connect(Darkroom, gate)
        answers = set[bytes]()
        for method in range(12):
            answers.add(gate.call(b"\0" + bytes((method,)) + request_)[:1])
            assert proxy.whole(b"alive") == b"alive", f"after method {method}"
        assert answers <= {b"\0", b"\1"}


@pytest.mark.parametrize("reply", REQUESTS)
def test_a_server_whose_heads_lie_is_corrupt(reply: bytes, threads: Threads) -> None:
    with Port(message_size=4096) as port:

        def lie(request: bytes) -> bytes:
            return b"\0\0" if request[:1] == b"\xff" else b"\0\0" + reply

        answers = threads.start(port.serve_bytes, lie)
        proxy = connect(Darkroom, port.gate())
        with pytest.raises(CorruptedError, match=r"Darkroom\.array"):
            proxy.array(np.zeros(3))
        port.close()
        answers.result()


# ── copies ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def peak_of(call: Callable[[], object]) -> float:
    """How many times SIZE this process allocates during a call, beyond what it had."""
    call()
    gc.collect()
    tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        call()
        _, peak = tracemalloc.get_traced_memory()
        return (peak - before) / SIZE
    finally:
        tracemalloc.stop()


def near(copies: int) -> Any:
    return pytest.approx(copies, abs=0.1)


@pytest.fixture
def remote(processes: Processes) -> Iterator[Any]:
    """A darkroom whose memory is not this process's."""
    with darkroom_in(processes) as proxy:
        yield proxy


def test_a_caller_makes_no_copy_of_its_own_of_what_it_sends(remote: Darkroom) -> None:
    array, data = np.zeros(SIZE, np.uint8), bytes(SIZE)
    assert peak_of(lambda: remote.count(array)) == near(0)
    assert peak_of(lambda: remote.count(array.reshape(2, -1).T)) == near(0)
    assert peak_of(lambda: remote.measure(memoryview(data))) == near(0)
    assert peak_of(lambda: remote.measure(array.data)) == near(0)


def test_a_caller_copies_a_result_out_once(remote: Darkroom) -> None:
    assert peak_of(lambda: remote.make(SIZE)) == near(1)


def test_a_server_copies_arguments_out_once_and_sends_results_as_they_are() -> None:
    array = np.zeros(SIZE, np.uint8)
    with Port(message_size=ROOM) as port, serving(Darkroom(), at=port):
        proxy = connect(Darkroom, port.gate())
        # Both sides are this process: what the server receives is one copy, and what the caller gets back the other,
        # which may be made when the first is gone already.
        assert peak_of(lambda: proxy.count(array)) == near(1)
        assert peak_of(lambda: proxy.array(array)) <= 2.1
