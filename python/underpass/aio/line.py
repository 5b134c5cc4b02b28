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

    Handles of one object have one line, and each is a member of its own. Invariant: while a line has sleepers, what each of them came with
    is in the loop's `WaitSet`. What is ready stays so until it was taken, and is told again at each turn of the loop: so it is enough to
    wake the first, and a wake that the first cannot use is not lost.
    """

    __slots__ = ("key", "members", "sleepers", "together")

    def __init__(self, key: object, *, together: bool) -> None:
        self.key: object = key
        self.together: bool = together
        #: Who waits, and the member that it came with.
        self.sleepers: dict[Sleeper, Any] = {}
        self.members: dict[Any, None] = {}

    def told_of(self, member: Any) -> list[Sleeper]:
        """Return who is to be woken when one of several members is ready: the first; or all, if they go together.

        A handle that was closed is ready for those alone who came with it: for nobody, if they have left.
        """
        if member.closed:
            return [sleeper for sleeper, its in self.sleepers.items() if its == member]
        return list(self.sleepers) if self.together else list(self.sleepers)[:1]
