"""Typed calls with a partner that dies, comes back, sends garbage or lies."""

from __future__ import annotations

import contextlib
import pickle
import random
import signal
import socket
import threading
from typing import TYPE_CHECKING, cast

import msgspec
import pytest

from tests.conformance.backends import PATIENCE, Processes, Threads
from underpass import (
    CorruptedError,
    Gate,
    Interface,
    MismatchError,
    PeerDiedError,
    Port,
    RemoteError,
    Semaphore,
    Space,
    UnderpassError,
    connect,
    oneway,
    serve,
    serving,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

World = Threads | Processes


class Tree(msgspec.Struct):
    below: list[Tree] = []


class Grudge(msgspec.Struct):
    """A type whose own check raises what nobody expects."""

    name: str

    def __post_init__(self) -> None:
        if self.name == "bad":
            raise KeyError("a check of its own")


class Desk(Interface):
    def add(self, a: int, b: int) -> int:
        return a + b

    def nest(self, tree: Tree) -> str:
        return type(tree).__name__

    def bear(self, grudge: Grudge) -> str:
        return grudge.name

    def copy(self, data: bytes, texts: dict[str, list[float]]) -> bytes:
        return data * len(texts)

    def note(self, text: str) -> None:
        """Write it down."""


@pytest.fixture
def desk() -> Generator[Desk]:
    with serving(Desk(), at="desk"), connect(Desk, "desk") as proxy:
        yield proxy


# ── a client that sends garbage ─────────────────────────────────────────────────────────────────────────────────────


def requests(seed: int) -> bytes:
    """Something between noise and a call."""
    chance = random.Random(seed)
    body = bytearray(
        chance.choice(
            [
                msgspec.msgpack.encode([1, 2]),
                msgspec.msgpack.encode([[[]]]),
                msgspec.msgpack.encode(["text"]),
                b"\0\0" + (9).to_bytes(4, "little") + msgspec.msgpack.encode([3, {"a": [1.0]}]) + b"\0" * 9 + b"abc",
                msgspec.msgpack.encode([1, "Desk", "0" * 32]),
                chance.randbytes(chance.randrange(64)),
            ]
        )
    )
    for _ in range(chance.randrange(4)):
        if body:
            body[chance.randrange(len(body))] = chance.choice(
                [0, 0x7F, 0x80, 0xC1, 0xDD, 0xDF, 0xFF, chance.randrange(256)]
            )
    head = bytes(
        (chance.choice([0, 0, 0, 0, 255, chance.randrange(256)]), chance.choice([*range(5), chance.randrange(256)]))
    )
    return (head + body)[: chance.choice([len(body) + 2, chance.randrange(len(body) + 3)])]


def test_a_server_answers_ten_thousand_garbled_requests(desk: Desk) -> None:
    gate = Gate.open("desk")
    for seed in range(10_000):
        request = requests(seed)
        assert gate.call(request, timeout=PATIENCE)[:1] in {b"\0", b"\1", b"\2"}, f"seed {seed}: {request!r}"
    assert desk.add(1, 2) == 3


@pytest.mark.parametrize(
    "request_",
    [
        b"\0\0\xdd\xff\xff\xff\xff",  # an array of 2**32 - 1
        b"\0\0\xdf\xff\xff\xff\xff",  # a map of as many
        b"\0\3" + b"\x91" * 50_000,  # nested deeper than any stack
        b"\0\4\x91\xa1\xff",  # text that is no UTF-8
        b"\xff\xdd\xff\xff\xff\xff",
        b"\xff\x93\x01\xa1\xff\xa0",
    ],
)
def test_a_server_survives_what_a_reader_stumbles_over(desk: Desk, request_: bytes) -> None:
    assert Gate.open("desk").call(request_)[:1] in {b"\1", b"\2"}
    assert desk.add(1, 2) == 3


def test_what_a_types_own_check_raises_is_the_callers(desk: Desk) -> None:
    raw = Gate.open("desk").call(b"\0\1" + msgspec.msgpack.encode([{"name": "bad"}]))
    assert raw[:1] == b"\1"
    assert desk.bear(Grudge("good")) == "good"


def test_what_is_sent_one_way_to_a_typed_server_does_no_harm(desk: Desk) -> None:
    gate = Gate.open("desk")
    for seed in range(500):
        gate.send(requests(seed), timeout=PATIENCE)
    assert desk.add(1, 2) == 3

    class Diary(Desk):
        @oneway
        def jot(self, text: str) -> None:
            raise NotImplementedError

    with serving(Diary(), at="diary"):
        gate = Gate.open("diary")
        for seed in range(500):
            gate.send(requests(seed), timeout=PATIENCE)
        assert connect(Desk, "diary").add(1, 2) == 3


def test_noise_on_the_socket_leaves_the_server_at_work(desk: Desk, private_space: Path) -> None:
    (path,) = (path for path in private_space.iterdir() if path.is_socket())
    kind = socket.SOCK_SEQPACKET
    for message in (b"", b"noise", b"\0" * 4096):
        with socket.socket(socket.AF_UNIX, kind) as noise:
            try:
                noise.connect(str(path))
            except OSError as error:
                pytest.fail(f"the port's socket is of another type: {error}")
            noise.send(message)
    assert connect(Desk, "desk").add(1, 2) == 3
    assert desk.add(1, 2) == 3


# ── a server that answers garbage ───────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def impostor(answer: Callable[[bytes], bytes]) -> Generator[Desk]:
    """Greet as a server of typed calls does, then answer as ``answer`` does."""

    def pretend(request: bytes) -> bytes:
        return b"\0\0" if request[:1] == b"\xff" else answer(request)

    with Port(message_size=65536) as port:
        thread = threading.Thread(target=port.serve_bytes, args=(pretend,))
        thread.start()
        try:
            yield connect(Desk, port.gate())
        finally:
            port.close()
            thread.join()


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"\7",
        b"\xff" * 100,
        b"\0",
        b"\0\xc1",
        b"\0\x91\xa1x",
        b"\0\x90",
        b"\0\xdd\xff\xff\xff\xff",
        b"\1",
        b"\1\x90",
        b"\1\x94\xa1\xff\xa0\xa0\0",
        b"\2\xc1",
        b"\3",
        b"\3\x92\xa1x\0",
    ],
)
def test_a_reply_that_no_server_writes_is_corrupted(reply: bytes) -> None:
    with impostor(lambda _: reply) as desk:
        for _ in range(2):
            with pytest.raises(CorruptedError, match=r"Desk\.add .*restart it"):
                desk.add(1, 2)


@pytest.mark.parametrize(
    "reply", [b"", b"\0", b"\0\xff", b"\0\xcc\xff", b"\0\xa0", b"\1", b"\2", b"\2\xdd\xff\xff\xff\xff", b"x"]
)
def test_a_greeting_that_no_server_returns_is_a_mismatch(reply: bytes, threads: Threads) -> None:
    def answer(_: bytes) -> bytes:
        return reply

    with Port() as port:
        server = threads.start(port.serve_bytes, answer)
        with pytest.raises(MismatchError, match="something else than typed calls"):
            connect(Desk, port.gate()).add(1, 2)
        port.close()
        server.result()


def test_ten_thousand_garbled_replies_are_errors_of_ours_or_results() -> None:
    chance = random.Random(1)
    good = [b"\0\x91\3", b"\1" + msgspec.msgpack.encode(["KeyError", "text", "traceback", 1]), b"\3\x92\1\2"]

    def garbled(_: bytes) -> bytes:
        reply = bytearray(chance.choice(good))
        reply[chance.randrange(len(reply))] = chance.randrange(256)
        return bytes(reply[: chance.choice([len(reply), chance.randrange(len(reply) + 1)])])

    texts: set[str] = set()
    with impostor(garbled) as desk:
        for _ in range(10_000):
            try:
                assert isinstance(desk.add(1, 2), int)
            except UnderpassError as error:
                texts.add(str(error).partition(" ")[0])
    assert texts <= {"Desk.add", "Desk.add:", "<Gate"}


# ── a server that dies and comes back ───────────────────────────────────────────────────────────────────────────────


class Bank(Interface):
    """Counts in the space how often it was asked, and waits inside of a call."""

    def deposit(self) -> int:
        Semaphore.open("asked").release()
        Semaphore.open("go").acquire()
        return 1

    def asked(self) -> int:
        return Semaphore.open("asked").value


@pytest.fixture
def go() -> Generator[Semaphore]:
    asked, go = Semaphore.create("asked", 0), Semaphore.create("go", 0)
    yield go
    asked.unlink()
    go.unlink()


def serve_bank() -> None:
    with contextlib.suppress(KeyboardInterrupt):
        serve(Bank(), at="bank")


def test_a_call_that_the_dead_server_had_taken_is_an_error_once_and_never_repeated(
    processes: Processes, threads: Threads, go: Semaphore
) -> None:
    first = processes.start(serve_bank)
    bank = connect(Bank, "bank", timeout=PATIENCE)
    assert bank.asked() == 0, "greeted: who has not been may look for the successor"
    callers = [threads.start(bank.deposit) for _ in range(3)]
    Semaphore.open("asked").acquire()  # one is inside, the others are posted
    for caller in callers:
        caller.until_asleep()
    first.kill()
    phases: list[str] = []
    for caller in callers:
        with pytest.raises(
            PeerDiedError, match=r"Bank\.deposit not answered.*the next call binds to a successor"
        ) as caught:
            caller.result()
        assert caught.value.pid == first.pid
        assert caught.value.name == "bank"
        assert ("nothing happened" in str(caught.value)) == (caught.value.phase == "send")
        phases.append(caught.value.phase)
    assert sorted(phases) == ["receive", "send", "send"], "who was posted and not taken is told that nothing happened"
    second = processes.start(serve_bank)
    assert bank.asked() == 0, "none of the three has reached the second"
    go.release()
    assert bank.deposit() == 1
    assert bank.asked() == 1
    second.signal(signal.SIGINT)
    second.result()
    Space.default().sweep()


def test_a_copy_of_a_proxy_reaches_the_successor_too(processes: Processes, go: Semaphore) -> None:
    del go
    first = processes.start(serve_bank)
    bank = connect(Bank, "bank", timeout=PATIENCE)
    assert bank.asked() == 0
    copy: Bank = pickle.loads(pickle.dumps(bank))  # noqa: S301
    child = processes.start(lambda: (Semaphore.open("go").acquire(), bank.asked())[1])
    first.kill()
    second = processes.start(serve_bank)
    assert copy.asked() == 0, "it had not looked for the first"
    Semaphore.open("go").release()
    with pytest.raises(PeerDiedError):
        child.result()
    with pytest.raises(PeerDiedError):
        bank.asked()
    assert bank.asked() == 0
    second.signal(signal.SIGINT)
    second.result()
    Space.default().sweep()


def test_exceptions_whose_parts_cannot_be_had_reach_the_caller() -> None:
    class NastyError(Exception):
        __module__ = cast("str", 7)

        def __str__(self) -> str:
            raise self

        def __repr__(self) -> str:
            raise self

    class Group(Desk):
        def note(self, text: str) -> None:
            match text:
                case "nasty":
                    raise NastyError
                case "notes":
                    error = ValueError("with notes")
                    error.__notes__ = cast("list[str]", [7, object()])
                    raise error
                case "group":
                    raise ExceptionGroup("two", [ValueError("one"), KeyError("other")])
                case _:
                    self.note(text)

    with serving(Group(), at="desk"):
        desk = connect(Desk, "desk")
        caught: dict[str, RemoteError] = {}
        for kind in ("nasty", "notes", "group", "endless"):
            with pytest.raises(RemoteError) as error:
                desk.note(kind)
            caught[kind] = pickle.loads(pickle.dumps(error.value))  # noqa: S301
        assert caught["nasty"].type.endswith("NastyError")
        assert caught["notes"].text == "with notes"
        assert caught["group"].type == "ExceptionGroup"
        assert "KeyError: 'other'" in caught["group"].traceback
        assert caught["endless"].type == "RecursionError"
        assert desk.add(1, 2) == 3
