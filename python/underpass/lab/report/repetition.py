"""Where a sequence goes in a circle."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import msgspec

__all__ = ["Cycle", "cycles"]

# The longest circle that is looked for: eight processes that take four steps each.
_LONGEST = 32
# A circle that is gone around less often is told as it is.
_LEAST = 3


class Cycle(msgspec.Struct, frozen=True):
    """``length`` items from ``first`` on, and the same again until they have come ``times`` times; ``times`` is 1 of what is no circle."""

    first: int
    length: int
    times: int


def cycles(items: Sequence[Hashable]) -> Iterator[Cycle]:
    """Divide a sequence into circles and single items, in order.

    Example:
        >>> [(cycle.length, cycle.times) for cycle in cycles("xabababy")]
        [(1, 1), (2, 3), (1, 1)]
    """
    # Compared often: as numbers.
    numbers: dict[Hashable, int] = {}
    codes = [numbers.setdefault(item, len(numbers)) for item in items]
    place = 0
    while place < len(codes):
        found = max(
            (Cycle(place, length, _times(codes, place, length)) for length in range(1, _LONGEST + 1)),
            # What covers most; of those the shortest, which is no circle gone around twice.
            key=lambda cycle: (cycle.length * cycle.times if cycle.times >= _LEAST else 0, -cycle.length),
        )
        if found.times < _LEAST:
            found = Cycle(place, 1, 1)
        yield found
        place += found.length * found.times


def _times(codes: list[int], place: int, length: int) -> int:
    """Count how often in a row the items from ``place`` on come."""
    again = place + length
    while again < len(codes) and codes[again] == codes[again - length]:
        again += 1
    return (again - place) // length
