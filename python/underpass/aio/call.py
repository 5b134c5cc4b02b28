"""A call that was started in a `finish` block, and what became of it."""

from typing import Generic, Literal, TypeVar, cast

from underpass.errors import MisuseError

T = TypeVar("T")

State = Literal["running", "returned", "raised", "cancelled"]


class Call(Generic[T]):
    """What `Finish.start` returns.

    Example:
        >>> import asyncio, underpass.aio
        >>> async def main():
        ...     jobs = underpass.aio.Queue()
        ...     async with underpass.aio.finish() as both:
        ...         job = both.start(jobs.get)
        ...         both.start(jobs.put, b"wheel")
        ...     return job.result()
        >>> asyncio.run(main())
        b'wheel'
    """

    __slots__ = ("_error", "_state", "_value", "name")

    def __init__(self, name: str) -> None:
        #: What was called.
        self.name: str = name
        self._state: State = "running"
        self._value: T | None = None
        self._error: BaseException | None = None

    @property
    def state(self) -> State:
        """``"running"`` until it ended; then ``"returned"``, ``"raised"`` or ``"cancelled"``."""
        return self._state

    def result(self) -> T:
        """Return what the call returned.

        Raises:
            MisuseError: It has not ended, or was cancelled.
            Exception: What the call raised.
        """
        if self._state == "raised" and self._error is not None:
            raise self._error
        if self._state != "returned":
            why = "it was cancelled" if self._state == "cancelled" else "it has not ended: ask after the finish block"
            raise MisuseError(f"{self.name} has no result: {why}")
        return cast("T", self._value)

    def returned(self, value: T) -> None:
        """Take note of its end."""
        self._state, self._value = "returned", value

    def raised(self, error: Exception) -> None:
        """Take note of its end."""
        self._state, self._error = "raised", error

    def cancelled(self) -> None:
        """Take note of its end."""
        self._state = "cancelled"

    def __repr__(self) -> str:
        return f"<Call {self.name} {self._state}>"
