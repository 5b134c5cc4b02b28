"""Buffers that travel beside a message and not in it: bytes-like objects and numpy arrays, whole arguments or a whole result.

Packing them in would copy them once more on each side. Instead a *head* stands in their place, the size of bytes or dtype and shape of
an array, and what they hold follows the packed part, each at a multiple of 16 bytes. Who receives gets views of the message itself.
"""

from __future__ import annotations

import functools
import math
import re
import types
import typing
from typing import TYPE_CHECKING, Annotated, Any, Protocol, cast

import msgspec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Buffer

__all__ = ["ArrayHead", "Slot", "as_slot", "unfolded"]

_Size = Annotated[int, msgspec.Meta(ge=0)]

# Numbers, truth values, times and text of a fixed width. An object's bytes are an address, which means nothing elsewhere.
_KINDS = "biufcmMSU"
_DTYPE = re.compile(rf"[<>|=][{_KINDS}][0-9]+(\[[0-9A-Za-z]+\])?")


class ArrayHead(msgspec.Struct, array_like=True, frozen=True):
    """What an array is, without what it holds."""

    dtype: str
    shape: tuple[_Size, ...]
    fortran: bool


class Slot(Protocol):
    """An argument, or a result, that travels beside the message."""

    @property
    def head(self) -> object:
        """The type that stands in its place."""
        ...

    def shape(self) -> str:
        """Write the type down, for the digest of the schema."""
        ...

    def give(self, value: object) -> tuple[object, memoryview | bytes]:
        """Part a value into its head and its bytes, which are not copied if they are contiguous. TypeError if it is of another type."""
        ...

    def size(self, head: object) -> int:
        """Say how many bytes belong to a head. ValueError if it is no head of this type."""
        ...

    def take(self, head: object, data: memoryview) -> object:
        """Make the value of a head and its bytes."""
        ...


def as_slot(annotation: object) -> Slot | None:
    """Return how values of this type travel if they do so beside the message, also where None is allowed in their place."""
    annotation = unfolded(annotation)
    if typing.get_origin(annotation) in {types.UnionType, typing.Union}:
        inner = [argument for argument in typing.get_args(annotation) if argument is not type(None)]
        if len(inner) == 1 and (slot := as_slot(inner[0])) is not None:
            return _Optional(slot)
        return None
    if annotation is bytes or annotation is bytearray or annotation is memoryview:
        return _Bytes(cast("type", annotation))
    cls = typing.get_origin(annotation) or annotation
    if getattr(cls, "__module__", None) == "numpy" and getattr(cls, "__name__", None) == "ndarray":
        return _Array(annotation)
    return None


def unfolded(annotation: object) -> object:
    """Return what an alias of Python 3.12 (`type A[T] = ...`, as numpy's NDArray is by now) stands for."""
    value: Any = getattr(typing.get_origin(annotation) or annotation, "__value__", None)
    if value is None:
        return annotation
    arguments = typing.get_args(annotation)
    return unfolded(value[arguments] if arguments else value)


class _Bytes:
    head = _Size

    def __init__(self, cls: type) -> None:
        self._cls = cls

    def shape(self) -> str:
        return self._cls.__name__

    def give(self, value: object) -> tuple[object, memoryview | bytes]:
        if isinstance(value, bytes):
            return len(value), value
        if not isinstance(value, bytearray | memoryview):
            raise TypeError(f"Expected {self._cls.__name__}, got {type(value).__name__}")
        view = memoryview(cast("Buffer", value))
        if not view.nbytes:
            return 0, b""
        data = view.cast("B") if view.c_contiguous else view.tobytes()
        return len(data), data

    def size(self, head: object) -> int:
        return cast("int", head)

    def take(self, head: object, data: memoryview) -> object:
        del head
        return data if self._cls is memoryview else self._cls(data)


class _Array:
    head = ArrayHead

    def __init__(self, annotation: object) -> None:
        dtype = (*typing.get_args(annotation), None, None)[1]
        scalar = (*typing.get_args(dtype), None)[0]
        either = typing.get_args(scalar) if typing.get_origin(scalar) in {types.UnionType, typing.Union} else (scalar,)
        # Any, a type variable: whatever numbers they are.
        classes = (typing.get_origin(cls) or cls for cls in either)
        self._scalars = tuple(cls for cls in classes if isinstance(cls, type))

    def shape(self) -> str:
        return f"ndarray[{' | '.join(scalar.__name__ for scalar in self._scalars)}]"

    def give(self, value: object) -> tuple[object, memoryview | bytes]:
        np = _numpy()
        # A subclass means more than its numbers: a mask, for one.
        if type(value) not in {np.ndarray, np.memmap}:
            raise TypeError(f"Expected ndarray, got {type(value).__name__}")
        array = cast("NDArray[np.generic]", value)
        if array.dtype.kind not in _KINDS or not array.dtype.itemsize:
            raise TypeError(f"Expected an array of numbers, times or text, got one of {array.dtype}")
        self._check(array.dtype)
        fortran = array.flags.f_contiguous and not array.flags.c_contiguous
        flat = np.ascontiguousarray(array.reshape(-1, order="F" if fortran else "C"))
        return ArrayHead(array.dtype.str, array.shape, fortran), flat.view(np.uint8).data

    def size(self, head: object) -> int:
        head = cast("ArrayHead", head)
        return self._dtype(head).itemsize * math.prod(head.shape)

    def take(self, head: object, data: memoryview) -> object:
        head = cast("ArrayHead", head)
        return _numpy().ndarray(head.shape, self._dtype(head), data, order="F" if head.fortran else "C")

    def _dtype(self, head: ArrayHead) -> np.dtype[np.generic]:
        # numpy reads more out of a string than one type: only what `dtype.str` writes is let through.
        if not _DTYPE.fullmatch(head.dtype):
            raise ValueError(f"{head.dtype!r} is no type of an array's items that travels")
        dtype = cast("np.dtype[np.generic]", _numpy().dtype(head.dtype))
        if not dtype.itemsize:
            raise ValueError(f"items of type {head.dtype!r} have no size")
        self._check(dtype)
        return dtype

    def _check(self, dtype: np.dtype[np.generic]) -> None:
        if self._scalars and not issubclass(dtype.type, self._scalars):
            wanted = " or ".join(scalar.__name__ for scalar in self._scalars)
            raise TypeError(f"Expected an array of {wanted}, got one of {dtype}")


class _Optional:
    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self.head: object = typing.Optional[slot.head]  # noqa: UP045  a type that is known only here

    def shape(self) -> str:
        return f"{self._slot.shape()} | None"

    def give(self, value: object) -> tuple[object, memoryview | bytes]:
        return (None, b"") if value is None else self._slot.give(value)

    def size(self, head: object) -> int:
        return 0 if head is None else self._slot.size(head)

    def take(self, head: object, data: memoryview) -> object:
        return None if head is None else self._slot.take(head, data)


@functools.cache
def _numpy() -> types.ModuleType:
    import numpy as np

    return np
