"""A server's answer to one request: a function from bytes to bytes that never raises for what a client sent."""

from __future__ import annotations

import os
import traceback
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from underpass.interfaces import wire
from underpass.interfaces.schema import Method, Schema, offered
from underpass.interfaces.wire import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from underpass.interfaces.interface import Interface

__all__ = ["answerer"]

_HEADER = 2
_RESULT = bytes((wire.RESULT,))
_DONE = _RESULT  # a result with nothing in it
_greeting = msgspec.msgpack.Decoder(wire.Greeting)


class _Target(NamedTuple):
    """A method as the implementation has it, and what its arguments are read with."""

    call: Callable[..., object]
    read: Callable[[bytes], tuple[object, ...]]
    method: Method


def answerer(implementation: Interface, limit: int) -> Callable[[bytes], bytes]:
    """Build the function that answers requests.

    Args:
        implementation: Whose methods are called.
        limit: The port's message size: a longer reply is replaced by one that says so.

    Raises:
        TypeError: The implementation has no interface that could be called.
    """
    schemas = [schema for _, schema in offered(implementation)][: wire.SCHEMAS_LIMIT]
    targets = tuple(tuple(_target(implementation, method) for method in schema.methods) for schema in schemas)

    def answer(request: bytes) -> bytes:
        try:
            call, read, method = targets[request[0]][request[1]]
        except IndexError:
            return _answer_otherwise(request, schemas, limit)
        try:
            arguments = read(request[_HEADER:])
        except msgspec.DecodeError as error:
            return _raised(method.blame(error), "", limit)
        try:
            result = call(*arguments)
            reply = _DONE if method.result is None else _RESULT + encode(result)
        except Exception as error:  # noqa: BLE001  whatever a method raises is the caller's to know, and the server goes on
            return _raised(error, _traceback(error), limit)
        return reply if len(reply) <= limit else _too_long(len(reply), limit)

    return answer


def _target(implementation: Interface, method: Method) -> _Target:
    call: Callable[..., object] = getattr(implementation, method.name)
    if method.keyword_only:
        call = _naming(call, method.keyword_only)
    return _Target(call, method.arguments.decode, method)


def _naming(call: Callable[..., object], names: tuple[str, ...]) -> Callable[..., object]:
    def named(*arguments: object) -> object:
        positional = len(arguments) - len(names)
        return call(*arguments[:positional], **dict(zip(names, arguments[positional:], strict=True)))

    return named


def _answer_otherwise(request: bytes, schemas: list[Schema], limit: int) -> bytes:
    """Answer what is no call of a known method: a greeting, or what nobody should have sent."""
    if request[:1] != bytes((wire.GREETING,)):
        return _raised(AttributeError(f"no method {request[:_HEADER].hex(' ')}: greet first"), "", limit)
    try:
        greeting = _greeting.decode(request[1:])
    except msgspec.DecodeError:
        greeting = None
    if greeting is not None and greeting.version == wire.VERSION:
        for number, schema in enumerate(schemas):
            if schema.digest == greeting.digest:
                return _RESULT + encode(number)
    return _mismatch(schemas, limit)


def _mismatch(schemas: list[Schema], limit: int) -> bytes:
    offers = tuple(wire.Offer(schema.interface, schema.digest, schema.texts()) for schema in schemas)
    reply = bytes((wire.MISMATCH,)) + encode(wire.Schemas(wire.VERSION, offers))
    return reply if len(reply) <= limit else bytes((wire.MISMATCH,)) + encode(wire.Schemas(wire.VERSION, ()))


def _too_long(size: int, limit: int) -> bytes:
    return bytes((wire.TOO_LONG,)) + encode(wire.TooLong(size, limit))


def _raised(error: Exception, trace: str, limit: int) -> bytes:
    cls = type(error)
    name = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  an exception that cannot even say what it is
        text = "(its text cannot be had)"

    def reply(text: str, trace: str) -> bytes:
        raised = wire.Raised(name, _encodable(text), _encodable(trace), os.getpid())
        return bytes((wire.RAISED,)) + encode(raised)

    whole = reply(text, trace)
    if len(whole) <= limit:
        return whole
    # The end of a traceback tells most, and so does the beginning of a text.
    room = max(0, limit - len(reply(text, "")))
    shorter = reply(text, _last_bytes(trace, room - _SHORTENING))
    if len(shorter) <= limit:
        return shorter
    room = max(0, limit - len(reply("", "")))
    shorter = reply(_first_bytes(text, room - _SHORTENING), "")
    return shorter if len(shorter) <= limit else _too_long(len(whole), limit)


def _encodable(text: str) -> str:
    """Show what UTF-8 has no bytes for, a lone surrogate of a file name, as an escape."""
    return text.encode(errors="backslashreplace").decode()


# What the mark of omission and a longer msgpack header take.
_SHORTENING = 16


def _last_bytes(text: str, size: int) -> str:
    return "… " + text.encode(errors="replace")[-size:].decode(errors="ignore") if size > 0 else ""


def _first_bytes(text: str, size: int) -> str:
    return text.encode(errors="replace")[:size].decode(errors="ignore") + " …" if size > 0 else ""


def _traceback(error: Exception) -> str:
    """Print it as the server's interpreter would, from the method on."""
    below = error.__traceback__.tb_next if error.__traceback__ is not None else None
    return "".join(traceback.format_exception(type(error), error, below))
