"""Whether a value is what an annotation says, asked of what is to be sent.

The wire cannot tell: a dict and a dataclass are both maps, a list, a tuple and a set are all arrays, and an enum's member is its value. So
who sends looks at the classes. A `Check` is compiled once for an annotation. Mostly it is not even asked: a value that was packed, read
back by its annotation, and is equal to what was read, is of the type, unless values of another type can be equal to it too.

What is accepted is what a type checker accepts: instances of subclasses (they arrive as the declared class), an int where a float is
declared, a tuple for a ``Sequence``, a frozenset for a ``collections.abc.Set``, any bytes-like object for another. A bool is no int here.
"""

from __future__ import annotations

import collections.abc
import datetime as dt
import decimal
import types
import typing
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, cast

import msgspec
import msgspec.inspect as wire

from underpass.interfaces.buffers import unfolded

__all__ = ["HEAD", "Check", "UnfitError", "check", "unpackable"]


class UnfitError(Exception):
    """A value is not what its annotation says, or has no form on the wire.

    Args:
        what: What is wrong with it.
        path: From the value to the part that is wrong: `.points[3]`.
        index: Which of several values it is.
        typed: Whether it is of the type that the annotation names.
    """

    def __init__(self, what: str, path: str = "", *, index: int = 0, typed: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.path = path
        self.index = index
        self.typed = typed

    def below(self, step: str) -> UnfitError:
        """Return the same of a value that holds this one."""
        return UnfitError(self.what, step + self.path, typed=self.typed)


@dataclass(frozen=True, slots=True)
class Check:
    """What one annotation admits."""

    name: str  # what an error calls it
    exact: frozenset[type]  # instances of exactly these classes need no look
    look: Callable[[object], None]  # at all others; UnfitError if the value is not of the type
    comparable: bool = False  # whether a value of another type is never equal to one of this


_BYTES = (bytes, bytearray, memoryview)

# The classes of what has no parts. Whether a number is in a range and a text matches a pattern is found when it is read back.
_SCALARS: dict[type[wire.Type], tuple[type, ...]] = {
    wire.NoneType: (type(None),),
    wire.BoolType: (bool,),
    wire.IntType: (int,),
    wire.FloatType: (float, int),
    wire.StrType: (str,),
    wire.BytesType: _BYTES,
    wire.ByteArrayType: _BYTES,
    wire.MemoryViewType: _BYTES,
    wire.DateTimeType: (dt.datetime,),
    wire.DateType: (dt.date,),
    wire.TimeType: (dt.time,),
    wire.TimeDeltaType: (dt.timedelta,),
    wire.UUIDType: (uuid.UUID,),
    wire.DecimalType: (decimal.Decimal,),
    wire.RawType: (msgspec.Raw,),
    wire.ExtType: (msgspec.msgpack.Ext,),
}

_COLLECTIONS: dict[type[wire.Type], tuple[type, ...]] = {
    wire.ListType: (list,),
    wire.VarTupleType: (tuple,),
    wire.SetType: (set,),
    wire.FrozenSetType: (frozenset,),
}

# What may be passed where only an abstract class is declared; a list or a set arrives.
_ABSTRACT: dict[object, tuple[type, ...]] = {
    collections.abc.Sequence: (list, tuple),
    collections.abc.Collection: (list, tuple, set, frozenset),
    collections.abc.Set: (set, frozenset),
}

# What stands in a message for a buffer that travels beside it, and was looked at when it was made.
HEAD = Check("head", frozenset(), lambda _value: None, comparable=True)


def check(annotation: object) -> Check:
    """Compile an annotation that has a wire form."""
    return _Compiler().annotation(annotation)


class _Compiler:
    """One annotation's run: a type that holds itself, as a tree's node does, is compiled once."""

    def __init__(self) -> None:
        # By the node's id, which is the node's alone only as long as the node is kept.
        self._begun: dict[int, tuple[wire.Type, list[Check]]] = {}

    def annotation(self, annotation: object) -> Check:
        """Compile what msgspec's description leaves out: which classes are abstract."""
        annotation = unfolded(annotation)
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is Annotated:
            return self.annotation(arguments[0])
        if origin in {types.UnionType, typing.Union}:
            return _either([self.annotation(argument) for argument in arguments])
        if origin in _ABSTRACT and arguments:
            return _each(getattr(origin, "__name__", ""), _ABSTRACT[origin], self.annotation(arguments[0]))
        if origin in {list, set, frozenset}:
            return _each(cast("type", origin).__name__, (cast("type", origin),), self.annotation(arguments[0]))
        if origin in {dict, collections.abc.Mapping, collections.abc.MutableMapping}:
            return _mapping(self.annotation(arguments[0]), self.annotation(arguments[1]))
        return self.node(wire.type_info(annotation))

    def node(self, node: wire.Type) -> Check:
        """Compile msgspec's description of a type."""
        if type(node) in _SCALARS:
            return _scalar(node)
        match node:
            case wire.Metadata():
                return self.node(node.type)
            case wire.UnionType():
                return _either([self.node(inner) for inner in node.types])
            case wire.LiteralType():
                classes = tuple({type(value) for value in node.values})
                return _instance(f"one of {', '.join(map(repr, node.values))}", classes)
            case wire.EnumType():
                return _instance(node.cls.__name__, (node.cls,))
            case wire.ListType() | wire.VarTupleType() | wire.SetType() | wire.FrozenSetType():
                classes = _COLLECTIONS[type(node)]
                return _each(classes[0].__name__, classes, self.node(node.item_type))
            case wire.TupleType():
                return _row("tuple", tuple, [self.node(item) for item in node.item_types])
            case wire.DictType():
                return _mapping(self.node(node.key_type), self.node(node.value_type))
            case wire.TypedDictType() | wire.NamedTupleType() | wire.DataclassType() | wire.StructType():
                return self._fields(node)
            case _:
                # Any. What travels is what msgspec makes of the value, and its plain form arrives.
                return Check("Any", frozenset(), lambda _value: None, comparable=True)

    def _fields(self, node: wire.TypedDictType | wire.NamedTupleType | wire.DataclassType | wire.StructType) -> Check:
        _, begun = self._begun.get(id(node), (node, None))
        if begun is not None:
            # Asked for only once all is compiled.
            return Check(node.cls.__name__, frozenset(), lambda value: begun[0].look(value))  # noqa: PLW0108
        _, begun = self._begun[id(node)] = (node, [])
        of = _members if isinstance(node, wire.TypedDictType) else _attributes
        cls = dict if isinstance(node, wire.TypedDictType) else node.cls
        done = of(node.cls.__name__, cls, [(field.name, self.node(field.type)) for field in node.fields])
        begun.append(done)
        return done


def _unfit(name: str, value: object) -> UnfitError:
    return UnfitError(f"Expected {name}, got {type(value).__name__}")


def _instance(name: str, classes: tuple[type, ...], *, comparable: bool = False) -> Check:
    def look(value: object) -> None:
        # bool derives from int, and nobody who declares a number means it.
        if not isinstance(value, classes) or (isinstance(value, bool) and bool not in classes):
            raise _unfit(name, value)

    return Check(name, frozenset(classes), look, comparable)


def _scalar(node: wire.Type) -> Check:
    classes = _SCALARS[type(node)]
    name = "None" if classes == (type(None),) else classes[0].__name__
    # A number is equal to a Decimal.
    return _instance(name, classes, comparable=not isinstance(node, wire.DecimalType))


def _either(checks: Sequence[Check]) -> Check:
    name = " | ".join(inner.name for inner in checks)

    def look(value: object) -> None:
        deepest: UnfitError | None = None
        for inner in checks:
            if type(value) in inner.exact:
                return
            try:
                inner.look(value)
            except UnfitError as error:
                if error.path and (deepest is None or len(error.path) > len(deepest.path)):
                    deepest = error
            else:
                return
        raise deepest or _unfit(name, value)

    exact = frozenset[type]().union(*(inner.exact for inner in checks))
    return Check(name, exact, look, all(inner.comparable for inner in checks))


def _each(name: str, classes: tuple[type, ...], item: Check) -> Check:
    exact, look_at = item.exact, item.look

    def look(value: object) -> None:
        if not isinstance(value, classes):
            raise _unfit(name, value)
        items = cast("Iterable[object]", value)
        if exact.issuperset(map(type, items)):
            return
        index = 0
        try:
            for index, one in enumerate(items):  # noqa: B007  the handler names it
                if type(one) not in exact:
                    look_at(one)
        except UnfitError as error:
            raise error.below(f"[{index}]") from None

    # A set is equal to a frozenset.
    return Check(name, frozenset(), look, item.comparable and not {set, frozenset}.intersection(classes))


def _row(name: str, cls: type, items: Sequence[Check]) -> Check:
    def look(value: object) -> None:
        if not isinstance(value, cls):
            raise _unfit(name, value)
        values = cast("tuple[object, ...]", value)
        if len(values) != len(items):
            raise UnfitError(f"Expected {name} of length {len(items)}, got {len(values)}")
        for index, (item, one) in enumerate(zip(items, values, strict=True)):
            if type(one) not in item.exact:
                _look_into(item.look, one, f"[{index}]")

    return Check(name, frozenset(), look, all(item.comparable for item in items))


def _mapping(key: Check, item: Check) -> Check:
    def look(value: object) -> None:
        if not isinstance(value, dict):
            raise _unfit("dict", value)
        entries = cast("dict[object, object]", value)
        if key.exact.issuperset(map(type, entries)) and item.exact.issuperset(map(type, entries.values())):
            return
        for name, one in entries.items():
            if type(name) not in key.exact:
                _look_into(key.look, name, f"[key {name!r:.40}]")
            if type(one) not in item.exact:
                _look_into(item.look, one, f"[{name!r:.40}]")

    return Check("dict", frozenset(), look, key.comparable and item.comparable)


def _attributes(name: str, cls: type, fields: Sequence[tuple[str, Check]]) -> Check:
    looks = [(field, inner.exact, inner.look) for field, inner in fields]

    def look(value: object) -> None:
        if not isinstance(value, cls):
            raise _unfit(name, value)
        for field, exact, look_at in looks:
            # A field that was deleted is what packing stumbles over, and one that is unset is left out of it.
            one = getattr(value, field, msgspec.UNSET)
            if type(one) not in exact and one is not msgspec.UNSET:
                _look_into(look_at, one, f".{field}")

    # A struct is equal to none of another class, unless it says so itself. Dataclasses compare in Python, which is no faster than to look.
    compares = issubclass(cls, msgspec.Struct) and cls.__eq__ is msgspec.Struct.__eq__
    comparable = compares and all(inner.comparable for _, inner in fields)
    return Check(name, frozenset(), look, comparable)


def _members(name: str, cls: type, fields: Sequence[tuple[str, Check]]) -> Check:
    def look(value: object) -> None:
        if not isinstance(value, cls):
            raise _unfit(name, value)
        entries = cast("dict[str, object]", value)
        for field, inner in fields:
            if field in entries and type(entries[field]) not in inner.exact:
                _look_into(inner.look, entries[field], f"[{field!r}]")

    return Check(name, frozenset(), look)


def _look_into(look: Callable[[object], None], value: object, step: str) -> None:
    try:
        look(value)
    except UnfitError as error:
        raise error.below(step) from None


def unpackable(values: Sequence[object], error: Exception, encode: Callable[[object], object]) -> UnfitError:
    """Explain why values cannot be packed: which of them, the path to the innermost part that cannot, and what to pass instead."""
    index, path, part = 0, "", cast("object", None)
    for number, value in enumerate(values):
        if (failure := _failure(value, encode)) is not None:
            index = number
            path, part, error = _innermost(value, failure, encode)
            break
    match error:
        case OverflowError() if isinstance(part, int):
            what = f"an int of {part.bit_length()} bits does not fit the 64 that travel; pass it as str or bytes"
        case UnicodeEncodeError():
            what = (
                f"{part!r:.60} holds a lone surrogate, for which UTF-8 has no bytes; "
                "declare bytes, and pass os.fsencode(it)"
            )
        case RecursionError():
            what = "it holds itself, or is nested too deeply to be packed; pass a flat value"
        case TypeError():
            return UnfitError(f"{error}; pass a value of the declared type", path, index=index)
        case _:
            what = str(error)
    return UnfitError(what, path, index=index, typed=True)


def _innermost(value: object, error: Exception, encode: Callable[[object], object]) -> tuple[str, object, Exception]:
    path = ""
    # What is too deep is wrong as a whole: it may hold itself.
    while not isinstance(error, RecursionError):
        failures = ((step, part, _failure(part, encode)) for step, part in _parts(value))
        found = next(((step, part, failure) for step, part, failure in failures if failure is not None), None)
        if found is None:
            break
        step, value, error = found
        path += step
    return path, value, error


def _failure(value: object, encode: Callable[[object], object]) -> Exception | None:
    try:
        encode(value)
    except Exception as error:  # noqa: BLE001  it is handed to who explains it
        return error
    return None


def _parts(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for name, one in cast("dict[object, object]", value).items():
            yield f"[key {name!r:.40}]", name
            yield f"[{name!r:.40}]", one
    elif isinstance(value, list | tuple | set | frozenset):
        for index, one in enumerate(cast("Iterable[object]", value)):
            yield f"[{index}]", one
    else:
        names = getattr(value, "__struct_fields__", None) or getattr(value, "__dataclass_fields__", ())
        for name in cast("Iterable[str]", names):
            yield f".{name}", cast("Any", getattr(value, name, None))
