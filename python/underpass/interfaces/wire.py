"""What the bytes of a typed call mean.

A request is two bytes and a body; the body is the arguments as one msgpack array::

    ┌───────────┬──────────┬─────────────────────┐    schema   the number that the server gave to this client's schema when it was greeted
    │  schema   │  method  │  arguments          │    method   its index in the schema, by name in alphabetical order
    │  1 byte   │  1 byte  │  msgpack array      │
    └───────────┴──────────┴─────────────────────┘    schema = 255: a greeting, and the body is a `Greeting`

A reply is one byte, the status, and a body::

    0  RESULT      the result, as an array of one value; nothing for ``-> None``; for a greeting the schema's number
    1  RAISED      a `Raised`: the method, or the reading of its arguments, raised an exception
    2  MISMATCH    a `Schemas`: the server does not offer the schema that it was greeted with
    3  TOO_LONG    a `TooLong`: the result, or an exception's traceback, does not fit a message

Where an argument or the result is a buffer (bytes-like, or a numpy array), the body is that of `codec.Beside`::

    ┌──────────────────────┬───────────┬───────────┬────────────────────┬────────────────────┐
    │  2 or 1 bytes, as    │  zeros,   │  length   │  msgpack array,    │  each buffer,      │
    │  above               │  up to 4  │  4 bytes  │  heads in it       │  at 16 bytes       │
    └──────────────────────┴───────────┴───────────┴────────────────────┴────────────────────┘

A one-way method's reply, a RESULT with nothing in it, is sent before the method runs.

A client greets once per binding, before its first call. Indices need no further check then: a gate leads to one incarnation of a port,
and who takes over its name gets a new greeting. Bodies are msgpack, so structs are told apart by the schema's digest
and nothing else on the wire names a type.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

__all__ = [
    "GREETING",
    "MISMATCH",
    "RAISED",
    "RESULT",
    "SCHEMAS_LIMIT",
    "TOO_LONG",
    "VERSION",
    "Greeting",
    "Offer",
    "Raised",
    "Schemas",
    "TooLong",
    "encode",
]

VERSION = 1

GREETING = 255
SCHEMAS_LIMIT = 255

RESULT = 0
RAISED = 1
MISMATCH = 2
TOO_LONG = 3

# Encoders hold no state between calls, so all threads share one.
encode: Callable[[object], bytes] = msgspec.msgpack.Encoder().encode


class Greeting(msgspec.Struct, array_like=True, frozen=True):
    """A client says what it means by the indices that it is going to send."""

    version: int
    interface: str
    digest: str


class Offer(msgspec.Struct, array_like=True, frozen=True):
    """One interface that a server can be asked as."""

    interface: str
    digest: str
    methods: tuple[str, ...]  # as a person writes them
    shapes: tuple[str, ...]  # as the digest has them, with the fields of every type


class Schemas(msgspec.Struct, array_like=True, frozen=True):
    """All that a server offers, for the error that compares."""

    version: int
    offers: tuple[Offer, ...]


class Raised(msgspec.Struct, array_like=True, frozen=True):
    """An exception, as far as it can travel: nobody unpickles what another process wrote."""

    type: str
    text: str
    traceback: str
    pid: int


class TooLong(msgspec.Struct, array_like=True, frozen=True):
    """How long the reply would have been, and how long it may be."""

    size: int
    limit: int
