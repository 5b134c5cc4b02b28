"""A client's side of typed calls: a binding to one incarnation of the server, and the call itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import msgspec

from underpass.errors import (
    ClosedError,
    CorruptedError,
    MessageTooLongError,
    PeerDiedError,
    RemoteError,
)
from underpass.interfaces import wire
from underpass.interfaces.checks import UnfitError
from underpass.interfaces.codec import UNREADABLE, Message
from underpass.interfaces.difference import mismatch
from underpass.interfaces.wire import encode
from underpass.ports import Gate

if TYPE_CHECKING:
    from underpass.interfaces.schema import Method, Schema

__all__ = ["Channel"]

_RESULT = bytes((wire.RESULT,))
_MISMATCH = bytes((wire.MISMATCH,))

_decode_number = msgspec.msgpack.Decoder(Annotated[int, msgspec.Meta(ge=0, lt=wire.SCHEMAS_LIMIT)]).decode
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
        arguments = _pack(method, positional, named)
        binding = self._binding or self._bind()
        request = method.arguments.prefixed(bytes((binding.schema, method.index)), arguments)
        try:
            reply = binding.gate.call(request)
        except PeerDiedError as error:
            self._unbind(binding)
            raise self._lost(f"{method.interface}.{method.name} not answered", error, error.phase) from None
        except MessageTooLongError as error:
            raise _too_long(method, "its arguments have", error.size, error.limit) from None
        if reply[:1] == _RESULT:
            if method.result is None:
                return None
            try:
                return method.result.read(reply)[0]
            except UNREADABLE as error:
                self._unbind(binding)
                raise _unreadable(self.to, method, error) from error
        try:
            raised = _read_failure(method, reply)
        except UNREADABLE as error:
            self._unbind(binding)
            raise _unreadable(self.to, method, error) from error
        raise raised

    def _bind(self) -> _Binding:
        if self.closed:
            raise ClosedError(f"the proxy of {self.schema.interface} was closed here; connect again")
        stale = self._found
        gate = stale or self.find()
        try:
            number = self._greet(gate)
        except PeerDiedError as error:
            self._found = None
            # Found at connect, and gone before the first call: nothing was asked of it yet, so its successor may be greeted.
            if stale is None or not isinstance(self.to, str):
                raise self._lost(f"{self.schema.interface} not called", error, "send") from None
            gate = self.find()
            number = self._greet(gate)
        binding = self._binding = _Binding(gate, number)
        return binding

    def _lost(self, what: str, error: PeerDiedError, phase: Literal["wait", "send", "receive"]) -> PeerDiedError:
        """Say what the server's end means here: for the call, and for the next one."""
        if phase == "send":
            fate = "and had not taken the call, so nothing happened"
        else:
            fate = "and had taken the call, so it may have acted: repeat only what may happen twice"
        named = isinstance(self.to, str)
        remedy = "the next call binds to a successor" if named else "connect to a gate of its successor"
        return PeerDiedError(
            f"{what}: its server at {self.to!r}, pid {error.pid}, has died or closed the port, {fate}; {remedy}",
            pid=error.pid,
            name=error.name,
            phase=phase,
        )

    def _unbind(self, binding: _Binding) -> None:
        if self._binding is binding:
            self._binding = None
            self._found = None

    def _greet(self, gate: Gate) -> int:
        ours = self.schema
        greeting = wire.Greeting(wire.VERSION, ours.interface, ours.digest)
        reply = gate.call(bytes((wire.GREETING,)) + encode(greeting))
        try:
            if reply[:1] == _RESULT:
                return _decode_number(reply[1:])
            theirs = _decode_schemas(reply[1:]) if reply[:1] == _MISMATCH else None
        except UNREADABLE:
            theirs = None
        raise mismatch(self.to if isinstance(self.to, str) else repr(self.to), ours, theirs)


def _pack(method: Method, positional: tuple[object, ...], named: dict[str, object]) -> Message:
    if named or len(positional) != method.positional:
        positional = method.arrange(positional, named)
    try:
        return method.arguments.write(positional)
    except (UnfitError, msgspec.ValidationError) as error:
        raise method.blame(error) from None
    except MemoryError:
        raise
    except Exception as error:
        # The check of an argument's own class.
        raise method.blame(error) from error


def _read_failure(method: Method, reply: bytes) -> RemoteError | MessageTooLongError:
    where = f"{method.interface}.{method.name}"
    body = reply[1:]
    match reply[0] if reply else None:
        case wire.RAISED:
            raised = _decode_raised(body)
            message = f"{where} raised {raised.type}: {raised.text}"
            if raised.traceback:
                message += f"\n\nin the server, pid {raised.pid}:\n{raised.traceback.rstrip()}"
            return RemoteError(message, type=raised.type, text=raised.text, traceback=raised.traceback, pid=raised.pid)
        case wire.TOO_LONG:
            size, limit = msgspec.structs.astuple(_decode_too_long(body))
            return _too_long(method, "its reply has", size, limit)
        case status:
            raise ValueError(f"status {status} means nothing up to version {wire.VERSION}")


def _too_long(method: Method, what: str, size: int, limit: int) -> MessageTooLongError:
    return MessageTooLongError(
        f"{method.interface}.{method.name}: {what} {size} bytes, and a message of this port {limit}; "
        f"serve it at=underpass.Port.create(name, message_size={size}) or more",
        size=size,
        limit=limit,
        argument="message_size",
    )


def _unreadable(to: str | Gate, method: Method, error: BaseException) -> CorruptedError:
    return CorruptedError(
        f"{to!r} answered {method.interface}.{method.name} with what no server of it sends ({error}); "
        "look what serves there, and restart it"
    )
