"""Objects as the bytes of one message, and back.

A message begins with a byte that tells what follows::

    0              24 bytes, a reference: the message lies in a block of a pool, and is one of the others
    1  PICKLED     a pickle
    2  BESIDE      a pickle and the buffers that it has left out, each at 64 bytes
    3  TYPED       what `interfaces.codec` writes

    ┌────────┬─────────┬───────────┬───────────────────────────┬──────────┬───────────────────┐    BESIDE
    │ 2      │ zeros   │ buffers   │ length of the pickle, and │  pickle  │ each buffer,      │
    │ 1 byte │ 3 bytes │ 4 bytes   │ of each buffer: 8 bytes   │          │ at 64 bytes       │
    └────────┴─────────┴───────────┴───────────────────────────┴──────────┴───────────────────┘
"""

from __future__ import annotations

import pickle
import struct
from typing import TYPE_CHECKING, Any, Protocol, cast

from underpass._objects.blame import unpicklable

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Coder", "Pieces", "coder"]

#: What one message is made of.
Pieces = list[bytes | memoryview]

_PICKLED = b"\1"
_BESIDE = 2
_TYPED = b"\3"

_HEAD = struct.Struct("<B3xI")
_ALIGNMENT = 64


class Coder(Protocol):
    """Writes and reads the objects of one queue."""

    def write(self, obj: object) -> Pieces:
        """Encode an object. What is no buffer of its own is copied."""
        ...

    def read(self, message: memoryview) -> Any:
        """Decode a message; the object's buffers are views of it."""
        ...


class _Pickles:
    """Any picklable object, by protocol 5."""

    def write(self, obj: object) -> Pieces:
        buffers: list[pickle.PickleBuffer] = []
        try:
            packed = pickle.dumps(obj, protocol=5, buffer_callback=buffers.append)
            beside = [buffer.raw() for buffer in buffers]
        except Exception as error:
            raise unpicklable(obj, error) from error
        if not beside:
            return [_PICKLED, packed]
        lengths = struct.pack(f"<{1 + len(beside)}Q", len(packed), *map(len, beside))
        pieces: Pieces = [_HEAD.pack(_BESIDE, len(beside)), lengths, packed]
        end = _HEAD.size + len(lengths) + len(packed)
        for buffer in beside:
            padding = -end % _ALIGNMENT
            pieces += (bytes(padding), buffer)
            end += padding + len(buffer)
        return pieces

    def read(self, message: memoryview) -> Any:
        if bytes(message[:1]) == _PICKLED:
            return pickle.loads(message[1:])  # noqa: S301  the documentation says whose code that runs
        if not message or message[0] != _BESIDE:
            raise ValueError(f"no pickle, {_found(message)}: open the queue with the type that its putters name")
        _, count = _HEAD.unpack_from(message)
        size, *lengths = cast("tuple[int, ...]", struct.unpack_from(f"<{1 + count}Q", message, _HEAD.size))
        start = _HEAD.size + 8 * (1 + count)
        end = start + size
        buffers: list[memoryview] = []
        for length in lengths:
            at = end + -end % _ALIGNMENT
            end = at + length
            if end > len(message):
                raise ValueError(f"a buffer ends at {end}, and the message at {len(message)}")
            buffers.append(message[at:end])
        packed: Buffer = message[start : start + size]
        return pickle.loads(packed, buffers=buffers)  # noqa: S301  as above


class _Typed:
    """Objects of one type, by msgspec; buffers that are the whole object travel beside."""

    def __init__(self, annotation: Any) -> None:
        from underpass.interfaces.buffers import as_slot
        from underpass.interfaces.codec import codec

        self._name = annotation.__qualname__ if isinstance(annotation, type) else str(annotation)
        try:
            self._codec = codec((annotation,), (as_slot(annotation),), len(_TYPED))
        except TypeError as error:
            raise TypeError(
                f"type={annotation!r} is none that msgspec can pack: {error}; leave it out for any picklable object"
            ) from None

    def write(self, obj: object) -> Pieces:
        import msgspec

        from underpass.interfaces.checks import UnfitError

        try:
            message = self._codec.prefixed(_TYPED, self._codec.write((obj,)))
        except UnfitError as error:
            kind = ValueError if error.typed else TypeError
            where = f"its {error.path} cannot travel" if error.path else "it cannot travel"
            raise kind(f"{type(obj).__qualname__} in a queue of {self._name}: {where}: {error.what}") from None
        except msgspec.ValidationError as error:
            raise TypeError(f"{type(obj).__qualname__} in a queue of {self._name}: {error}") from None
        return message if isinstance(message, list) else [message]

    def read(self, message: memoryview) -> Any:
        if bytes(message[:1]) != _TYPED:
            raise ValueError(f"no message of type {self._name}, {_found(message)}: open the queue as its putters do")
        (obj,) = self._codec.read(cast("bytes", message))
        return obj


def coder(annotation: Any) -> Coder:
    """Return what writes and reads objects of that type; None: any picklable object."""
    return _Pickles() if annotation is None else _Typed(annotation)


def _found(message: memoryview) -> str:
    return f"but one that begins with {bytes(message[:1])!r}" if message else "but an empty one"
