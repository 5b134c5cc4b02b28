"""What real processes would not share: a global variable, or what stands in one, that one writes and another reads.

Processes of the lab are greenlets of one interpreter, so its modules are theirs all. The names that a line uses are in its bytecode;
what stands there is looked at whenever somebody comes to a scheduling point. Between two of them only one process runs, so what has
changed is its doing. At the end everything stands as it did: the children of a fork change nothing in their parent.
"""

import builtins
import dis
import functools
import linecache
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from operator import is_
from types import CodeType, FrameType, ModuleType
from typing import Any, NamedTuple, final

from underpass.lab.program import Process
from underpass.lab.verdict import Verdict

# Values of one variable that are looked at.
MOST = 10_000

_CONTAINERS = (list, dict, set, deque, bytearray)
_ABSENT: Any = object()
_REMEDY = (
    "Pass it to world.process as an argument, which is copied on its way, as to a real process; or share it by an object that is "
    "made for that: AtomicInt for a number, Queue for messages."
)


class Use(NamedTuple):
    """A global variable that a line names, perhaps with an attribute."""

    name: str
    attribute: str | None
    reads: bool


class Write(NamedTuple):
    """Who changed something last, and where."""

    who: Process
    where: str


@final
class Isolation:
    """Looks at the global variables that a schedule uses."""

    def __init__(self, is_own: Callable[[str], bool]) -> None:
        self._is_own = is_own
        self._places: dict[tuple[int, str], _Place] = {}
        self._classes: dict[type, bool] = {}
        self._undo: dict[int, tuple[Any, Any]] = {}

    def changed(self, who: Process | None, where: str) -> None:
        """Note that what is different now is somebody's doing; None: nobody's."""
        for place in self._places.values():
            now = self._picture(place)
            if now != place.picture:
                place.picture = now
                if who is not None:
                    place.write = Write(who, where)

    def read(self, who: Process, frame: FrameType, where: str) -> Verdict | None:
        """Note what the line that is about to run uses; what is wrong with that."""
        for use in _uses(frame.f_code).get(frame.f_lineno, ()):
            for place in self._named(frame.f_globals, use):
                write = place.write
                if use.reads and write is not None and write.who != who:
                    return _shared(place.title, write, who, where, frame)
        return None

    def restore(self) -> None:
        """Put everything back as it was when it was first used."""
        for place in self._places.values():
            if place.value is not place.first:
                place.put(place.first)
        for value, copy in self._undo.values():
            _refill(value, copy)

    # ── which places a line uses ────────────────────────────────────────────────────────────────────────────────────────

    def _named(self, variables: dict[str, Any], use: Use) -> "Iterator[_Place]":
        value = variables.get(use.name, _ABSENT)
        if value is _ABSENT and hasattr(builtins, use.name):
            return
        module = str(variables.get("__name__", "?"))
        yield self._at(variables, use.name, f"{use.name} of module {module}")
        if isinstance(value, ModuleType):
            if use.attribute is not None:
                yield self._at(vars(value), use.attribute, f"{use.attribute} of module {value.__name__}")
        elif self._has_state(value):
            data = list(_data(value))
            only = [use.attribute] if use.attribute in data or not use.reads else data
            for name in only:
                if name is not None:
                    yield self._at(value, name, f"{use.name}.{name} of module {module}")

    def _at(self, holder: Any, name: str, title: str) -> "_Place":
        key = id(holder), name
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = _Place(holder, name, title)
            place.first = value = place.value
            place.picture = self._picture(place)
            # The same thing by another name.
            if isinstance(value, _CONTAINERS):
                known = (other for other in self._places.values() if other.value is value and other.write is not None)
                place.write = next((other.write for other in known), None)
        return place

    def _has_state(self, value: Any) -> bool:
        """Say whether it is a class of the program's own, or made of one."""
        kind = value if isinstance(value, type) else type(value)
        known = self._classes.get(kind)
        if known is None:
            file = getattr(sys.modules.get(kind.__module__), "__file__", None)
            known = self._classes[kind] = file is not None and self._is_own(file)
        return known

    # ── what stands there ───────────────────────────────────────────────────────────────────────────────────────────────

    def _picture(self, place: "_Place") -> "_Picture":
        """Return what can be compared with what stands there later."""
        value, picture = place.value, _Picture()
        if place.of_module and self._has_state(value):
            # Its attributes are places of their own.
            picture.values.append(value)
            return picture
        seen: set[int] = set()
        ahead = [value]
        while ahead and len(picture.values) < MOST:
            value = ahead.pop()
            picture.values.append(value)
            inside = self._inside(value)
            if inside is None or id(value) in seen:
                continue
            seen.add(id(value))
            picture.sizes.append(len(inside))
            ahead.extend(inside)
        return picture

    def _inside(self, value: Any) -> list[Any] | bytes | None:
        """Return what it consists of; None: nothing that is seen to change."""
        if isinstance(value, _CONTAINERS):
            if id(value) not in self._undo:
                self._undo[id(value)] = value, value.copy()
            if isinstance(value, bytearray):
                return bytes(value)
            return [*value, *value.values()] if isinstance(value, dict) else list(value)
        if isinstance(value, tuple):
            return list(value)
        if not isinstance(value, type) and self._has_state(value):
            return [getattr(value, name) for name in _data(value)]
        return None


@dataclass(slots=True)
class _Picture:
    values: list[Any] = field(default_factory=list[Any])
    sizes: list[int] = field(default_factory=list[int])

    def __eq__(self, other: object) -> bool:
        """The very same values in the same order."""
        return (
            isinstance(other, _Picture)
            and self.sizes == other.sizes
            and len(self.values) == len(other.values)
            and all(map(is_, self.values, other.values))
        )

    __hash__ = None  # pyright: ignore[reportAssignmentType] - what is looked at changes


@final
class _Place:
    """A variable: of a module, or an attribute of a class or object."""

    def __init__(self, holder: Any, name: str, title: str) -> None:
        self._holder, self._name, self.title = holder, name, title
        self.of_module = isinstance(holder, dict)
        self.first: Any = _ABSENT
        self.picture = _Picture()
        self.write: Write | None = None

    @property
    def value(self) -> Any:
        """What stands there now."""
        holder = self._holder
        if isinstance(holder, dict):
            return holder.get(self._name, _ABSENT)
        return vars(holder).get(self._name, _ABSENT) if isinstance(holder, type) else getattr(holder, self._name, _ABSENT)

    def put(self, value: Any) -> None:
        """Have something stand there."""
        if isinstance(self._holder, dict):
            if value is _ABSENT:
                self._holder.pop(self._name, None)
            else:
                self._holder[self._name] = value
            return
        owner = type if isinstance(self._holder, type) else object
        if value is _ABSENT:
            owner.__delattr__(self._holder, self._name)
        else:
            owner.__setattr__(self._holder, self._name, value)


def _data(value: Any) -> Iterator[str]:
    """What a class or an object has, besides its methods."""
    if isinstance(value, type):
        for name, held in vars(value).items():
            if not name.startswith("__") and not callable(held) and not hasattr(held, "__get__"):
                yield name
        return
    yield from getattr(value, "__dict__", ())
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if not name.startswith("__") and hasattr(value, name):
                yield name


def _refill(value: Any, copy: Any) -> None:
    if isinstance(value, dict):
        if list(map(id, [*value, *value.values()])) != list(map(id, [*copy, *copy.values()])):
            value.clear()
            value.update(copy)
    elif isinstance(value, set):
        value.clear()
        value.update(copy)
    elif isinstance(value, bytearray):
        value[:] = copy
    elif len(value) != len(copy) or not all(map(is_, value, copy)):
        value.clear()
        value.extend(copy)


# ── which variables a line names ────────────────────────────────────────────────────────────────────────────────────────

_LOADS, _STORES = {"LOAD_GLOBAL", "LOAD_NAME"}, {"STORE_GLOBAL", "DELETE_GLOBAL"}
_LOADS_ATTRIBUTE, _STORES_ATTRIBUTE = {"LOAD_ATTR", "LOAD_METHOD"}, {"STORE_ATTR", "DELETE_ATTR"}


@functools.lru_cache(4_096)
def _uses(code: CodeType) -> dict[int, tuple[Use, ...]]:
    """The global variables that each line names."""
    found: dict[int, list[Use]] = {}
    # `x.n += 1` loads x once, and copies it for the store.
    steps = [step for step in dis.get_instructions(code) if step.opname != "COPY"]
    for step, after in pairwise([*steps, *steps[-1:]]):
        line = step.positions.lineno if step.positions is not None else None
        if line is None:
            continue
        if step.opname in _STORES:
            found.setdefault(line, []).append(Use(step.argval, None, reads=False))
        elif step.opname in _LOADS:
            attribute = after.argval if after.opname in _LOADS_ATTRIBUTE | _STORES_ATTRIBUTE else None
            found.setdefault(line, []).append(Use(step.argval, attribute, after.opname not in _STORES_ATTRIBUTE))
    return {line: tuple(dict.fromkeys(uses)) for line, uses in found.items()}


def _shared(title: str, write: Write, who: Process, where: str, frame: FrameType) -> Verdict:
    source = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
    return Verdict(
        "shared global",
        f"{title} is written by {write.who.name} at {write.where} and read by {who.name} at {where}: "
        "real processes would not share it",
        f"{where}: {source}\n{_REMEDY}",
    )
