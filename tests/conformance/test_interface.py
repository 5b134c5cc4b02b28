"""Interface: what both sides agree on, what crosses, and what a client sees of its server's errors, death and return."""

from __future__ import annotations

import contextlib
import enum
import os
import pickle
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from types import FunctionType
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from tests.conformance.backends import PATIENCE, Processes, Threads
from underpass import (
    CallAbortedError,
    ClosedError,
    ExistsError,
    Gate,
    Interface,
    MessageTooLongError,
    MismatchError,
    NotFoundError,
    PeerDiedError,
    Port,
    RemoteError,
    Space,
    connect,
    serve,
    serving,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

World = Threads | Processes


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: int
    y: float = 0.0


class Tree(msgspec.Struct):
    name: str
    below: list[Tree] = []


class Desk(Interface):
    """What most cases call."""

    def add(self, a: int, b: int = 2) -> int:
        """Add two numbers."""
        raise NotImplementedError

    def join(self, words: list[str], *, by: str = ",") -> str:
        raise NotImplementedError

    def move(self, point: Point, colour: Colour | None) -> tuple[Point, Colour | None]:
        raise NotImplementedError

    def nest(self, tree: Tree) -> Tree:
        raise NotImplementedError

    def fill(self, size: int) -> bytes:
        raise NotImplementedError

    def note(self, text: str) -> None:
        raise NotImplementedError

    def fail(self, kind: str) -> int:
        raise NotImplementedError

    def lie(self) -> int:
        raise NotImplementedError

    def missing(self) -> int:
        raise NotImplementedError

    def whoami(self) -> int:
        raise NotImplementedError


class RudeError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


class Clerk(Desk):
    """Answers."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def add(self, a: int, b: int = 2) -> int:
        return a + b

    def join(self, words: list[str], *, by: str = ",") -> str:
        return by.join(words)

    def move(self, point: Point, colour: Colour | None) -> tuple[Point, Colour | None]:
        assert isinstance(point, Point)
        return Point(point.x + 1, point.y), colour

    def nest(self, tree: Tree) -> Tree:
        return Tree("root", [tree])

    def fill(self, size: int) -> bytes:
        return b"." * size

    def note(self, text: str) -> None:
        self.notes.append(text)
        return cast("None", "more than was promised")

    def fail(self, kind: str) -> int:
        match kind:
            case "long":
                raise ValueError("long " * 100_000 + "and short")
            case "rude":
                raise RudeError
            case "surrogate":
                raise ValueError("\udcff")
            case _:
                raise KeyError(kind)

    def lie(self) -> int:
        return cast("int", "a string")

    def whoami(self) -> int:
        return os.getpid()

    def helper(self, anything: threading.Thread) -> None:
        """No part of the interface, and could not be one."""


@contextlib.contextmanager
def clerk_in(world: World, at: str = "desk") -> Generator[Desk]:
    """Serve in another thread or process, and connect."""
    stop = world.flag()

    def run() -> None:
        with serving(Clerk(), at=at):
            stop.wait()

    server = world.start(run)
    proxy = connect(Desk, at, timeout=PATIENCE)
    try:
        with proxy:
            yield proxy
    finally:
        stop.raise_()
        server.result()


# ── what crosses ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_arguments_and_results_cross(world: World) -> None:
    with clerk_in(world) as desk:
        assert desk.add(1, 5) == 6
        assert desk.add(1) == 3
        assert desk.add(b=1, a=1) == 2
        assert desk.join(["a", "b"], by="-") == "a-b"
        assert desk.join([]) == ""
        assert desk.move(Point(1, 2), Colour.RED) == (Point(2, 2.0), Colour.RED)
        assert desk.move(Point(1), None) == (Point(2, 0.0), None)
        assert desk.nest(Tree("leaf")).below[0].name == "leaf"
        assert desk.fill(60_000) == b"." * 60_000


def test_no_result_is_none_whatever_the_method_returns(world: World) -> None:
    with clerk_in(world) as desk:
        result: object = cast("Callable[[str], object]", desk.note)("kept")
        assert result is None


def test_proxy_is_an_instance_and_documents_itself(world: World) -> None:
    with clerk_in(world) as desk:
        assert isinstance(desk, Desk)
        assert desk.add.__doc__ == "Add two numbers."
        assert repr(desk) == "<proxy of Desk at 'desk', not bound>"
        desk.add(1)
        assert repr(desk) == "<proxy of Desk at 'desk', bound>"
        assert not hasattr(desk, "helper")


def test_an_implementations_own_methods_are_for_who_connects_with_its_class() -> None:
    class Wider(Clerk):
        def negative(self, number: int) -> int:
            return -number

        helper = None  # type: ignore[assignment]

    with serving(Wider(), at="desk"):
        assert connect(Wider, "desk").negative(3) == -3
        assert connect(Desk, "desk").add(1) == 3


# ── who is to blame ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("method", "positional", "named", "text"),
    [
        ("add", ("1",), {}, "argument 'a': Expected int, got str"),
        ("add", (1,), {"b": 1.5}, "argument 'b'"),
        ("add", (1, 2, 3), {}, "too many positional arguments"),
        ("add", (), {}, "missing a required argument: 'a'"),
        ("add", (1,), {"c": 2}, "unexpected keyword argument 'c'"),
        ("join", (["a"], "-"), {}, "too many positional arguments"),
        ("join", (["a", 1],), {}, r"argument 'words\[1\]': Expected str, got int"),
        ("move", (Point(cast("int", "x")), None), {}, r"argument 'point\.x'"),
        ("note", (object(),), {}, "argument 'text': Expected str, got object"),
        ("note", (b"bytes",), {}, "Expected str, got bytes"),
    ],
)
def test_wrong_arguments_are_the_callers_error_and_nothing_is_sent(
    method: str, positional: tuple[object, ...], named: dict[str, object], text: str
) -> None:
    # Nobody receives, so a call that were sent would wait for ever.
    with Port() as port, pytest.raises(TypeError, match=text) as caught:
        getattr(connect(Desk, port.gate()), method)(*positional, **named)
    assert f"Desk.{method}" in str(caught.value)


def test_unknown_method_is_an_attribute_error(world: World) -> None:
    with clerk_in(world) as desk, pytest.raises(AttributeError):
        cast("Any", desk).nothing()


def test_remote_error_has_type_text_and_traceback_and_the_server_goes_on(world: World) -> None:
    with clerk_in(world) as desk:
        with pytest.raises(RemoteError, match=r"Desk\.fail raised KeyError: 'other'") as caught:
            desk.fail("other")
        error = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
        assert (error.type, error.text) == ("KeyError", "'other'")
        assert "in fail" in error.traceback
        assert "in answer" not in error.traceback, "the machinery is not shown"
        assert error.traceback.rstrip() in str(error)
        with pytest.raises(RemoteError, match="NotImplementedError"):
            desk.missing()
        assert desk.add(1) == 3


def test_exceptions_that_hardly_travel_travel(world: World) -> None:
    with clerk_in(world) as desk:
        with pytest.raises(RemoteError) as long:
            desk.fail("long")
        assert long.value.text.startswith("long long")
        assert " … " in long.value.text
        assert long.value.text.endswith("long and short")
        assert "in fail" in long.value.traceback
        assert long.value.traceback.rstrip().endswith("long and short")
        with pytest.raises(RemoteError) as rude:
            desk.fail("rude")
        assert rude.value.type.endswith("test_interface.RudeError")
        with pytest.raises(RemoteError, match="udcff"):
            desk.fail("surrogate")


def test_a_long_traceback_keeps_its_end() -> None:
    def deep(depth: int) -> int:
        return len("x" * 3_000) // 0 if depth == 0 else deep(depth - 1) + depth

    class Deep(Clerk):
        def whoami(self) -> int:
            return deep(40)

    with Port(message_size=500) as port, serving(Deep(), at=port):
        with pytest.raises(RemoteError) as caught:
            connect(Desk, port.gate()).whoami()
        assert caught.value.text == "integer division or modulo by zero"
        assert caught.value.traceback.startswith("…")
        assert caught.value.traceback.rstrip().endswith("ZeroDivisionError: integer division or modulo by zero")


@pytest.mark.parametrize("size", [200, 400, 600, 1_000, 3_000])
@pytest.mark.parametrize("letter", ["x", "é", "\n"])
def test_a_long_text_and_a_long_traceback_share_a_short_message(size: int, letter: str) -> None:
    def deep(depth: int) -> int:
        if depth == 0:
            raise ValueError("begins" + letter * 5_000 + "ends")
        return deep(depth - 1) + 1

    class Deep(Clerk):
        def whoami(self) -> int:
            return deep(40)

    with Port(message_size=size) as port, serving(Deep(), at=port), pytest.raises(RemoteError) as caught:
        connect(Desk, port.gate()).whoami()
    assert caught.value.text.startswith("begins")
    assert caught.value.text.endswith("ends")
    assert caught.value.traceback.rstrip().endswith("ends")
    assert size < 600 or "in deep" in caught.value.traceback


def test_result_of_another_type_is_the_servers_error(world: World) -> None:
    with clerk_in(world) as desk, pytest.raises(RemoteError, match="its result: Expected int, got str") as caught:
        desk.lie()
    assert caught.value.type == "TypeError"


def test_too_long_arguments_and_results_say_what_to_raise(world: World) -> None:
    with clerk_in(world) as desk:
        with pytest.raises(MessageTooLongError) as request:
            desk.note("x" * 70_000)
        assert request.value.size > request.value.limit == 64 * 1024
        with pytest.raises(MessageTooLongError, match="message_size") as reply:
            desk.fill(70_000)
        assert reply.value.size > reply.value.limit == 64 * 1024
        assert desk.fill(3) == b"..."


def test_base_exceptions_end_the_server() -> None:
    class Leaving(Clerk):
        def whoami(self) -> int:
            raise SystemExit(3)

    def run() -> None:
        with serving(Leaving(), at="desk"), pytest.raises((PeerDiedError, CallAbortedError)):
            connect(Desk, "desk").whoami()

    with pytest.raises(SystemExit):
        run()


# ── schemas ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["Desk", "Table"])
def test_another_schema_is_refused_and_the_difference_shown(world: World, name: str) -> None:
    def add(self: object, a: int, b: float = 2) -> int:
        raise NotImplementedError

    with clerk_in(world) as desk:
        proxy: Any = connect(type(name, (Interface,), {"add": add}), "desk")
        with pytest.raises(MismatchError):
            proxy.add(1)
        with pytest.raises(MismatchError) as caught:
            proxy.add(1)
        assert desk.add(1) == 3
    assert name in str(caught.value.expected)
    assert "Desk" in str(caught.value.found)
    if name == "Desk":
        lines = str(caught.value).splitlines()
        assert "  here:  add(a: int, b: float = 2) -> int" in lines
        assert "  there: add(a: int, b: int = 2) -> int" in lines
        assert "  only there: fill(size: int) -> bytes" in lines


def test_types_of_the_same_name_with_other_fields_are_another_schema() -> None:
    def desk(point: type) -> type[Interface]:
        def put(self: object, point: object) -> None:
            """Put it there."""

        put.__annotations__ = {"point": point, "return": None}
        return type("Board", (Interface,), {"put": put})

    two, three = (msgspec.defstruct("Spot", [(name, int) for name in names]) for names in ("xy", "xyz"))
    with serving(desk(two)(), at="board"):
        proxy: Any = connect(desk(two), "board")
        proxy.put(two(1, 2))
        with pytest.raises(
            MismatchError, match=r"put\(point: .*Spot\) -> None: the types that it names differ"
        ) as caught:
            cast("Any", connect(desk(three), "board")).put(three(1, 2, 3))
    here, there = str(caught.value).splitlines()[2:4]
    assert here.endswith("fields=[x: int, y: int, z: int])) -> none")
    assert there.endswith("fields=[x: int, y: int])) -> none")


def test_a_port_that_speaks_otherwise_is_a_mismatch(threads: Threads) -> None:
    with Port() as port:
        server = threads.start(port.serve_bytes, bytes.upper)
        with pytest.raises(MismatchError, match="something else than typed calls"):
            connect(Desk, port.gate()).add(1)
        port.close()
        server.result()


@pytest.mark.parametrize(
    "request_", [b"", b"\0", b"\xff", b"\xff\xc1", b"\0\xfe", b"\7\0\x90", b"\0\0\xc1", b"\0\0\x90"]
)
def test_a_server_survives_what_nobody_should_send(world: World, request_: bytes) -> None:
    with clerk_in(world) as desk:
        assert Gate.open("desk").call(request_)[:1] in {b"\1", b"\2"}
        assert desk.add(1) == 3


def plain(self: object, a: int) -> int: ...
def variadic(self: object, *a: int) -> int: ...
async def coroutine(self: object, a: int) -> int: ...


@pytest.mark.parametrize(
    ("function", "annotations", "text"),
    [
        (plain, {"return": int}, "parameter 'a' has no annotation"),
        (plain, {"a": int}, "the result has no annotation"),
        (plain, {"a": threading.Thread, "return": int}, "parameter 'a': Thread has no wire form"),
        (plain, {"a": int, "return": "Nowhere"}, "Nowhere"),
        (variadic, {"a": int, "return": int}, r"\*args"),
        (coroutine, {"a": int, "return": int}, "write a plain method"),
    ],
)
def test_what_cannot_be_called_from_outside_is_refused_on_both_sides(
    function: FunctionType, annotations: dict[str, object], text: str
) -> None:
    function = FunctionType(function.__code__, globals(), "method")
    function.__annotations__ = annotations
    bad: type[Interface] = type("Bad", (Interface,), {"method": function})
    with pytest.raises(TypeError, match=rf"Bad\.method: .*{text}"):
        connect(bad, "desk")
    with pytest.raises(TypeError, match=text):
        serve(bad(), at="desk")
    assert list(Space.default()) == [], "no name is left behind"


@pytest.mark.parametrize("what", [Interface, type("Empty", (Interface,), {})])
def test_interface_without_methods_is_refused(what: type[Interface]) -> None:
    with pytest.raises(TypeError, match=r"no interface|no public methods"):
        connect(what, "desk")


# ── names, ends and returns ─────────────────────────────────────────────────────────────────────────────────────────


def test_nobody_there_says_what_to_pass() -> None:
    with pytest.raises(NotFoundError, match="timeout="):
        connect(Desk, "desk")


def test_connect_waits_for_the_name(world: World) -> None:
    client = world.start(lambda: connect(Desk, "desk", timeout=PATIENCE).add(1))
    with serving(Clerk(), at="desk"):
        assert client.result() == 3


def test_a_name_that_is_served_is_refused_to_others(world: World) -> None:
    with clerk_in(world), pytest.raises(ExistsError):
        serve(Clerk(), at="desk")


def clerk_until_interrupted() -> None:
    """Serve in the main thread of a process of its own, as a server's program does."""
    with contextlib.suppress(KeyboardInterrupt):
        serve(Clerk(), at="desk")


def test_serve_leaves_the_name_when_it_ends(processes: Processes) -> None:
    server = processes.start(clerk_until_interrupted)
    desk = connect(Desk, "desk", timeout=PATIENCE)
    assert desk.whoami() == server.pid
    server.signal(signal.SIGINT)
    server.result()
    assert list(Space.default()) == []
    with pytest.raises(PeerDiedError):
        desk.whoami()
    with pytest.raises(NotFoundError):
        connect(Desk, "desk")


def test_serve_leaves_a_port_open_that_it_was_given() -> None:
    with Port.create("desk") as port:
        thread = threading.Thread(target=serve, args=(Clerk(),), kwargs={"at": port})
        thread.start()
        assert connect(Desk, "desk").add(1) == 3
        port.close()
        thread.join()


def test_proxy_binds_again_after_the_server_died_and_repeats_nothing(processes: Processes) -> None:
    first = processes.start(clerk_until_interrupted)
    desk = connect(Desk, "desk", timeout=PATIENCE)
    assert desk.whoami() == first.pid
    first.kill()
    with pytest.raises(PeerDiedError):
        desk.whoami()
    second = processes.start(clerk_until_interrupted)
    # timeout= holds for looking the name up anew as well.
    assert desk.whoami() == second.pid
    second.signal(signal.SIGINT)
    second.result()
    Space.default().sweep()  # what the killed one had


def test_proxy_whose_server_was_replaced_before_its_first_call_reaches_the_successor(processes: Processes) -> None:
    first = processes.start(clerk_until_interrupted)
    desk = connect(Desk, "desk", timeout=PATIENCE)
    first.kill()
    second = processes.start(clerk_until_interrupted)
    assert desk.whoami() == second.pid
    second.signal(signal.SIGINT)
    second.result()
    Space.default().sweep()  # what the killed one had


def test_a_gate_leads_to_one_incarnation(threads: Threads) -> None:
    port = Port.create("desk")
    with serving(Clerk(), at=port):
        desk = connect(Desk, port.gate())
        assert desk.add(1) == 3
    with serving(Clerk(), at="desk"):
        for _ in range(2):
            with pytest.raises(PeerDiedError):
                desk.add(1)
        assert threads.start(connect(Desk, "desk").add, 1).result() == 3


def test_closed_proxy_refuses_calls(world: World) -> None:
    with clerk_in(world) as desk:
        desk.add(1)
    with pytest.raises(ClosedError):
        desk.add(1)
    assert repr(desk) == "<proxy of Desk at 'desk', closed>"


def test_leaving_a_proxy_leaves_a_gate_open_that_it_was_given() -> None:
    with Port() as port, serving(Clerk(), at=port):
        gate = port.gate()
        with connect(Desk, gate) as desk:
            desk.add(1)
        assert connect(Desk, gate).add(1) == 3


# ── many ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_proxy_serves_many_threads(processes: Processes, threads: Threads) -> None:
    def calls(desk: Desk, number: int) -> list[int]:
        return [desk.add(number, i) - i for i in range(300)]

    with clerk_in(processes) as desk:
        actors = [threads.start(calls, desk, number) for number in range(8)]
        for number, actor in enumerate(actors):
            assert set(actor.result()) == {number}


def test_many_clients_share_a_server(world: World) -> None:
    with clerk_in(world):
        actors = [world.start(connect(Desk, "desk").add, n) for n in range(12)]
        assert [actor.result() for actor in actors] == [n + 2 for n in range(12)]


def test_proxy_pickles_and_forks(processes: Processes) -> None:
    with clerk_in(processes) as desk:
        desk.add(1)
        assert processes.start(desk.add, 1).result() == 3, "a bound proxy works in a forked child"
        copy: Desk = pickle.loads(pickle.dumps(desk))  # noqa: S301
        assert repr(copy) == "<proxy of Desk at 'desk', not bound>"
        assert copy.add(2) == 4
        assert type(copy) is type(desk)


def test_caller_that_dies_leaves_the_server_at_work(processes: Processes) -> None:
    inside, go_on = processes.flag(), processes.flag()

    class Slow(Clerk):
        def add(self, a: int, b: int = 2) -> int:
            inside.raise_()
            go_on.wait()
            return a + b

    with serving(Slow(), at="desk"):
        caller = processes.start(lambda: connect(Desk, "desk").add(1))
        inside.wait()
        caller.kill()
        go_on.raise_(2)
        assert connect(Desk, "desk").add(2) == 4


def test_import_leaves_msgspec_alone() -> None:
    program = (
        "import sys, underpass\n"
        "class Desk(underpass.Interface):\n"
        "    def add(self, a: int) -> int: ...\n"
        "print(sorted({'msgspec', 'inspect'} & set(sys.modules)))\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
