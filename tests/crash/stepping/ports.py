"""Deaths of clients and servers of a Port."""

from collections.abc import Callable
from functools import partial

from tests.crash.stepping.children import Child, until
from tests.crash.stepping.operation import Operation, Tally
from underpass import CallAbortedError, Gate, NotFoundError, PeerDiedError, Port, Semaphore, Space

NAME = "desk"
# A call that takes longer has been forgotten, in seconds.
FORGOTTEN = 60.0


# ── the client dies ─────────────────────────────────────────────────────────────────────────────────────────────────


class Desk:
    """A server that counts, in a process of its own."""

    def __init__(self) -> None:
        ready = Semaphore(0)

        def serve() -> None:
            counted = 0

            def handle(data: bytes) -> bytes:
                nonlocal counted
                counted += data == b"v"
                return b"%d" % counted if data == b"count" else data.upper()

            port = Port.create(NAME)
            ready.release()
            port.serve_bytes(handle)

        self.server = Child("server", serve)
        ready.acquire(timeout=FORGOTTEN)

    def close(self) -> None:
        """End the server, and its name."""
        self.server.close()
        Port.create(NAME).close()


def close(desk: Desk) -> None:
    desk.close()


def bound(_desk: Desk) -> Callable[[], object]:
    gate = Gate.open(NAME)
    gate.call(b"first", timeout=FORGOTTEN)
    return partial(gate.call, b"v")


def unbound(_desk: Desk) -> Callable[[], object]:
    return partial(Gate.open(NAME).call, b"v")


def call(_desk: object) -> str:
    gate = Gate.open(NAME, timeout=FORGOTTEN)
    try:
        return gate.call(b"hello", timeout=FORGOTTEN).decode()
    finally:
        gate.close()


def call_again(desk: Desk, _tally: Tally) -> None:
    assert call(desk) == "HELLO"


def count(_desk: Desk, _tally: Tally) -> str:
    """Return how many calls of the victim the server has answered."""
    return Gate.open(NAME).call(b"count", timeout=FORGOTTEN).decode()


CLIENTS: list[Operation[Desk]] = [
    Operation(
        noun="Gate",
        verb="open",
        world=Desk,
        prepare=lambda _: partial(Gate.open, NAME),
        again=call,
        books=count,
        close=close,
    ),
    Operation(
        noun="Gate",
        verb="call, which binds",
        world=Desk,
        prepare=unbound,
        contend=call_again,
        again=call,
        books=count,
        close=close,
    ),
    Operation(
        noun="Gate",
        verb="call",
        world=Desk,
        prepare=bound,
        contend=call_again,
        again=call,
        books=count,
        close=close,
    ),
]


# ── the server dies ─────────────────────────────────────────────────────────────────────────────────────────────────


class Nobody:
    """No server yet: the victim is it."""

    def __init__(self) -> None:
        self.caller: Child | None = None

    def close(self) -> None:
        """Remove the name, whoever had it; whoever called it has been told."""
        try:
            if self.caller is not None:
                self.caller.result()
        finally:
            if self.caller is not None:
                self.caller.close()
            Port.create(NAME).close()


def gone(nobody: Nobody) -> None:
    nobody.close()


def call_the_victim(timeout: float) -> str:
    """Call it; how that ends, which it must."""
    try:
        return Gate.open(NAME, timeout=timeout).call(b"hello").decode()
    except (CallAbortedError, NotFoundError, PeerDiedError):
        return "died"


def expected() -> Nobody:
    """Return a world in which somebody waits for the victim's port to appear, and calls it."""
    nobody = Nobody()
    nobody.caller = Child("caller", lambda: call_the_victim(FORGOTTEN))
    return nobody


def is_called(nobody: Nobody) -> None:
    nobody.caller = caller = Child("caller", lambda: call_the_victim(0))
    # Before the next one has that name.
    until(lambda: caller.asleep or caller.ended, "the caller neither sleeps nor ends")


def serve_one(_nobody: Nobody) -> None:
    """Take the name over, and answer one client."""
    port = Port.create(NAME)
    caller = Child("caller", lambda: call(None))
    request = port.receive(timeout=FORGOTTEN)
    request.reply(request.data.upper())
    assert caller.result() == "'HELLO'"
    port.close()


def knock(_nobody: Nobody) -> None:
    """Look whether there is a server: two cannot be it."""
    Gate.open(NAME).close()


def names(_nobody: Nobody, _tally: Tally) -> list[str]:
    """Return what is left once the survivor has closed its port."""
    Space.default().sweep()
    return [info.kind for info in Space.default()]


def receive(_nobody: Nobody) -> Callable[[], object]:
    return Port.create(NAME).receive


def creates(_nobody: Nobody) -> Callable[[], object]:
    return partial(Port.create, NAME)


def takes_over(_nobody: Nobody) -> Callable[[], object]:
    dead = Child("first server", lambda: Port.create(NAME).name)
    dead.result()
    return partial(Port.create, NAME)


def closes(_nobody: Nobody) -> Callable[[], object]:
    return Port.create(NAME).close


def reply(_nobody: Nobody) -> Callable[[], object]:
    return partial(Port.create(NAME).receive(timeout=FORGOTTEN).reply, b"HELLO")


def with_answer(nobody: Nobody, tally: Tally) -> tuple[object, str | None]:
    """Return what is left, and what the caller got."""
    caller = nobody.caller
    assert caller is not None
    until(lambda: caller.said is not None, "the caller of the dead hangs")
    return names(nobody, tally), caller.said


SERVERS: list[Operation[Nobody]] = [
    Operation(
        noun="Port",
        verb="create",
        world=Nobody,
        prepare=creates,
        again=serve_one,
        meanwhile=knock,
        books=names,
        close=gone,
    ),
    Operation(
        noun="Port",
        verb="create, over a dead one",
        world=Nobody,
        prepare=takes_over,
        again=serve_one,
        meanwhile=knock,
        books=names,
        close=gone,
    ),
    Operation(
        noun="Port",
        verb="receive",
        world=Nobody,
        prepare=receive,
        # Wakes the victim, and is told when that one dies.
        partner=is_called,
        again=serve_one,
        meanwhile=knock,
        books=names,
        close=gone,
    ),
    Operation(
        noun="Port",
        verb="fileno, the first",
        world=Nobody,
        prepare=lambda _: Port.create(NAME).fileno,
        again=serve_one,
        meanwhile=knock,
        books=names,
        close=gone,
    ),
    Operation(
        noun="Request",
        verb="reply",
        world=expected,
        prepare=reply,
        again=serve_one,
        meanwhile=knock,
        books=with_answer,
        close=gone,
    ),
    Operation(
        noun="Port",
        verb="close",
        world=Nobody,
        prepare=closes,
        again=serve_one,
        meanwhile=knock,
        books=names,
        close=gone,
    ),
]

OPERATIONS = [*CLIENTS, *SERVERS]
