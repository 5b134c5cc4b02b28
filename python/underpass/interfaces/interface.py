"""The base class of interfaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Interface"]


class Interface:
    """What a server can be asked, as a class: subclass it and write annotated methods.

    Every public method is one call. All its parameters and its result are annotated with types that msgspec knows:
    numbers, ``str``, ``bytes``, ``None``, containers and unions of them, enums, dataclasses, TypedDicts,
    ``msgspec.Struct``, ``datetime``, ``UUID``. Annotations are read when the interface is first served or called.
    ``-> None`` sends no result: whatever the method returns, the caller gets None.

    A server subclasses the interface again and writes the bodies; a type checker checks them as overrides. It may have
    further public methods: they are no part of the interface, and served only to who connects with the server's class.

    A proxy from `underpass.connect` is an instance of the interface whose methods call. Both are context managers:
    leaving gives a proxy's channel back at once, where otherwise that happens when the proxy is collected; an
    implementation may override ``__enter__`` and ``__exit__`` for its own needs.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None, /
    ) -> None:
        return None
