"""A blocking verb as a single attempt."""

from collections.abc import Callable
from typing import TypeVar

from underpass.errors import TimedOut, WouldBlock

T = TypeVar("T")


def single(verb: Callable[[], T]) -> Callable[[], T]:
    """Return a verb that has no twin, with ``timeout=0``, as the twin that it would have."""

    def attempt() -> T:
        try:
            return verb()
        except TimedOut as late:
            raise WouldBlock(str(late)) from None

    return attempt
