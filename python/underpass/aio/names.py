"""Names that come to a space, as something that a loop waits for."""

from underpass.memory import News, Space


class Names:
    """Ready while a name has come of which nobody has taken notice; it has a descriptor until it is closed."""

    __slots__ = ("_news",)

    def __init__(self, space: Space | None) -> None:
        self._news: News | None = News(space)

    def fileno(self) -> int:
        """Return the descriptor."""
        if self._news is None:
            raise ValueError("nobody waits for these names any more")
        return self._news.fileno()

    def take(self) -> None:
        """Take notice: whoever looks after that finds what has come before."""
        if self._news is not None:
            self._news.take()

    def close(self) -> None:
        """Let the descriptor go, which the exception of a task may keep for long."""
        self._news = None
