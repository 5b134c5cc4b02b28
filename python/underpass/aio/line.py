"""Tasks of one loop that wait for one thing, in order of arrival."""

from collections.abc import Awaitable
from typing import Any, Protocol


class Sleeper(Protocol):
    """A task that waits, as its loop puts it to sleep."""

    def sleep(self) -> Awaitable[None]:
        """Sleep until woken, the first time also before."""
        ...

    def wake(self) -> None:
        """End the sleep. More than once is as good as once; between two sleeps it is as good as none."""
        ...


class Line:
    """Who waits, first come first.

    Invariant: while a line has sleepers, its member is in the loop's `WaitSet`. What is ready stays so until it was taken, and is told
    again at each turn of the loop: so it is enough to wake the first, and a wake that the first cannot use is not lost.
    """

    __slots__ = ("key", "member", "sleepers", "together")

    def __init__(self, key: object, member: Any, *, together: bool) -> None:
        self.key: object = key
        self.member: Any = member
        self.together: bool = together
        self.sleepers: dict[Sleeper, None] = {}
