"""What all faces are: an object, and a way to wait for it in a coroutine."""

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar

from underpass.aio import running
from underpass.memory import SharedObject

Plain = TypeVar("Plain", bound=SharedObject)


class Face(Generic[Plain]):
    """An object as coroutines use it; it stays the same object, here and elsewhere.

    A face keeps nothing of its own: two of one object are as good as one. It pickles as its object does.
    """

    __slots__ = ("sync",)

    def __init__(self, plain: Plain) -> None:
        #: The object itself, whose verbs block.
        self.sync: Plain = plain

    @classmethod
    def over(cls, plain: Plain) -> Self:
        """Return the face of an object that is there."""
        face = cls.__new__(cls)
        face.sync = plain
        return face

    @property
    def name(self) -> str | None:
        """The name; None if it is anonymous."""
        return self.sync.name

    @property
    def closed(self) -> bool:
        """True once the handle was closed."""
        return self.sync.closed

    def close(self) -> None:
        """End the handle; tasks of this loop that wait with it get ClosedError."""
        self.sync.close()
        running.look_again()

    def unlink(self) -> None:
        """Remove the name. Whoever has the object open keeps it."""
        self.sync.unlink()

    def __reduce__(self) -> tuple[Callable[[Any], Self], tuple[Plain]]:
        return type(self).over, (self.sync,)

    def __repr__(self) -> str:
        return f"<aio {repr(self.sync).removeprefix('<')}"
