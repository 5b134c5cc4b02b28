"""What an interface says, read off its class: the methods in order, their types, and a digest that both sides compare."""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
import typing
from dataclasses import dataclass
from types import FunctionType
from typing import TYPE_CHECKING

import msgspec

from underpass.interfaces.buffers import as_slot
from underpass.interfaces.checks import UnfitError
from underpass.interfaces.codec import Codec, codec
from underpass.interfaces.interface import Interface, is_oneway
from underpass.interfaces.shapes import shape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from underpass.interfaces.buffers import Slot

__all__ = ["Method", "Schema", "offered", "schema_of"]

# A method's index is one byte of the request.
METHODS_LIMIT = 256

# Where msgspec says that a value of the array is wrong: an argument, or the result.
_VALUE = re.compile(r" - at `(?:key in )?\$\[(?P<index>\d+)\](?P<path>[^`]*)`")

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Method:
    """One call: its name, what goes there, what comes back."""

    interface: str
    name: str
    index: int
    signature: inspect.Signature  # of a call: without self, annotations evaluated
    keyword_only: tuple[str, ...]  # the last arguments, which the method takes by name
    text: str  # as a person writes it
    shape: str  # with the fields of every type in it
    arguments: Codec
    result: Codec | None  # of a sequence of one; None: there is none
    oneway: bool

    @property
    def positional(self) -> int:
        """How many arguments, none of them named, are complete and in order; -1 if some must be named."""
        return -1 if self.keyword_only else len(self.signature.parameters)

    def arrange(self, positional: tuple[object, ...], named: dict[str, object]) -> tuple[object, ...]:
        """Put arguments as they were passed into the order in which they travel, defaults filled in.

        Raises:
            TypeError: They are not what the method takes.
        """
        try:
            bound = self.signature.bind(*positional, **named)
        except TypeError as error:
            raise TypeError(f"{self.interface}.{self.name}: {error}; it is {self.text}") from None
        bound.apply_defaults()
        return (*bound.args, *bound.kwargs.values())

    def blame(self, error: Exception) -> TypeError | ValueError:
        """Say which argument it was that would not be taken."""
        index, path, what = _located(error)
        where = f"{self.interface}.{self.name}"
        if index is not None:
            where += f": argument {tuple(self.signature.parameters)[index] + path!r}"
        return _kind(error)(f"{where}: {what}; it is {self.text}")

    def blame_result(self, error: Exception) -> TypeError | ValueError:
        """Say what is wrong with a result."""
        _, path, what = _located(error)
        where = f" at {path}" if path else ""
        return _kind(error)(f"its result{where}: {what}; it is {self.text}")


def _located(error: Exception) -> tuple[int | None, str, str]:
    """Take an error of a codec apart: which value, where in it, and what is wrong."""
    if isinstance(error, UnfitError):
        return error.index, error.path, error.what
    found = _VALUE.search(str(error))
    if found is not None:
        return int(found["index"]), found["path"], str(error)[: found.start()].replace("`", "")
    if isinstance(error, msgspec.MsgspecError):
        return None, "", str(error)
    # A type's own check may raise what it likes.
    return None, "", f"{type(error).__name__}: {error}"


def _kind(error: Exception) -> type[TypeError | ValueError]:
    return ValueError if isinstance(error, UnfitError) and error.typed else TypeError


@dataclass(frozen=True, slots=True)
class Schema:
    """An interface's methods, by name in alphabetical order: the place in it is a method's index."""

    interface: str
    methods: tuple[Method, ...]
    digest: str

    def texts(self) -> tuple[str, ...]:
        """Return the methods as a person writes them, for the error that compares two schemas."""
        return tuple(method.text for method in self.methods)

    def shapes(self) -> tuple[str, ...]:
        """Return the methods as the digest has them."""
        return tuple(method.shape for method in self.methods)


@functools.cache
def schema_of(interface: type[object]) -> Schema:
    """Read the schema off a class, once.

    Raises:
        TypeError: It is no interface, has no methods, or one of them cannot be called from another process.
    """
    if interface is Interface or not issubclass(interface, Interface):
        raise TypeError(f"{interface.__name__} is no interface: subclass underpass.Interface")
    functions = dict(sorted(_public_methods(interface).items()))
    if not functions:
        raise TypeError(f"{interface.__name__} has no public methods, so there is nothing to call")
    if len(functions) > METHODS_LIMIT:
        raise TypeError(f"{interface.__name__} has {len(functions)} methods; {METHODS_LIMIT} is the limit")
    methods = tuple(
        _read(interface.__name__, name, index, function, oneway=_inherits_oneway(interface, name))
        for index, (name, function) in enumerate(functions.items())
    )
    canonical = "\n".join([interface.__name__, *(method.shape for method in methods)])
    digest = hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()
    return Schema(interface.__name__, methods, digest)


def offered(implementation: Interface) -> Iterator[tuple[type[Interface], Schema]]:
    """Yield every interface that an implementation can be asked as: those it derives from, and its own class.

    Raises:
        TypeError: There is none; the reason is that of the first.
    """
    first: TypeError | None = None
    found = False
    # From the base down: the first is the interface proper, the last the implementation's own class.
    for cls in reversed(type(implementation).__mro__):
        if not issubclass(cls, Interface) or cls is Interface:
            continue
        try:
            schema = schema_of(cls)
        except TypeError as error:
            # An implementation may have methods of its own that nobody calls from outside.
            first = first or error
        else:
            found = True
            yield cls, schema
    if not found:
        raise first or TypeError(f"{type(implementation).__name__} is no interface: subclass underpass.Interface")


def _public_methods(interface: type[Interface]) -> Mapping[str, FunctionType]:
    # As attribute look-up has it: the most derived class that names it decides, and may take it away with None.
    found: dict[str, object] = {}
    for cls in reversed(interface.__mro__):
        found.update(vars(cls))
    return {
        name: value for name, value in found.items() if isinstance(value, FunctionType) and not name.startswith("_")
    }


def _inherits_oneway(interface: type[Interface], name: str) -> bool:
    return any(is_oneway(vars(cls).get(name)) for cls in interface.__mro__)


def _read(interface: str, name: str, index: int, function: FunctionType, *, oneway: bool) -> Method:
    where = f"{interface}.{name}"
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise TypeError(f"{where}: a call has one result; write a plain method")
    try:
        hints: dict[str, object] = typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise TypeError(f"{where}: {error}; define the types of an interface at the top of a module") from error
    _self, *parameters = inspect.signature(function).parameters.values()
    for parameter in parameters:
        if parameter.kind in _VARIADIC:
            raise TypeError(f"{where}: *args and **kwargs have no types to travel with")
        if parameter.name not in hints:
            raise TypeError(f"{where}: parameter {parameter.name!r} has no annotation")
    if "return" not in hints:
        raise TypeError(f"{where}: the result has no annotation; write -> None if there is none")

    result = hints["return"]
    nothing = result is type(None)
    if oneway and not nothing:
        raise TypeError(f"{where}: nobody waits for the result of a one-way method; write -> None")
    signature = inspect.Signature(
        [parameter.replace(annotation=hints[parameter.name]) for parameter in parameters],
        return_annotation=None if nothing else result,
    )
    types = [hints[parameter.name] for parameter in parameters]
    slots = [as_slot(annotation) for annotation in types]
    result_slot = as_slot(result)
    shapes = [
        f"{parameter.name}: {_shape(annotation, slot, f'{where}: parameter {parameter.name!r}')}"
        for parameter, annotation, slot in zip(parameters, types, slots, strict=True)
    ]
    mark = "@oneway " if oneway else ""
    return Method(
        interface,
        name,
        index,
        signature,
        tuple(p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY),
        f"{mark}{name}{signature}",
        f"{mark}{name}({', '.join(shapes)}) -> {_shape(result, result_slot, f'{where}: the result')}",
        codec(types, slots, prefix=2),
        None if nothing else codec([result], [result_slot], prefix=1),
        oneway,
    )


def _shape(annotation: object, slot: Slot | None, where: str) -> str:
    if slot is not None:
        return slot.shape()
    try:
        return shape(annotation)
    except TypeError as error:
        raise TypeError(f"{where}: {error}") from error
