"""What all faces are: an object, and a way to wait for it in a coroutine."""

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar

from underpass.aio import running
from underpass.errors import NotFoundError, WouldBlock
from underpass.memory import News, SharedObject, Space

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

    @classmethod
    def open(cls, name: str, *, space: Space | None = None) -> Self:
        """Open a named object. Raises NotFoundError."""
        raise TypeError(f"{cls.__name__} {name!r} of {space} cannot be opened by its name: see how one is made")

    @classmethod
    async def open_when_there(cls, name: str, *, space: Space | None = None) -> Self:
        """Open a named object, waiting until somebody makes it; a gate, until somebody receives at its port.

        What ``open`` of the object does with ``timeout=None``: the deadline is the event loop's own. The space's directory tells its
        loop of new names; each task that waits takes a descriptor for that. One that is cancelled has opened nothing.

        Raises:
            MismatchError: Something else has that name, or another layout version.
            OutOfSpaceError: No descriptor, or no watch of inotify, is left.
            MisuseError: In the lab, for a name of a space: of those only a directory tells, and nothing there reads one.

        Example:
            >>> import asyncio, underpass.aio
            >>> async def main():
            ...     async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            ...         jobs = group.create_task(underpass.aio.Queue.open_when_there("doc/jobs"))
            ...         await asyncio.sleep(0)
            ...         underpass.Queue.create("doc/jobs")
            ...     jobs.result().unlink()
            >>> asyncio.run(main())
        """
        # Listens before it looks, so that a name that comes in between is not missed.
        where, names = running.reactor(), News(space)

        def attempt() -> Self:
            names.take()
            try:
                return cls.open(name, space=space)
            except NotFoundError as missing:
                raise WouldBlock(str(missing)) from None

        try:
            return await where.wait(names, lambda: names, attempt)
        finally:
            where.let_go(names)
            names.close()

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
