"""The base class of interfaces."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Interface", "is_oneway", "oneway"]

F = TypeVar("F", bound=Callable[..., None])

_ONEWAY = "__underpass_oneway__"


def oneway(method: F) -> F:
    """Mark a method of an interface whose callers do not wait for its end.

    A call returns once the server has taken it and read its arguments, and before the method runs: at most once, and in the order of
    the calls if one thread serves. Wrong arguments and a server that dies before it has taken the call are the caller's errors, as
    with every call. What the method raises nobody waits for: the server writes it to the log ``underpass``, with its traceback, and goes
    on. If the server dies later, the call may not have been carried out, and nobody is told.

    Mark it in the interface; an override in the implementation need not repeat it. The method is annotated ``-> None``.

    Example:
        >>> import underpass
        >>> class Log(underpass.Interface):
        ...     @underpass.oneway
        ...     def note(self, text: str) -> None:
        ...         raise NotImplementedError
    """
    setattr(method, _ONEWAY, True)
    return method


def is_oneway(function: object) -> bool:
    """Say whether a function was marked."""
    return getattr(function, _ONEWAY, False) is True


class Interface:
    """What a server can be asked, as a class: subclass it and write annotated methods.

    Every public method is one call. All its parameters and its result are annotated with types that msgspec knows:
    numbers, ``str``, ``bytes``, ``None``, containers and unions of them, enums, dataclasses, TypedDicts,
    ``msgspec.Struct``, ``datetime``, ``UUID``. Annotations are read when the interface is first served or called.
    Both sides check what they send, and refuse what is of another type, also where the wire could not tell: a dict is no dataclass, a str
    no member of an enum, a tuple no list, a bool no int. What a type checker accepts goes, and arrives as the declared class: an
    instance of a subclass, an int for a ``float``, a tuple or a list for a ``Sequence`` (a list arrives), a set or a frozenset for a
    ``collections.abc.Set`` (a set arrives). What is passed as ``Any`` arrives in its plain form, a dataclass as a dict.
    ``-> None`` sends no result: whatever the method returns, the caller gets None. `oneway` marks a method whose callers do not wait.

    ``bytes``, ``bytearray``, ``memoryview`` and ``numpy.ndarray`` (also ``NDArray[...]``, whose type of items is checked) travel beside the
    message when they are a whole argument or the whole result, alone or ``| None``: they are copied into the shared memory once, and
    out of it once. A ``memoryview`` and an array that arrive are read-only views of what was received (``array.copy()`` is writable);
    ``bytes`` and ``bytearray`` are cut out of it, which is one copy more. A bytes-like object goes wherever one of the three is expected;
    arrays of Python objects and of structures, and arrays inside of containers, do not travel.

    A server subclasses the interface again and writes the bodies; a type checker checks them as overrides. It may have
    further public methods: they are no part of the interface, and served only to who connects with the server's class.

    A proxy from `underpass.connect` is an instance of the interface whose methods call. Both are context managers:
    leaving gives a proxy's channel back at once, where otherwise that happens when the proxy is collected; an
    implementation may override ``__enter__`` and ``__exit__`` for its own needs.

    Example:
        >>> import underpass
        >>> class Desk(underpass.Interface):
        ...     def add(self, a: int, b: int) -> int:
        ...         raise NotImplementedError
        >>> class Clerk(Desk):
        ...     def add(self, a: int, b: int) -> int:
        ...         return a + b
        >>> with underpass.serving(Clerk(), at="doc/interface"):  # in one process
        ...     with underpass.connect(Desk, "doc/interface") as desk:  # in another
        ...         desk.add(1, 2)
        3
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None, /
    ) -> None:
        return None

    def __repr__(self) -> str:
        cls = type(self)
        served = [base.__name__ for base in cls.__mro__ if Interface in base.__bases__ and base is not cls]
        return f"<{cls.__name__}, an implementation of {' and '.join(served)}>" if served else f"<{cls.__name__}>"
