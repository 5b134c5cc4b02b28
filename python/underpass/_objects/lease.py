"""An object being worked on."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

# ruff: noqa: SLF001 - what a block does for its message is nobody else's to ask for
if TYPE_CHECKING:
    from underpass._core import Block, Lease
    from underpass._objects.coding import Coder

__all__ = ["ObjectLease"]

T = TypeVar("T")

_UNREAD: Any = object()


class ObjectLease(Generic[T]):
    """An object being worked on. A normal exit is ``done``, an exception ``put_back``, the process's death puts it back in front.

    What it reads in place, the arrays of a long object, is read-only, since another may get it yet. After ``done`` it stays as long as
    somebody looks at it, and the block goes with the last view. After an exception it is another's, who may write it: copy inside the
    block what an error message is to show. A lease that is forgotten with all that was read is put back.

    Example:
        >>> import underpass
        >>> jobs = underpass.ObjectQueue()
        >>> jobs.put({"frame": 7})
        >>> with jobs.take(timeout=1) as job:
        ...     job.value
        {'frame': 7}
    """

    __slots__ = ("_block", "_coder", "_is_settled", "_lease", "_value")

    def __init__(self, coder: Coder, lease: Lease[memoryview], block: Block | None) -> None:
        self._coder = coder
        self._lease = lease
        self._block = block
        self._value: T = _UNREAD
        self._is_settled = False

    @property
    def value(self) -> T:
        """The object, decoded when it is first asked for: what that raises leaves the lease as it is."""
        if self._value is _UNREAD:
            self._value = self._read(writable=False)
        return self._value

    @property
    def deliveries(self) -> int:
        """How often it was delivered; 1 the first time."""
        return self._lease.deliveries

    def done(self) -> None:
        """End the lease: the object is gone from the queue. Raises MisuseError if the lease was settled before."""
        self._value = _UNREAD
        block, self._block = self._block, None
        if block is not None:
            # Before the message ends: one that comes back is void, and its block the dead one's, or nobody's.
            block._adopt()
        self._lease.done()
        self._is_settled = True

    def put_back(self, *, front: bool = True) -> None:
        """Put the object back: to the front, or behind all others.

        Raises:
            MisuseError: Something still looks at its block, or the lease was settled before.
        """
        self._value = _UNREAD
        if self._block is not None:
            self._block._leave()
            self._block = None
        self._lease.put_back(front=front)
        self._is_settled = True

    def _get(self) -> T:
        """Return the object, to be written as well, and end the lease: what `ObjectQueue.get` does.

        What cannot be decoded is gone. If the process has no memory for it, or is interrupted, the object is put back.
        """
        try:
            value = self._own()
        except (MemoryError, KeyboardInterrupt, SystemExit, GeneratorExit):
            self._give_up()
            raise
        except BaseException:
            self.done()
            raise
        self.done()
        return value

    def _own(self) -> T:
        """Decode the object for one who will say done before anybody else sees it."""
        return self._read(writable=True)

    def _read(self, *, writable: bool) -> T:
        if self._block is None:
            # Short: the views of a slot would end with the lease.
            return cast("T", self._coder.read(memoryview(bytearray(self._lease.value))))
        message = memoryview(self._block)
        return cast("T", self._coder.read(message if writable else message.toreadonly()))

    def _give_up(self) -> None:
        """Put the object back though a traceback may still look at it, which shows then what others make of it."""
        self._value, self._block = _UNREAD, None
        self._lease.put_back()
        self._is_settled = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._is_settled:
            return
        if exc_type is None:
            self.done()
        else:
            self._give_up()

    def __repr__(self) -> str:
        return f"<ObjectLease over {self._lease!r}>"
