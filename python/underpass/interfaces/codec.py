"""Values into messages and back, by the types of one method: its arguments, or its result.

Both sides use the same codec and both look: who sends reads what it is about to send as the receiver will, which is the check that
the values are what the annotations say, and faster than any other.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import msgspec

from underpass.interfaces.wire import encode

if TYPE_CHECKING:
    from underpass.interfaces.buffers import Slot

__all__ = ["UNREADABLE", "Beside", "Codec", "Inline", "Message", "codec"]

# What goes to a gate: bytes, or the pieces of one message.
Message = bytes | list[bytes | memoryview]

# What reading can raise when bytes are not what a peer of this library writes.
UNREADABLE = (msgspec.DecodeError, ValueError, TypeError, OverflowError, RecursionError, MemoryError, struct.error)

_ALIGNMENT = 16
_PADDING = tuple(b"\0" * size for size in range(_ALIGNMENT))
# After the prefix, and zeros up to 4 bytes: how long the packed part is.
_PREFIX = 4
_LENGTH = struct.Struct("<I")
_START = _PREFIX + _LENGTH.size


class Inline:
    """Values that are packed whole: a prefix, then msgpack."""

    def __init__(self, wire: object, prefix: int) -> None:
        self._prefix = prefix
        self._decode = msgspec.msgpack.Decoder(cast("type[tuple[object, ...]]", wire)).decode

    def write(self, values: Sequence[object]) -> Message:
        """Pack values, all but the prefix. Raises what msgspec raises for one that is not of its type."""
        packed = encode(values)
        self._decode(packed)
        return packed

    def prefixed(self, prefix: bytes, message: Message) -> Message:
        """Put the prefix in front."""
        return prefix + cast("bytes", message)

    def read(self, message: bytes) -> Sequence[object]:
        """Unpack a message with its prefix."""
        return self._decode(message[self._prefix :])


class Beside:
    """Values some of which are buffers: the packed part has their heads, and they follow."""

    def __init__(self, wire: object, slots: Sequence[Slot | None]) -> None:
        self._slots = slots
        self._buffers = tuple((index, slot) for index, slot in enumerate(slots) if slot is not None)
        self._decode = msgspec.msgpack.Decoder(cast("type[list[object]]", wire)).decode

    def write(self, values: Sequence[object]) -> Message:
        """Pack values into the pieces of a message, the first of which is for the prefix."""
        values = list(values)
        buffers: list[bytes | memoryview] = []
        for index, slot in self._buffers:
            try:
                values[index], data = slot.give(values[index])
            except TypeError as error:
                raise msgspec.ValidationError(f"{error} - at `$[{index}]`") from None
            buffers.append(data)
        packed = encode(values)
        self._decode(packed)
        pieces: list[bytes | memoryview] = [b"", _LENGTH.pack(len(packed)), packed]
        end = _START + len(packed)
        for data in buffers:
            padding = -end % _ALIGNMENT
            pieces += (_PADDING[padding], data)
            end += padding + len(data)
        return pieces

    def prefixed(self, prefix: bytes, message: Message) -> Message:
        """Put the prefix in front."""
        cast("list[bytes]", message)[0] = prefix.ljust(_PREFIX, b"\0")
        return message

    def read(self, message: bytes) -> Sequence[object]:
        """Unpack a message with its prefix; the buffers are views of it."""
        whole = memoryview(message)
        (length,) = cast("tuple[int]", _LENGTH.unpack_from(whole, _PREFIX))
        end = _START + length
        if end > len(whole):
            raise ValueError(f"the packed part ends at {end}, and the message at {len(whole)}")
        values = list(self._decode(whole[_START:end]))
        for index, slot in self._buffers:
            head = values[index]
            start = end + -end % _ALIGNMENT
            size = slot.size(head)
            end = start + size
            if size and end > len(whole):
                raise ValueError(f"a buffer ends at {end}, and the message at {len(whole)}")
            values[index] = slot.take(head, whole[start:end])
        return values


Codec = Inline | Beside


def codec(annotations: Sequence[object], slots: Sequence[Slot | None], prefix: int) -> Codec:
    """Make the codec of a sequence of values."""
    heads = [annotation if slot is None else slot.head for annotation, slot in zip(annotations, slots, strict=True)]
    wire = tuple[tuple(heads)] if heads else tuple[()]
    return Beside(wire, slots) if any(slots) else Inline(wire, prefix)
