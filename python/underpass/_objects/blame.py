"""Which part of an object cannot be pickled."""

from __future__ import annotations

import pickle
import types
from collections.abc import Iterable, Iterator
from typing import Any, cast

__all__ = ["unpicklable"]

# They are pickled by their names, and have no parts.
_NAMED = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType)


def unpicklable(obj: object, error: Exception) -> TypeError:
    """Explain why an object cannot be pickled: the path to the innermost part that cannot."""
    path, whole = "", type(obj).__qualname__
    visited: set[int] = set()
    # What is too deep is wrong as a whole.
    while id(obj) not in visited and not isinstance(error, RecursionError):
        visited.add(id(obj))
        failures = ((step, part, _failure(part)) for step, part in _parts(obj))
        found = next(((step, part, failure) for step, part, failure in failures if failure is not None), None)
        if found is None:
            break
        step, obj, error = found
        path += step
    part = f"its {path}, a {type(obj).__qualname__}," if path else "it"
    return TypeError(f"{whole} cannot be put: {part} cannot be pickled: {type(error).__name__}: {error}")


def _failure(part: object) -> Exception | None:
    try:
        pickle.dumps(part, protocol=5, buffer_callback=_raw)
    except Exception as error:  # noqa: BLE001  it is handed to who explains it
        return error
    return None


def _raw(buffer: pickle.PickleBuffer) -> None:
    buffer.raw()


def _parts(obj: object) -> Iterator[tuple[str, object]]:
    if isinstance(obj, dict):
        for name, one in cast("dict[object, object]", obj).items():
            yield f"[key {name!r:.40}]", name
            yield f"[{name!r:.40}]", one
    elif isinstance(obj, list | tuple | set | frozenset):
        for index, one in enumerate(cast("Iterable[object]", obj)):
            yield f"[{index}]", one
    elif not isinstance(obj, _NAMED):
        for name, one in _state(obj):
            yield f".{name}", one


def _state(obj: object) -> Iterator[tuple[object, object]]:
    """What is pickled of an object's attributes, which is not always all of them."""
    try:
        reduced: Any = obj.__reduce_ex__(5)
    except Exception:  # noqa: BLE001  it is the object itself then
        return
    # A name; or a function, its arguments, and the state, which is two dictionaries where a class has slots.
    state: Any = None if isinstance(reduced, str) else (*reduced, None, None)[2]
    states: tuple[Any, ...] = cast("tuple[Any, ...]", state) if isinstance(state, tuple) else (state,)
    for attributes in states:
        if isinstance(attributes, dict):
            yield from cast("dict[object, object]", attributes).items()
