"""A server's answer to one request: a function from bytes to bytes that never raises for what a client sent."""

from __future__ import annotations

import os
import traceback
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from underpass.interfaces import wire
from underpass.interfaces.codec import UNREADABLE, Message
from underpass.interfaces.schema import Method, Schema, offered
from underpass.interfaces.wire import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from underpass.interfaces.interface import Interface
    from underpass.ports import Request

__all__ = ["Answerer"]

_RESULT = bytes((wire.RESULT,))
_DONE = _RESULT  # a result with nothing in it
_greeting = msgspec.msgpack.Decoder(wire.Greeting)


class _Target(NamedTuple):
    """A method as the implementation has it."""

    call: Callable[..., object]
    method: Method


class Answerer:
    """What an implementation answers to the bytes of a request.

    Args:
        implementation: Whose methods are called.
        limit: The port's message size: a longer reply is replaced by one that says so.

    Raises:
        TypeError: The implementation has no interface that could be called.
    """

    def __init__(self, implementation: Interface, limit: int) -> None:
        self._limit = limit
        self._schemas = [schema for _, schema in offered(implementation)][: wire.SCHEMAS_LIMIT]
        self._targets = tuple(
            tuple(_target(implementation, method) for method in schema.methods) for schema in self._schemas
        )
        self.answers_early: bool = any(method.oneway for schema in self._schemas for method in schema.methods)

    def answer(self, request: bytes) -> Message:
        """Carry a request out; its reply."""
        try:
            call, method = self._targets[request[0]][request[1]]
        except IndexError:
            return _answer_otherwise(request, self._schemas, self._limit)
        try:
            arguments = method.arguments.read(request)
        except Exception as error:  # noqa: BLE001  bytes from anybody, and types whose own checks may raise what they like
            return _raised(method.blame(error), "", self._limit)
        try:
            result = call(*arguments)
        except Exception as error:  # noqa: BLE001  whatever a method raises is the caller's to know, and the server goes on
            return _raised(error, _traceback(error), self._limit)
        if method.result is None:
            return _DONE
        try:
            body = method.result.write((result,))
        except Exception as error:  # noqa: BLE001  not what was promised, or a type whose own checks raise
            return _raised(method.blame_result(error), "", self._limit)
        reply = method.result.prefixed(_RESULT, body)
        size = len(reply) if isinstance(reply, bytes) else sum(map(len, reply))
        return reply if size <= self._limit else _too_long(size, self._limit)

    def serve_request(self, request: Request) -> None:
        """Answer a request: that of a one-way method once its arguments are read, and before it runs."""
        if not request.wants_reply:
            return  # sent with Gate.send, which no proxy does
        data = request.data
        try:
            target = self._targets[data[0]][data[1]]
        except IndexError:
            target = None
        if target is None or not target.method.oneway:
            request.reply(self.answer(data))
            return
        call, method = target
        try:
            arguments = method.arguments.read(data)
        except Exception as error:  # noqa: BLE001  as above
            request.reply(_raised(method.blame(error), "", self._limit))
            return
        request.reply(_DONE)
        try:
            call(*arguments)
        except Exception:
            import logging

            logging.getLogger("underpass").exception(
                "%s.%s, a one-way call of pid %d, raised", method.interface, method.name, request.peer.pid
            )


def _target(implementation: Interface, method: Method) -> _Target:
    call: Callable[..., object] = getattr(implementation, method.name)
    if method.keyword_only:
        call = _naming(call, method.keyword_only)
    return _Target(call, method)


def _naming(call: Callable[..., object], names: tuple[str, ...]) -> Callable[..., object]:
    def named(*arguments: object) -> object:
        positional = len(arguments) - len(names)
        return call(*arguments[:positional], **dict(zip(names, arguments[positional:], strict=True)))

    return named


def _answer_otherwise(request: bytes, schemas: list[Schema], limit: int) -> bytes:
    """Answer what is no call of a known method: a greeting, or what nobody should have sent."""
    if request[:1] != bytes((wire.GREETING,)):
        return _raised(AttributeError(f"no method {request[:2].hex(' ')}: greet first"), "", limit)
    try:
        greeting = _greeting.decode(request[1:])
    except UNREADABLE:
        greeting = None
    if greeting is not None and greeting.version == wire.VERSION:
        for number, schema in enumerate(schemas):
            if schema.digest == greeting.digest:
                return _RESULT + encode(number)
    return _mismatch(schemas, limit)


def _mismatch(schemas: list[Schema], limit: int) -> bytes:
    offers = tuple(wire.Offer(schema.interface, schema.digest, schema.texts(), schema.shapes()) for schema in schemas)
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
        raised = wire.Raised(_encodable(name), _encodable(text), _encodable(trace), os.getpid())
        return bytes((wire.RAISED,)) + encode(raised)

    whole = reply(text, trace)
    if len(whole) <= limit:
        return whole
    # A long text is cut, also where the traceback ends with it, so that where it was raised is told in any case.
    text, trace = _encodable(text), _encodable(trace)
    room = max(0, limit - len(reply("", "")) - _HEADERS)
    short = _ends(text, max(room // 3, (room - len(trace.encode()) + len(text.encode())) // 2))
    trace = _last_bytes(trace.replace(text, short), room - len(short.encode()))
    shorter = reply(short, trace)
    return shorter if len(shorter) <= limit else _too_long(len(whole), limit)


def _encodable(text: str) -> str:
    """Show what UTF-8 has no bytes for, a lone surrogate of a file name, as an escape."""
    return text.encode(errors="backslashreplace").decode()


# What longer msgpack headers take.
_HEADERS = 16
_OMISSION = " … "


def _ends(text: str, size: int) -> str:
    """Keep the beginning and the end of a text of more bytes."""
    whole = text.encode()
    if len(whole) <= size:
        return text
    half = (size - len(_OMISSION.encode())) // 2
    return whole[:half].decode(errors="ignore") + _OMISSION + whole[-half:].decode(errors="ignore") if half > 0 else ""


def _last_bytes(text: str, size: int) -> str:
    """Keep the end, which tells most of a traceback."""
    whole = text.encode()
    if len(whole) <= size:
        return text
    kept = size - len(_OMISSION.encode())
    return _OMISSION.lstrip() + whole[-kept:].decode(errors="ignore") if kept > 0 else ""


def _traceback(error: Exception) -> str:
    """Print it as the server's interpreter would, from the method on."""
    below = error.__traceback__.tb_next if error.__traceback__ is not None else None
    try:
        return "".join(traceback.format_exception(type(error), error, below))
    except Exception as failure:  # noqa: BLE001  an exception whose parts, its notes or its causes, cannot be printed
        return f"(its traceback cannot be printed: {type(failure).__name__})"
