"""What real processes would not share: a variable of a module or of a closure, or what stands in it, that one writes and another reads.

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
from types import CellType, CodeType, FrameType, FunctionType, ModuleType
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
    """A variable that a line names, of the module or of what its function closes over, perhaps with an attribute."""

    name: str
    attribute: str | None
    reads: bool
    closed: bool


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
        self._cells: dict[tuple[CodeType, str], CellType | None] = {}
        self._classes: dict[type, bool] = {}
        self._undo: dict[int, tuple[Any, Any]] = {}

    def begin(self, function: Callable[..., object]) -> None:
        """Look at what the function of a process closes over, and the functions among that."""
        ahead: list[Any] = [function]
        while ahead:
            made = ahead.pop()
            made = getattr(made, "__func__", made)
            if not isinstance(made, FunctionType):
                continue
            for name, cell in zip(made.__code__.co_freevars, made.__closure__ or (), strict=True):
                key = made.__code__, name
                if key in self._cells:
                    # Of two closures of one code, a line does not tell which runs.
                    if self._cells[key] is not cell:
                        self._cells[key] = None
                    continue
                self._cells[key] = cell
                ahead.append(self._at(cell, name, f"{name}, which {made.__name__} closes over,").value)

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
            for place in self._named(frame, use):
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

    def _named(self, frame: FrameType, use: Use) -> "Iterator[_Place]":
        holder: Any = self._cells.get((frame.f_code, use.name)) if use.closed else frame.f_globals
        if holder is None or (not use.closed and use.name not in holder and hasattr(builtins, use.name)):
            return
        whose = f", which {frame.f_code.co_name} closes over," if use.closed else f" of module {holder.get('__name__')}"
        variable = self._at(holder, use.name, f"{use.name}{whose}")
        value = variable.value
        yield variable
        if isinstance(value, ModuleType):
            if use.attribute is not None:
                yield self._at(vars(value), use.attribute, f"{use.attribute} of module {value.__name__}")
        elif self._has_state(value):
            data = list(_data(value))
            only = [use.attribute] if use.attribute in data or not use.reads else data
            for name in only:
                if name is not None:
                    yield self._at(value, name, f"{use.name}.{name}{whose}")

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
        if place.is_variable and self._has_state(value):
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
        kind: type = value.__class__
        if issubclass(kind, _CONTAINERS):
            if id(value) not in self._undo:
                self._undo[id(value)] = value, value.copy()
            if issubclass(kind, bytearray):
                return bytes(value)
            return [*value, *value.values()] if issubclass(kind, dict) else list(value)
        if issubclass(kind, tuple):
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
        self.is_variable = isinstance(holder, (dict, CellType))
        self.first: Any = _ABSENT
        self.picture = _Picture()
        self.write: Write | None = None

    @property
    def value(self) -> Any:
        """What stands there now."""
        holder = self._holder
        if isinstance(holder, CellType):
            try:
                return holder.cell_contents
            except ValueError:  # nothing yet
                return _ABSENT
        if self.is_variable:
            return holder.get(self._name, _ABSENT)
        return (
            vars(holder).get(self._name, _ABSENT) if isinstance(holder, type) else getattr(holder, self._name, _ABSENT)
        )

    def put(self, value: Any) -> None:
        """Have something stand there."""
        if isinstance(self._holder, CellType):
            # The next schedule has cells of its own.
            return
        if self.is_variable:
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
    kind: type = value.__class__
    if issubclass(kind, bytearray):
        value[:] = copy
    elif issubclass(kind, (dict, set)):
        value.clear()
        value.update(copy)
    elif len(value) != len(copy) or not all(map(is_, value, copy)):
        value.clear()
        value.extend(copy)


# ── which variables a line names ────────────────────────────────────────────────────────────────────────────────────────

_LOADS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF"}
_STORES = {"STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF", "DELETE_DEREF"}
_LOADS_ATTRIBUTE, _STORES_ATTRIBUTE = {"LOAD_ATTR", "LOAD_METHOD"}, {"STORE_ATTR", "DELETE_ATTR"}


@functools.lru_cache(4_096)
def _uses(code: CodeType) -> dict[int, tuple[Use, ...]]:
    """The variables that each line names."""
    found: dict[int, list[Use]] = {}
    # `x.n += 1` loads x once, and copies it for the store.
    steps = [step for step in dis.get_instructions(code) if step.opname != "COPY"]
    for step, after in pairwise([*steps, *steps[-1:]]):
        line = step.positions.lineno if step.positions is not None else None
        if line is None:
            continue
        closed = step.opname.endswith("DEREF")
        if step.opname in _STORES:
            found.setdefault(line, []).append(Use(step.argval, None, reads=False, closed=closed))
        elif step.opname in _LOADS:
            attribute = after.argval if after.opname in _LOADS_ATTRIBUTE | _STORES_ATTRIBUTE else None
            found.setdefault(line, []).append(
                Use(step.argval, attribute, after.opname not in _STORES_ATTRIBUTE, closed)
            )
    return {line: tuple(dict.fromkeys(uses)) for line, uses in found.items()}


def _shared(title: str, write: Write, who: Process, where: str, frame: FrameType) -> Verdict:
    source = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
    return Verdict(
        "shared global",
        f"{title} is written by {write.who.name} at {write.where} and read by {who.name} at {where}: "
        "real processes would not share it",
        f"{where}: {source}\n{_REMEDY}",
    )
