"""Values into messages and back, by the types of one method: its arguments, or its result.

Both sides use the same codec and both look: who sends reads what it is about to send as the receiver will. That shows whether the values
are what the annotations say, and `checks` looks at those of which it does not.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import msgspec

from underpass.interfaces.checks import HEAD, Check, UnfitError, check, unpackable
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


class _Packer:
    """Packs values that are what their annotations say, and no others."""

    def __init__(self, wire: object, checks: Sequence[Check]) -> None:
        self._checks = checks
        self._comparable = all(declared.comparable for declared in checks)
        self._decode = msgspec.msgpack.Decoder(cast("type[tuple[object, ...]]", wire)).decode

    def pack(self, values: tuple[object, ...]) -> bytes:
        """Pack values.

        Raises:
            UnfitError: One is not of its type, or has no form on the wire.
            msgspec.ValidationError: One is not in the range that its annotation names. A struct's own check raises what it likes.
        """
        try:
            packed = encode(values)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            self._look(values)
            raise unpackable(values, error, encode) from None
        try:
            read = self._decode(packed)
        except msgspec.ValidationError:
            self._look(values)
            raise
        if not self._comparable or read != values:
            self._look(values)
        return packed

    def _look(self, values: Sequence[object]) -> None:
        for index, (declared, value) in enumerate(zip(self._checks, values, strict=True)):
            if type(value) in declared.exact:
                continue
            try:
                declared.look(value)
            except UnfitError as error:
                error.index = index
                raise
            except RecursionError:
                continue  # packing stumbles over it too


class Inline:
    """Values that are packed whole: a prefix, then msgpack."""

    def __init__(self, wire: object, checks: Sequence[Check], prefix: int) -> None:
        self._prefix = prefix
        # Packs values, all but the prefix.
        self.write: Callable[[tuple[object, ...]], Message] = _Packer(wire, checks).pack
        self._decode = msgspec.msgpack.Decoder(cast("type[tuple[object, ...]]", wire)).decode

    def prefixed(self, prefix: bytes, message: Message) -> Message:
        """Put the prefix in front."""
        return prefix + cast("bytes", message)

    def read(self, message: bytes) -> Sequence[object]:
        """Unpack a message with its prefix."""
        return self._decode(message[self._prefix :])


class Beside:
    """Values some of which are buffers: the packed part has their heads, and they follow."""

    def __init__(self, wire: object, checks: Sequence[Check], slots: Sequence[Slot | None]) -> None:
        self._packer = _Packer(wire, checks)
        self._buffers = tuple((index, slot) for index, slot in enumerate(slots) if slot is not None)
        self._decode = msgspec.msgpack.Decoder(cast("type[list[object]]", wire)).decode

    def write(self, arguments: tuple[object, ...]) -> Message:
        """Pack values into the pieces of a message, the first of which is for the prefix."""
        values = list(arguments)
        buffers: list[bytes | memoryview] = []
        for index, slot in self._buffers:
            try:
                values[index], data = slot.give(values[index])
            except TypeError as error:
                raise UnfitError(str(error), index=index) from None
            buffers.append(data)
        packed = self._packer.pack(tuple(values))
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
    # What travels beside the message has checked its values itself when their heads are packed.
    checks = [check(annotation) if slot is None else HEAD for annotation, slot in zip(annotations, slots, strict=True)]
    return Beside(wire, checks, slots) if any(slots) else Inline(wire, checks, prefix)
