"""A type, written down so that two processes can compare what they mean by it.

The text is canonical: it holds field names, orders, constraints and members of enums, and leaves out what only one side needs
to know (defaults, modules, docstrings). Equal texts decode each other's messages.
"""

from __future__ import annotations

import enum
from typing import cast

import msgspec
import msgspec.inspect

__all__ = ["shape"]

# What is one side's own affair, or would print an address.
_PRIVATE = frozenset({"default", "default_factory", "extra", "extra_json_schema", "title", "description", "examples"})


def shape(annotation: object) -> str:
    """Write ``annotation`` down.

    Raises:
        TypeError: msgspec has no wire form for it.
    """
    return _write(msgspec.inspect.type_info(annotation), set())


def _write(node: object, written: set[object]) -> str:
    match node:
        case msgspec.inspect.CustomType() if node.cls.__module__ == "numpy":
            raise TypeError(
                f"{node.cls.__name__} travels as a whole argument or result, and not inside of another type"
            )
        case msgspec.inspect.CustomType():
            raise TypeError(f"{node.cls.__name__} has no wire form; use types that msgspec knows, or bytes")
        case msgspec.inspect.Metadata():
            return _write(node.type, written)
        case msgspec.inspect.Field():
            return f"{node.encode_name}: {_write(node.type, written)}{'' if node.required else ' = …'}"
        case msgspec.Struct():
            return _write_struct(node, written)
        case tuple():
            return "[" + ", ".join(_write(item, written) for item in cast("tuple[object, ...]", node)) + "]"
        case type():
            return node.__name__
        case _:
            return repr(node)


def _write_struct(node: msgspec.Struct, written: set[object]) -> str:
    # A type that holds itself, as a tree's node does, is written once and named from then on.
    cls: object = getattr(node, "cls", None)
    if isinstance(cls, type):
        if cls in written:
            return cls.__name__
        written.add(cls)
    fields = [
        (field, cast("object", getattr(node, field))) for field in node.__struct_fields__ if field not in _PRIVATE
    ]
    parts = [f"{field}={_write(value, written)}" for field, value in fields if value is not None and value is not False]
    if isinstance(cls, type) and issubclass(cls, enum.Enum):
        parts.append("members=" + ", ".join(f"{member.name}:{member.value!r}" for member in cls))
    name = type(node).__name__.removesuffix("Type").lower()
    return f"{name}({', '.join(parts)})" if parts else name
