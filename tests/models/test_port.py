"""Port and Gate against lists: one client at a time, and a server in a thread that does with each message what its first byte says."""

from __future__ import annotations

import threading
from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.models.stateful import compare, profiles
from underpass import (
    CallAbortedError,
    CallCancelledError,
    ClosedError,
    Gate,
    MessageTooLongError,
    MisuseError,
    Notified,
    PeerDiedError,
    Port,
    Request,
    UnderpassError,
)

# What the server does, and what its client gets.
ECHO, DROP, TOO_LONG, TWICE, NOTHING = b"e", b"d", b"l", b"t", b"n"

badges = some.integers(0, 3)
kinds = some.sampled_from([ECHO, DROP, TOO_LONG, TWICE, NOTHING])


class Client:
    """A gate, and what is known of it."""

    def __init__(self, gate: Gate, badge: int) -> None:
        self.gate = gate
        self.badge = badge
        self.refused: type[UnderpassError] | None = None


class PortModel(RuleBasedStateMachine):
    """All that arrived, in order; bits that were set; gates that were revoked or closed."""

    clients: Bundle[Client] = Bundle("clients")

    @initialize(size=some.integers(1, 200))
    def make(self, size: int) -> None:
        self.size = size
        self.port = Port(message_size=size)
        self.open = True
        self.gates: list[Client] = []
        self.expected: list[tuple[int, bytes, bool]] = []
        self.arrived: list[tuple[int, bytes, bool]] = []
        self.set_bits = self.seen_bits = 0
        self.surprises: list[object] = []
        self.server = threading.Thread(target=self.serve)
        self.server.start()

    def serve(self) -> None:
        while True:
            try:
                event = self.port.receive_any()
            except ClosedError:
                return
            if isinstance(event, Notified):
                self.seen_bits |= event.bits
            else:
                self.arrived.append((event.badge, event.data, event.wants_reply))
                if event.wants_reply:
                    self.reply_to(event)
            del event  # one that was not answered is given up with its last name

    def reply_to(self, request: Request) -> None:
        match request.data[:1]:
            case b"e":
                request.reply(request.data)
            case b"n":
                request.reply(None)
            case b"l":
                self.refuses(lambda: request.reply(b"x" * (self.size + 1)), MessageTooLongError)
                request.reply([b"", b"s"])
            case b"t":
                request.reply(b"1")
                self.refuses(lambda: request.reply(b"2"), MisuseError)
            case _:
                pass

    def refuses(self, operation: Callable[[], None], error: type[UnderpassError]) -> None:
        try:
            operation()
        except error:
            return
        self.surprises.append(error)

    def message(self, kind: bytes, length: int) -> bytes:
        return (kind + bytes(range(256)))[:length]

    def answer(self, data: bytes) -> bytes | type[UnderpassError]:
        """Say what the server makes of it."""
        by_kind: dict[bytes, bytes | type[UnderpassError]] = {ECHO: data, NOTHING: b"", TOO_LONG: b"s", TWICE: b"1"}
        return by_kind.get(data[:1], CallAbortedError)

    def refusal(self, client: Client, data: bytes) -> type[UnderpassError] | None:
        """Say what stops it here, before anything is sent."""
        if client.refused is ClosedError:
            return ClosedError
        return MessageTooLongError if len(data) > self.size else client.refused

    @rule(target=clients, badge=badges)
    def hand_out(self, badge: int) -> Client:
        client = Client(self.port.gate(badge=badge), badge)
        self.gates.append(client)
        return client

    @rule(client=clients, kind=kinds, length=some.integers(0, 201))
    def call(self, client: Client, kind: bytes, length: int) -> None:
        data = self.message(kind, length)
        refused = self.refusal(client, data)
        if refused is None:
            self.expected.append((client.badge, data, True))
        found: bytes | type[UnderpassError]
        try:
            found = client.gate.call(data)
        except UnderpassError as error:
            found = type(error)
        assert found == (refused or self.answer(data))
        # Bits come before calls.
        assert self.seen_bits == self.set_bits or refused

    @rule(client=clients, kind=kinds, length=some.integers(0, 201), pieces=some.booleans())
    def send(self, client: Client, kind: bytes, length: int, *, pieces: bool) -> None:
        data = self.message(kind, length)
        refused = self.refusal(client, data)
        if refused is None:
            self.expected.append((client.badge, data, False))
        found: type[UnderpassError] | None = None
        try:
            client.gate.send([data[:3], data[3:]] if pieces else data)
        except UnderpassError as error:
            found = type(error)
        assert found == refused

    # Those of a revoked badge are left out: what they may set is another test's matter.
    @rule(client=clients, bits=some.integers(1, 2**64 - 1))
    def notify(self, client: Client, bits: int) -> None:
        if client.refused is None:
            client.gate.notify(bits)
            self.set_bits |= bits

    @rule(badge=some.integers(1, 3))
    def revoke(self, badge: int) -> None:
        assert self.port.revoke(badge) == 0, "nobody waits"
        for client in self.gates:
            if client.badge == badge and client.refused is None:
                client.refused = CallCancelledError

    @rule(client=clients)
    def close_gate(self, client: Client) -> None:
        client.gate.close()
        client.refused = ClosedError

    @precondition(lambda self: self.gates)
    @invariant()
    def arrives_in_order(self) -> None:
        # A call that was answered, and a send that returned, have been received, and are written down before the next one is.
        count = len(self.arrived)
        assert self.arrived == self.expected[:count]
        assert count >= len(self.expected) - 1
        assert not self.seen_bits & ~self.set_bits
        assert not self.surprises

    def teardown(self) -> None:
        if not hasattr(self, "port"):
            return
        self.port.close()
        self.server.join()
        assert self.arrived == self.expected
        for client in self.gates:
            expected = ClosedError if client.refused is ClosedError else (PeerDiedError, CallCancelledError)
            try:
                client.gate.call(b"")
            except expected:
                client.gate.close()
            else:
                raise AssertionError("a closed port answered")


@profiles
def test_port_is_what_arrives(profile: settings) -> None:
    compare(PortModel, profile)
