"""What is passed is of the declared type, in both directions; what is not, or cannot travel, is told with its path and a remedy."""

from __future__ import annotations

import collections
import enum
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, TypedDict, cast

import msgspec
import pytest

from underpass import Interface, Port, RemoteError, connect, serve, serving
from underpass.interfaces.checks import UnfitError, check

Value = Any


class Colour(enum.Enum):
    RED = "red"


class Rank(enum.IntEnum):
    FIRST = 1


class Word(enum.StrEnum):
    YES = "yes"


@dataclass
class Point:
    x: int
    y: float = 0.0


@dataclass
class Deep(Point):
    z: int = 0


@dataclass
class Spot:
    name: str


class Tree(msgspec.Struct):
    name: str
    below: list[Tree] = []


class Cat(msgspec.Struct, tag=True):
    """A struct that a union tells from others by its name."""

    name: str


class Dog(msgspec.Struct, tag=True):
    """Another."""

    age: int


class Cow(msgspec.Struct, tag=True):
    """A third."""

    milk: float


class Forest(Tree):
    """A struct that is a tree."""


class Alike(msgspec.Struct):
    """A struct that takes itself for anything."""

    x: int

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


class Pair(NamedTuple):
    left: int
    right: str


class Entry(TypedDict, total=False):
    point: Point


class Strict(msgspec.Struct):
    """A type with a check of its own."""

    name: str

    def __post_init__(self) -> None:
        if self.name == "bad":
            raise KeyError("a check of its own")


class Types(Interface):
    """A method of each type; the server answers what it is told to."""

    def number(self, value: int) -> int:
        return value

    def real(self, value: float) -> float:
        return value

    def flag(self, value: bool) -> bool:  # noqa: FBT001
        return value

    def text(self, value: str) -> str:
        return value

    def colour(self, value: Colour) -> Colour:
        return value

    def rank(self, value: Rank) -> Rank:
        return value

    def point(self, value: Point) -> Point:
        return value

    def tree(self, value: Tree) -> Tree:
        return value

    def alike(self, value: Alike) -> Alike:
        return value

    def pair(self, value: Pair) -> Pair:
        return value

    def entry(self, value: Entry) -> Entry:
        return value

    def numbers(self, value: list[int]) -> list[int]:
        return value

    def points(self, value: list[Point]) -> list[Point]:
        return value

    def row(self, value: tuple[int, ...]) -> tuple[int, ...]:
        return value

    def couple(self, value: tuple[int, Colour]) -> tuple[int, Colour]:
        return value

    def bag(self, value: set[int]) -> set[int]:
        return value

    def frozen(self, value: frozenset[int]) -> frozenset[int]:
        return value

    def by_name(self, value: dict[str, Colour]) -> dict[str, Colour]:
        return value

    def either(self, value: Point | str | None) -> Point | str | None:
        return value

    def by_name_or_row(self, value: dict[str, Point] | list[Spot]) -> dict[str, Point] | list[Spot]:
        return value

    def literal(self, value: Literal["a", 1]) -> Literal["a", 1]:
        return value

    def any_sequence(self, value: Sequence[int]) -> Sequence[int]:
        return value

    def any_set(self, value: AbstractSet[int]) -> AbstractSet[int]:
        return value

    def any_collection(self, value: Collection[int]) -> Collection[int]:
        return value

    def any_mapping(self, value: Mapping[str, int]) -> Mapping[str, int]:
        return value

    def small(self, value: Annotated[int, msgspec.Meta(le=9)]) -> Annotated[int, msgspec.Meta(le=9)]:
        return value

    def whatever(self, value: Any) -> Any:
        return value

    def strict(self, value: Strict) -> Strict:
        return value


def ring() -> Tree:
    tree = Tree("ring")
    tree.below.append(tree)
    return tree


def own_list() -> list[object]:
    items: list[object] = []
    items.append(items)
    return items


WRONG: list[tuple[str, Value, str, str]] = [
    ("number", "1", "", "Expected int, got str"),
    ("number", True, "", "Expected int, got bool"),
    ("number", 1.0, "", "Expected int, got float"),
    ("real", "1", "", "Expected float, got str"),
    ("flag", 1, "", "Expected bool, got int"),
    ("text", Colour.RED, "", "Expected str, got Colour"),
    ("text", object(), "", "Expected str, got object"),
    ("colour", "red", "", "Expected Colour, got str"),
    ("rank", 1, "", "Expected Rank, got int"),
    ("point", {"x": 1}, "", "Expected Point, got dict"),
    ("point", "text", "", "Expected Point, got str"),
    ("point", Point(cast("int", Colour.RED)), ".x", "Expected int, got Colour"),
    ("tree", {"name": "a"}, "", "Expected Tree, got dict"),
    ("tree", Tree("a", [Tree("b"), cast("Tree", {"name": "c"})]), ".below[1]", "Expected Tree, got dict"),
    ("alike", {"x": 1}, "", "Expected Alike, got dict"),
    ("alike", Alike(cast("int", Rank)), ".x", "Expected int, got EnumType"),
    ("pair", (1, "a"), "", "Expected Pair, got tuple"),
    ("pair", Pair(1, cast("str", Colour.RED)), ".right", "Expected str, got Colour"),
    ("entry", {"point": {"x": 1}}, "['point']", "Expected Point, got dict"),
    ("numbers", (1, 2), "", "Expected list, got tuple"),
    ("numbers", {1, 2}, "", "Expected list, got set"),
    ("numbers", [1, "2"], "[1]", "Expected int, got str"),
    ("points", [Point(1), {"x": 1}], "[1]", "Expected Point, got dict"),
    ("row", [1, 2], "", "Expected tuple, got list"),
    ("couple", (1, "red"), "[1]", "Expected Colour, got str"),
    ("couple", (1,), "", "Expected tuple of length 2, got 1"),
    ("bag", [1], "", "Expected set, got list"),
    ("bag", (1,), "", "Expected set, got tuple"),
    ("bag", frozenset({1}), "", "Expected set, got frozenset"),
    ("frozen", {1}, "", "Expected frozenset, got set"),
    ("by_name", {"a": "red"}, "['a']", "Expected Colour, got str"),
    ("by_name", {Word.YES: Colour.RED, 1: Colour.RED}, "[key 1]", "Expected str, got int"),
    ("either", {"x": 1}, "", "Expected Point | str | None, got dict"),
    ("either", Point(cast("int", "1")), ".x", "Expected int, got str"),
    ("by_name_or_row", [Point(1)], "[0]", "Expected Spot, got Point"),
    ("literal", Word.YES, "", "Invalid enum value 'yes'"),
    ("any_sequence", {1}, "", "Expected Sequence, got set"),
    ("any_set", [1], "", "Expected Set, got list"),
    ("small", 10, "", "Expected int <= 9"),
    ("whatever", object(), "", "Encoding objects of type object is unsupported; pass a value of the declared type"),
    ("whatever", {"a": [1, object()]}, "['a'][1]", "Encoding objects of type object is unsupported"),
]

UNPACKABLE: list[tuple[str, Value, str, str]] = [
    ("number", 1 << 70, "", "an int of 71 bits does not fit the 64 that travel; pass it as str or bytes"),
    ("numbers", [0, -(1 << 64)], "[1]", "an int of 65 bits does not fit"),
    ("point", Point(1 << 64), ".x", "an int of 65 bits does not fit"),
    ("text", "a\udcff", "", r"'a\udcff' holds a lone surrogate, for which UTF-8 has no bytes; declare bytes"),
    ("either", "\ud800", "", r"'\ud800' holds a lone surrogate"),
    ("tree", Tree("a", [Tree("\udcff")]), ".below[0].name", r"'\udcff' holds a lone surrogate"),
    ("tree", ring(), "", "it holds itself, or is nested too deeply"),
    ("whatever", own_list(), "", "it holds itself, or is nested too deeply"),
]

RIGHT: list[tuple[str, Value, Value]] = [
    ("number", Rank.FIRST, 1),
    ("real", 3, 3.0),
    ("text", Word.YES, "yes"),
    ("colour", Colour.RED, Colour.RED),
    ("point", Deep(1, 2.0, 3), Point(1, 2.0)),
    ("tree", Forest("a"), Tree("a")),
    ("pair", Pair(1, "a"), Pair(1, "a")),
    ("entry", {}, {}),
    ("entry", {"point": Point(1)}, {"point": Point(1)}),
    ("row", Pair(1, cast("str", 2)), (1, 2)),
    ("couple", (1, Colour.RED), (1, Colour.RED)),
    ("by_name", collections.OrderedDict(a=Colour.RED), {"a": Colour.RED}),
    ("either", None, None),
    ("either", Point(1), Point(1)),
    ("by_name_or_row", {"a": Point(1)}, {"a": Point(1)}),
    ("by_name_or_row", [Spot("b")], [Spot("b")]),
    ("literal", "a", "a"),
    ("any_sequence", (1, 2), [1, 2]),
    ("any_set", frozenset({1}), {1}),
    ("any_collection", {1}, [1]),
    ("any_mapping", {"a": 1}, {"a": 1}),
    ("whatever", (1, Colour.RED, Point(2)), [1, "red", {"x": 2, "y": 0.0}]),
]


@pytest.mark.parametrize(("method", "value", "path", "text"), [*WRONG, *UNPACKABLE])
def test_a_wrong_argument_is_its_callers_and_nothing_is_sent(method: str, value: Value, path: str, text: str) -> None:
    kind = ValueError if any(value is other for _, other, *_ in UNPACKABLE) else TypeError
    # Nobody receives, so a call that were sent would wait for ever.
    with Port() as port, pytest.raises(kind) as caught:
        getattr(connect(Types, port.gate()), method)(value)
    assert str(caught.value).startswith(f"Types.{method}: argument {'value' + path!r}: {text}"), str(caught.value)
    assert f"it is {method}(value: " in str(caught.value)


@pytest.mark.parametrize(("method", "value", "path", "text"), [*WRONG, *UNPACKABLE])
def test_a_wrong_result_is_the_servers(method: str, value: Value, path: str, text: str) -> None:
    declared = getattr(Types, method)

    def lie(self: object) -> object:
        del self
        return value

    lie.__annotations__ = {"return": declared.__annotations__["return"]}
    interface = cast("type[Interface]", type("Lies", (Interface,), {"lie": lie, "__module__": __name__}))
    with serving(interface(), at="lies"), pytest.raises(RemoteError) as caught:
        cast("Any", connect(interface, "lies")).lie()
    assert caught.value.type == ("ValueError" if any(value is other for _, other, *_ in UNPACKABLE) else "TypeError")
    assert caught.value.text.startswith(f"its result{f' at {path}' if path else ''}: {text}"), caught.value.text


@pytest.mark.parametrize(("method", "value", "arrives"), RIGHT)
def test_what_a_type_checker_accepts_arrives_as_the_declared_class(method: str, value: Value, arrives: Value) -> None:
    with serving(Types(), at="types"):
        result = getattr(connect(Types, "types"), method)(value)
    assert result == arrives
    assert type(result) is type(arrives)


def test_each_class_of_a_union_is_looked_at_as_itself() -> None:
    # Descriptions of types come and go while an annotation is compiled, one in the memory of the one before.
    compiled = check(Cat | Dog | Cow)
    for animal in (Cat("a"), Dog(1), Cow(1.0)):
        compiled.look(animal)
        with pytest.raises(UnfitError, match="Expected"):
            compiled.look(type(animal)(cast("Any", None)))


def test_what_an_arguments_own_check_raises_is_told() -> None:
    strict = Strict("good")
    strict.name = "bad"
    with Port() as port, pytest.raises(TypeError, match=r"Types\.strict: KeyError: 'a check of its own'") as caught:
        connect(Types, port.gate()).strict(strict)
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("to", [3, None, b"types"])
def test_what_is_neither_a_name_nor_a_gate_is_refused_at_once(to: object) -> None:
    with pytest.raises(TypeError, match="a server is named by a str or reached by a Gate"):
        connect(Types, cast("str", to))
    with pytest.raises(TypeError, match="served at a name or a Port"):
        serve(Types(), at=cast("str", to))


def test_who_connects_to_a_port_is_told_of_its_gate() -> None:
    with Port() as port, pytest.raises(TypeError, match=r"port\.gate\(\)"):
        connect(Types, cast("str", port))


def test_a_proxy_has_the_interfaces_docstring() -> None:
    with Port() as port:
        assert connect(Types, port.gate()).__doc__ == Types.__doc__
