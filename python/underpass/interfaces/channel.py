"""A client's side of typed calls: a binding to one incarnation of the server, and the call itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, NoReturn

import msgspec

from underpass.errors import (
    ClosedError,
    MessageTooLongError,
    MismatchError,
    PeerDiedError,
    RemoteError,
)
from underpass.interfaces import wire
from underpass.interfaces.wire import encode
from underpass.ports import Gate

if TYPE_CHECKING:
    from underpass.interfaces.schema import Method, Schema

__all__ = ["Channel"]

_decode_number = msgspec.msgpack.Decoder(int).decode
_decode_raised = msgspec.msgpack.Decoder(wire.Raised).decode
_decode_schemas = msgspec.msgpack.Decoder(wire.Schemas).decode
_decode_too_long = msgspec.msgpack.Decoder(wire.TooLong).decode


class _Binding(NamedTuple):
    """One incarnation of the server, greeted."""

    gate: Gate
    schema: int  # the number that the server gave to ours


class Channel:
    """What a proxy calls through.

    All state is in one attribute each that is replaced and never changed, so threads need no lock: two that bind at once make
    two bindings, and one of them is collected.

    Args:
        schema: The interface's.
        to: A port's name, or a gate to one incarnation of it.
        timeout: How long to wait for the name, now and whenever it has to be found again.
    """

    def __init__(self, schema: Schema, to: str | Gate, timeout: float | None) -> None:
        self.schema = schema
        self.to = to
        self.timeout = timeout
        self.closed: bool = False
        self._found: Gate | None = None if isinstance(to, str) else to
        self._binding: _Binding | None = None

    @property
    def bound(self) -> bool:
        """Whether the server has been greeted and was alive at the last call."""
        return self._binding is not None

    def find(self) -> Gate:
        """Look the name up.

        Raises:
            NotFoundError: Nobody serves it.
        """
        if isinstance(self.to, str):
            self._found = Gate.open(self.to, timeout=self.timeout)
            return self._found
        return self.to

    def close(self) -> None:
        """Give the channel back. A gate that was passed in stays open: it is the caller's."""
        self.closed = True
        self._binding, gate = None, self._found
        if isinstance(self.to, str) and gate is not None:
            gate.close()

    def call(self, method: Method, positional: tuple[object, ...], named: dict[str, object]) -> object:
        """Call ``method`` and wait for its result."""
        if named or len(positional) != method.positional:
            positional = method.arrange(positional, named)
        try:
            arguments = encode(positional)
            # Reading them as the server will is the check, and it is faster than any other.
            method.arguments.decode(arguments)
        except (TypeError, msgspec.DecodeError) as error:
            raise method.blame(error) from None
        binding = self._binding or self._bind()
        try:
            reply = binding.gate.call(bytes((binding.schema, method.index)) + arguments)
        except PeerDiedError:
            self._unbind(binding)
            raise
        if reply[:1] != b"\0":
            _raise(method, reply)
        if method.result is None:
            return None
        try:
            return method.result.decode(reply[1:])
        except msgspec.DecodeError as error:
            text = f"the server returned what {method.text} does not allow: {error}"
            raise RemoteError(f"{method.interface}.{method.name}: {text}", type="TypeError", text=text) from None

    def _bind(self) -> _Binding:
        if self.closed:
            raise ClosedError(f"the proxy of {self.schema.interface} was closed here; connect again")
        stale = self._found
        gate = stale or self.find()
        try:
            number = self._greet(gate)
        except PeerDiedError:
            self._found = None
            # Found at connect, and gone before the first call: nothing was asked of it yet, so its successor may be greeted.
            if stale is None or not isinstance(self.to, str):
                raise
            gate = self.find()
            number = self._greet(gate)
        binding = self._binding = _Binding(gate, number)
        return binding

    def _unbind(self, binding: _Binding) -> None:
        if self._binding is binding:
            self._binding = None
            self._found = None

    def _greet(self, gate: Gate) -> int:
        ours = self.schema
        greeting = wire.Greeting(wire.VERSION, ours.interface, ours.digest)
        reply = gate.call(bytes((wire.GREETING,)) + encode(greeting))
        try:
            if reply[:1] == bytes((wire.RESULT,)):
                return _decode_number(reply[1:])
            theirs = _decode_schemas(reply[1:]) if reply[:1] == bytes((wire.MISMATCH,)) else None
        except msgspec.DecodeError:
            theirs = None
        raise _mismatch(self.to if isinstance(self.to, str) else repr(self.to), ours, theirs)


def _raise(method: Method, reply: bytes) -> NoReturn:
    where = f"{method.interface}.{method.name}"
    body = reply[1:]
    match reply[0] if reply else None:
        case wire.RAISED:
            raised = _decode_raised(body)
            message = f"{where} raised {raised.type}: {raised.text}"
            if raised.traceback:
                message += f"\n\nin the server, pid {raised.pid}:\n{raised.traceback.rstrip()}"
            raise RemoteError(message, type=raised.type, text=raised.text, traceback=raised.traceback, pid=raised.pid)
        case wire.TOO_LONG:
            size, limit = msgspec.structs.astuple(_decode_too_long(body))
            raise MessageTooLongError(
                f"{where}: its reply has {size} bytes, a message of this port {limit}; serve it at=Port(message_size=...)",
                size=size,
                limit=limit,
                argument="message_size",
            )
        case status:
            raise MismatchError(f"{where}: a reply of status {status}, which no version up to {wire.VERSION} has")


def _mismatch(to: str, ours: Schema, theirs: wire.Schemas | None) -> MismatchError:
    expected = f"{ours.interface} (schema {ours.digest[:8]})"
    if theirs is None:
        found = "something else than typed calls"
    elif theirs.version != wire.VERSION:
        found = f"version {theirs.version} of typed calls (here: {wire.VERSION})"
    else:
        found = " and ".join(f"{offer.interface} (schema {offer.digest[:8]})" for offer in theirs.offers) or "others"
    message = f"{to!r} serves {found}; this client calls {expected}"
    for offer in theirs.offers if theirs is not None else ():
        if offer.interface != ours.interface:
            continue
        here, there = set(ours.texts()), set(offer.methods)
        if here == there:
            message += "\n  the methods are the same; the types that they name have other fields"
        message += "".join(f"\n  only here: {text}" for text in sorted(here - there))
        message += "".join(f"\n  only there: {text}" for text in sorted(there - here))
    return MismatchError(message + "\nRestart the older side.", expected=expected, found=found)
