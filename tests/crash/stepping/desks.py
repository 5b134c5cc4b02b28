"""Deaths inside what Port and Gate have besides calls and replies: one-way, bits, time-outs, badges."""

import mmap
import pickle
from collections.abc import Callable
from functools import partial

from tests.crash.stepping.children import Child, until
from tests.crash.stepping.operation import Operation, Tally
from tests.crash.stepping.ports import (
    FORGOTTEN,
    NAME,
    Desk,
    Nobody,
    call,
    call_again,
    call_the_victim,
    count,
    expected,
    gone,
    is_called,
    knock,
    names,
    serve_one,
    with_answer,
)
from underpass import CallCancelledError, Gate, Notified, Port, Request, Semaphore, TimedOut

BIT, MINE = 4, 8
BADGE = 7
SOON = 0.002


# ── the client dies ─────────────────────────────────────────────────────────────────────────────────────────────────


def sends_bound(_desk: Desk) -> Callable[[], object]:
    gate = Gate.open(NAME)
    gate.call(b"first", timeout=FORGOTTEN)
    return partial(gate.send, b"v")


class Board:
    """A server that collects bits where everybody sees them, and answers calls, in a process of its own."""

    def __init__(self) -> None:
        ready = Semaphore(0)
        self._page = mmap.mmap(-1, 1)

        def serve() -> None:
            port = Port.create(NAME)
            ready.release()
            while True:
                event = port.receive_any()
                if isinstance(event, Notified):
                    self._page[0] |= event.bits
                else:
                    event.reply(event.data.upper())

        self.server = Child("server", serve)
        ready.acquire(timeout=FORGOTTEN)
        self.server.until_asleep()

    def told(self) -> bool:
        """Say whether the server has received the victim's bit."""
        return self._page[0] & BIT != 0

    def ask(self) -> None:
        """Call; whatever bits were set have been received now, and had been before."""
        until(lambda: self.server.asleep, "the server does not go to sleep again")
        before = self.told()
        assert call(self) == "HELLO"
        assert self.told() == before, "the bit was there, and the server slept on"

    def close(self) -> None:
        """End the server, and its name."""
        self.server.close()
        self._page.close()
        Port.create(NAME).close()


def notifies(_board: Board) -> Callable[[], object]:
    return partial(Gate.open(NAME).notify, BIT)


def notify_and_call(board: Board, _tally: Tally) -> None:
    Gate.open(NAME).notify(MINE)
    assert call(board) == "HELLO"


class Deaf:
    """A port whose server does not look at it before it is told to, or keeps what it takes without an answer."""

    def __init__(self, *, takes: bool) -> None:
        ready, self.go = Semaphore(0), Semaphore(0)

        def serve() -> None:
            port = Port.create(NAME)
            ready.release()
            if not takes:
                self.go.acquire()
            kept: list[Request] = []
            while True:
                request = port.receive()
                if request.data == b"v":
                    kept.append(request)
                    assert len(kept) == 1, "one call, received twice"
                else:
                    request.reply(request.data.upper())

        self.server = Child("server", serve)
        ready.acquire(timeout=FORGOTTEN)

    def ask(self) -> None:
        """Have the server look, and answer."""
        self.go.release()
        assert call(self) == "HELLO"

    def works(self, _tally: Tally) -> str:
        """Call it twice more."""
        return call(self) + call(self)

    def close(self) -> None:
        """End the server, and its name."""
        self.server.close()
        Port.create(NAME).close()


def calls_in_vain(_deaf: Deaf) -> Callable[[], object]:
    return partial(Gate.open(NAME).call, b"v", timeout=SOON)


SENDERS: list[Operation[Desk]] = [
    Operation(
        noun="Gate",
        verb="send, which binds",
        world=Desk,
        prepare=lambda _: partial(Gate.open(NAME).send, b"v"),
        again=call,
        books=count,
        close=Desk.close,
    ),
    Operation(
        noun="Gate",
        verb="send",
        world=Desk,
        prepare=sends_bound,
        contend=call_again,
        again=call,
        books=count,
        close=Desk.close,
    ),
]

NOTIFIERS: list[Operation[Board]] = [
    Operation(
        noun="Gate",
        verb="notify",
        world=Board,
        prepare=notifies,
        contend=notify_and_call,
        again=Board.ask,
        # The bit of one that lives may be there before the server is told.
        meanwhile=call,
        books=lambda board, _: board.told(),
        close=Board.close,
    ),
]

IN_VAIN: list[Operation[Deaf]] = [
    Operation(
        noun="Gate",
        verb="call, timed out in line",
        world=partial(Deaf, takes=False),
        prepare=calls_in_vain,
        raises=(TimedOut,),
        again=Deaf.ask,
        books=Deaf.works,
        close=Deaf.close,
    ),
    Operation(
        noun="Gate",
        verb="call, timed out at work",
        world=partial(Deaf, takes=True),
        prepare=calls_in_vain,
        raises=(TimedOut,),
        again=Deaf.ask,
        books=Deaf.works,
        close=Deaf.close,
    ),
]


# ── the server dies ─────────────────────────────────────────────────────────────────────────────────────────────────


class Twice(Nobody):
    """One that is called for a second time while the first call is answered."""

    def __init__(self) -> None:
        super().__init__()
        self.second: Child | None = None
        self.caller = Child("caller", lambda: call_the_victim(FORGOTTEN))

    def call(self) -> None:
        """Call the victim, which sleeps, or has died."""
        self.second = second = Child("second caller", lambda: call_the_victim(0))
        until(lambda: second.asleep or second.ended, "the second caller neither sleeps nor ends")

    def close(self) -> None:
        try:
            if self.second is not None:
                self.second.result()
        finally:
            if self.second is not None:
                self.second.close()
            super().close()


def answers_and_waits(timeout: float | None) -> Callable[[Nobody], Callable[[], object]]:
    def prepare(_nobody: Nobody) -> Callable[[], object]:
        port = Port.create(NAME)
        return partial(port.reply_wait, port.receive(timeout=FORGOTTEN), b"HELLO", timeout=timeout)

    return prepare


def is_notified(_nobody: Nobody) -> Callable[[], object]:
    port = Port.create(NAME)
    Gate.open(NAME).notify(BIT)
    return port.receive_any


class Handed(Nobody):
    """Somebody has a gate with a badge, and calls by it for a second time while the victim revokes it."""

    def __init__(self) -> None:
        super().__init__()
        self._page = mmap.mmap(-1, 4096)
        self.caller = Child("caller", self._call)

    def _call(self) -> str:
        until(lambda: self._page[0] != 0, "nobody hands a gate on")
        gate: Gate = pickle.loads(self._page[1:])  # noqa: S301 - our own
        gate.call(b"first", timeout=FORGOTTEN)
        try:
            return gate.call(b"second").decode()
        except CallCancelledError:
            return "revoked"
        except ConnectionError:
            return "died"

    def hand(self, gate: Gate) -> None:
        """Let the caller have it."""
        pickled = pickle.dumps(gate)
        self._page[1 : 1 + len(pickled)] = pickled
        self._page[0] = 1

    def close(self) -> None:
        super().close()
        self._page.close()


def revokes(handed: Handed) -> Callable[[], object]:
    port = Port.create(NAME)
    handed.hand(port.gate(badge=BADGE))
    port.receive(timeout=FORGOTTEN).reply(b"")
    until(lambda: port.statistics().queued == 1, "there is no second call")
    return partial(port.revoke, BADGE)


SERVERS: list[Operation[Nobody]] = [
    Operation(
        noun="Port",
        verb="receive, timed out",
        world=Nobody,
        prepare=lambda _: partial(Port.create(NAME).receive, timeout=SOON),
        raises=(TimedOut,),
        again=serve_one,
        meanwhile=knock,
        books=names,
        close=gone,
    ),
    Operation(
        noun="Port",
        verb="receive_any, of a call",
        world=Nobody,
        prepare=lambda _: Port.create(NAME).receive_any,
        partner=is_called,
        again=serve_one,
        meanwhile=knock,
        books=names,
        close=gone,
    ),
    Operation(
        noun="Port",
        verb="receive_any, of bits",
        world=Nobody,
        prepare=is_notified,
        again=serve_one,
        meanwhile=knock,
        books=names,
        close=gone,
    ),
    Operation(
        noun="Port",
        verb="reply_wait, timed out",
        world=expected,
        prepare=answers_and_waits(SOON),
        raises=(TimedOut,),
        again=serve_one,
        meanwhile=knock,
        books=with_answer,
        close=gone,
    ),
]

CALLED: list[Operation[Twice]] = [
    Operation(
        noun="Port",
        verb="reply_wait",
        world=Twice,
        prepare=answers_and_waits(None),
        partner=Twice.call,
        again=serve_one,
        meanwhile=knock,
        books=with_answer,
        close=gone,
    ),
]

HANDED: list[Operation[Handed]] = [
    Operation(
        noun="Port",
        verb="revoke",
        world=Handed,
        prepare=revokes,
        again=serve_one,
        meanwhile=knock,
        books=with_answer,
        close=gone,
    ),
]

OPERATIONS = [*SENDERS, *NOTIFIERS, *IN_VAIN, *SERVERS, *CALLED, *HANDED]
