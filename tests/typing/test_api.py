"""What the package has agrees with api.pyi, the contract of its public API.

What is not built yet is absent: a name, a method, an optional argument. What is there has the contract's names, kinds and
defaults; beside them it may have more, as long as no caller of the contract notices.
"""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import underpass
from underpass import _core, data, errors, sync

CONTRACT = Path(__file__).with_name("api.pyi")
STUB = Path(underpass.__file__).with_name("_core.pyi")

# Names that exist, and so may not vanish again.
BUILT = (
    *(
        "Space",
        "ObjectInfo",
        "Semaphore",
        "Mutex",
        "Queue",
        "ObjectQueue",
        "Lease",
        "Loan",
        "Pipe",
        "Pool",
        "Broadcast",
        "Subscription",
        "Region",
    ),
    *("Notification", "Event", "AtomicInt", "Barrier", "Condition", "Once", "RWLock"),
    *(
        "Port",
        "Gate",
        "Request",
        "Notified",
        "Peer",
        "Interface",
        "serve",
        "serving",
        "connect",
        "oneway",
        "fail_after",
        "wait_any",
        "wait_all",
        "select",
        "WaitSet",
        "process",
    ),
)

BUILT_IN_SYNC = ("SpinLock", "Latch", "atomic_section")
BUILT_IN_DATA = ("Stack", "SpscRing", "MpscRing")

Function = ast.FunctionDef | ast.AsyncFunctionDef
Empty = inspect.Parameter.empty
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Parameter(NamedTuple):
    """A parameter as far as a caller sees it."""

    name: str
    kind: Any
    required: bool


Signature = tuple[Parameter, ...]


# ── reading signatures ──────────────────────────────────────────────────────────────────────────────────────────────


def written(function: Function, *, bound: bool) -> Signature:
    """The signature of a function in a stub; of a method without ``self`` or ``cls``."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    first_default = len(positional) - len(arguments.defaults)
    found = [
        Parameter(a.arg, POSITIONAL[i >= len(arguments.posonlyargs)], i < first_default)
        for i, a in enumerate(positional)
    ][bound:]
    if arguments.vararg:
        found.append(Parameter(arguments.vararg.arg, inspect.Parameter.VAR_POSITIONAL, required=False))
    found += [
        Parameter(argument.arg, inspect.Parameter.KEYWORD_ONLY, default is None)
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    if arguments.kwarg:
        found.append(Parameter(arguments.kwarg.arg, inspect.Parameter.VAR_KEYWORD, required=False))
    return tuple(found)


def running(function: Any, *, bound: bool) -> Signature:
    """The signature of a Python function; of a method without ``self``."""
    parameters = list(inspect.signature(function).parameters.values())[bound:]
    return tuple(Parameter(p.name, p.kind, p.default is Empty and p.kind not in VARIADIC) for p in parameters)


def decorators(function: Function) -> set[str]:
    return {ast.unparse(decorator) for decorator in function.decorator_list}


class Stub:
    """The classes and functions of a stub file, by name."""

    def __init__(self, path: Path) -> None:
        body = ast.parse(path.read_text()).body
        self.classes = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
        self.functions: dict[str, list[Function]] = {}
        for node in body:
            if isinstance(node, Function):
                self.functions.setdefault(node.name, []).append(node)

    def bases(self, name: str) -> list[str]:
        return [ast.unparse(base).split("[")[0] for base in self.classes[name].bases]

    def members(self, name: str) -> dict[str, list[Function]]:
        """Functions of a class, inherited ones included; overloads of one name together."""
        found: dict[str, list[Function]] = {}
        for base in self.bases(name):
            if base in self.classes:
                found |= self.members(base)
        own: dict[str, list[Function]] = {}
        for node in self.classes[name].body:
            if isinstance(node, Function):
                own.setdefault(node.name, []).append(node)
        return found | own

    def attributes(self, name: str) -> list[str]:
        body = self.classes[name].body
        return [
            node.target.id for node in body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        ]


contract = Stub(CONTRACT)
native = Stub(STUB)


def actual(cls: Any, name: str) -> list[Signature]:
    """The signatures that ``cls.name`` has; a native class's are those of its stub, held true by stubtest."""
    if getattr(_core, cls.__name__, None) is cls:
        members = native.members(cls.__name__)
        functions = members.get(name) or (members.get("__new__") if name == "__init__" else None) or []
        return [written(function, bound="staticmethod" not in decorators(function)) for function in functions]
    function = inspect.getattr_static(cls, name)
    if isinstance(function, classmethod | staticmethod):
        return [running(getattr(cls, name), bound=False)]
    return [running(function, bound=True)]


# ── comparing them ──────────────────────────────────────────────────────────────────────────────────────────────────


def disagreement(promised: Signature, given: Signature) -> str | None:
    """Say how ``given`` breaks a call that ``promised`` allows, arguments that are absent as yet left out."""
    by_name = {parameter.name: parameter for parameter in given}
    names = {parameter.name for parameter in promised}
    missing = [parameter for parameter in promised if parameter.name not in by_name and parameter.kind not in VARIADIC]
    extra = [parameter for parameter in given if parameter.name not in names and parameter.kind not in VARIADIC]
    for parameter in missing:
        if parameter.required or parameter.name == "timeout":
            return f"{parameter.name} is missing"
    for parameter in extra:
        if parameter.required:
            return f"{parameter.name} is required and not in the contract"
    for parameter in promised:
        there = by_name.get(parameter.name, parameter)
        if there.kind != parameter.kind:
            return f"{parameter.name} is {there.kind.description}, not {parameter.kind.description}"
        if there.required != parameter.required:
            return f"{parameter.name} {'has no' if there.required else 'has a'} default"
    positions = [parameter.name for parameter in given if parameter.kind in POSITIONAL]
    shared = [parameter.name for parameter in promised if parameter.kind in POSITIONAL and parameter.name in by_name]
    if positions[: len(shared)] != shared:
        return f"positions are {positions}, not {shared}"
    if len(positions) > len(shared) and any(parameter.kind in POSITIONAL for parameter in missing):
        return f"{positions[len(shared)]} stands where the contract has another name"
    return None


def promised_signatures(name: str, functions: list[Function]) -> Iterator[Signature]:
    if name not in {"create", "open_or_create"}:
        yield from (written(function, bound=True) for function in functions)
        return
    keyword_only = inspect.Parameter.KEYWORD_ONLY
    for constructor in functions:
        parameters = written(constructor, bound=True)
        places = [Parameter(place, keyword_only, required=False) for place in ("space", "mode")]
        yield (Parameter("name", POSITIONAL[1], required=True), *parameters, *places)


def promised_members(cls: str) -> dict[str, list[Function]]:
    """Methods that the contract gives a class; ``create`` and ``open_or_create`` follow its constructor."""
    members = contract.members(cls)
    if not any(isinstance(node, Function) and node.name == "__init__" for node in contract.classes[cls].body):
        members.pop("__init__", None)  # nobody makes a Request, though its base is a Message that everybody makes
    if "SharedObject" in contract.bases(cls) and "__init__" in members:
        members = members | dict.fromkeys(("create", "open_or_create"), members["__init__"])
    return {name: found for name, found in members.items() if name == "__init__" or not name.startswith("__")}


def exported(names: dict[str, Any]) -> list[str]:
    return [name for name in names if hasattr(underpass, name)]


METHODS = [
    pytest.param(name, member, id=f"{name}.{member}")
    for name in exported(contract.classes)
    for member in promised_members(name)
    if member != "__init__" or not issubclass(getattr(underpass, name), Exception)
    if hasattr(getattr(underpass, name), member)
]


@pytest.mark.parametrize(("name", "member"), METHODS)
def test_method_agrees(name: str, member: str) -> None:
    cls = getattr(underpass, name)
    functions = promised_members(name)[member]
    if "property" in decorators(functions[0]):
        assert not callable(inspect.getattr_static(cls, member)), "the contract has a property"
        return
    given = actual(cls, member)
    assert given, f"no signature of {name}.{member} is known: it is not in the stub"
    wrongs = [disagreement(promised, given[0]) for promised in promised_signatures(member, functions)]
    assert None in wrongs, wrongs[0]


@pytest.mark.parametrize("name", exported(contract.functions))
def test_function_agrees(name: str) -> None:
    given = running(getattr(underpass, name), bound=False)
    wrongs = [disagreement(written(function, bound=False), given) for function in contract.functions[name]]
    assert None in wrongs, wrongs[0]


@pytest.mark.parametrize("name", [name for name in contract.classes if hasattr(errors, name)])
def test_error_agrees(name: str) -> None:
    cls: type[Exception] = getattr(errors, name)
    ancestors = {ancestor.__name__ for ancestor in cls.__mro__}
    assert set(contract.bases(name)) <= ancestors
    error = cls("what happened")
    for ancestor in ancestors & set(contract.classes):
        for attribute in contract.attributes(ancestor):
            assert hasattr(error, attribute), f"{attribute} has no default"


def test_what_is_built_does_not_vanish() -> None:
    assert not [name for name in BUILT if not hasattr(underpass, name)]
    assert not [name for name in BUILT_IN_SYNC if name not in sync.__all__]
    assert not [name for name in BUILT_IN_DATA if name not in data.__all__]


@pytest.mark.parametrize(
    ("promised", "given"),
    [
        ("def f(value, *, limit=None): ...", "def f(count, *, limit=None): ..."),
        ("def f(count=1): ...", "def f(n=1): ..."),
        ("def f(data, *, timeout=None): ...", "def f(data): ..."),
        ("def f(data, *, timeout=None): ...", "def f(data, timeout=None): ..."),
        ("def f(data, *, timeout=None): ...", "def f(data, *, timeout): ..."),
        ("def f(data, *, timeout=None): ...", "def f(data, *, peer, timeout=None): ..."),
        ("def f(a=1, b=2): ...", "def f(b=2, a=1): ..."),
        ("def f(a=1, b=2): ...", "def f(x=1, b=2): ..."),
        ("def f(a=1): ...", "def f(a=1, /): ..."),
    ],
)
def test_a_planted_disagreement_is_found(promised: str, given: str) -> None:
    assert disagreement(read(promised), read(given)) is not None


@pytest.mark.parametrize(
    ("promised", "given"),
    [
        ("def f(data, *, priority=0, timeout=None): ...", "def f(data, *, timeout=None): ..."),
        ("def f(a, b=2): ...", "def f(a, b=2, *, c=3): ..."),
        ("def f(a): ...", "def f(a, b=2): ..."),
    ],
)
def test_what_is_absent_or_added_agrees(promised: str, given: str) -> None:
    assert disagreement(read(promised), read(given)) is None


def read(source: str) -> Signature:
    (function,) = ast.parse(source).body
    assert isinstance(function, Function)
    return written(function, bound=False)
