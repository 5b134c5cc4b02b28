"""`underpass.data.Stack`, awaitable."""

from underpass import data
from underpass.aio.face import Face
from underpass.aio.running import reactor
from underpass.memory import Space


class Stack(Face[data.Stack]):
    """A stack for coroutines: ``aio.Stack(capacity)``, or ``stack.aio``.

    Threads that wait are handed what is pushed; tasks take what is on the stack then.

    Example:
        >>> import asyncio, underpass.aio
        >>> async def main():
        ...     free = underpass.aio.Stack(8)
        ...     free.push(1)
        ...     free.push(2)
        ...     return await free.pop()
        >>> asyncio.run(main())
        2
    """

    __slots__ = ()

    def __init__(self, capacity: int) -> None:
        super().__init__(data.Stack(capacity))

    @classmethod
    def create(cls, name: str, capacity: int, *, space: Space | None = None, mode: int | None = None) -> "Stack":
        """Make a named stack. Raises ExistsError if the name is taken."""
        return cls.over(data.Stack.create(name, capacity, space=space, mode=mode))

    @classmethod
    def open(cls, name: str, *, space: Space | None = None) -> "Stack":
        """Open a named stack. Raises NotFoundError."""
        return cls.over(data.Stack.open(name, space=space))

    @classmethod
    def open_or_create(
        cls, name: str, capacity: int, *, space: Space | None = None, mode: int | None = None
    ) -> "Stack":
        """Open the stack of that name, or make it. Raises MismatchError if it exists with another capacity."""
        return cls.over(data.Stack.open_or_create(name, capacity, space=space, mode=mode))

    def push(self, word: int) -> None:
        """Put a word on top, or hand it to a thread that waits: see `underpass.data.Stack.push`.

        Raises:
            WouldBlock: It is full.
        """
        self.sync.push(word)

    async def pop(self) -> int:
        """Take the word on top, waiting for one. A cancelled task has taken none.

        That whoever would push has died nobody is told: use the loop's deadlines.
        """
        return await reactor().wait(self.sync, lambda: self.sync, self.sync.pop_nowait)

    def pop_nowait(self) -> int:
        """Take the word on top, or raise WouldBlock at once."""
        return self.sync.pop_nowait()

    def purge(self) -> int:
        """Throw away all words that are on it, and return how many. Who waits goes on waiting."""
        return self.sync.purge()

    @property
    def depth(self) -> int:
        """Words on it now."""
        return self.sync.depth

    @property
    def capacity(self) -> int:
        """Words that it holds."""
        return self.sync.capacity

    def statistics(self) -> data.StackStatistics:
        """Return a frozen snapshot."""
        return self.sync.statistics()
