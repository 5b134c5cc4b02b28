"""Text on a terminal: how many cells it takes, and how it is made to fit."""

from __future__ import annotations

import unicodedata

__all__ = ["clean", "pad", "shorten", "shorten_left", "wide", "wrap"]

_EMOJI = "\ufe0f"  # asks for the picture of the character before it, which is a cell wider

# Wide since Unicode 16, which some terminals follow and Python before 3.14 does not know: hexagrams and their kin.
_WIDE_SINCE_16 = frozenset(
    letter
    for first, last in ((0x2630, 0x2637), (0x268A, 0x268F), (0x4DC0, 0x4DFF), (0x1D300, 0x1D356), (0x1D360, 0x1D376))
    for letter in map(chr, range(first, last + 1))
)


def clean(text: str) -> str:
    """Write what a terminal would obey, hide or refuse as the escape that Python has for it."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


def wide(text: str) -> int:
    """Return how many cells the text takes at most."""
    if text.isascii():
        return len(text)
    return sum(map(_cells, text))


def _cells(letter: str) -> int:
    if letter == _EMOJI:
        return 1
    if unicodedata.category(letter) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(letter) in {"W", "F"} or letter in _WIDE_SINCE_16 else 1


def pad(text: str, width: int) -> str:
    """Fill up with blanks."""
    return text + " " * (width - wide(text))


def shorten(text: str, width: int) -> str:
    """Cut the end off, with … in its place, if the text does not fit."""
    if wide(text) <= width:
        return text
    return _head(text, width - 1) + "…" * (width > 0)


def shorten_left(text: str, width: int) -> str:
    """Cut the beginning off: of a place, the line number matters more than the folder."""
    if wide(text) <= width:
        return text
    return "…" * (width > 0) + _head(text[::-1], width - 1)[::-1]


def _head(text: str, width: int) -> str:
    taken = 0
    for index, letter in enumerate(text):
        taken += _cells(letter)
        if taken > width:
            return text[:index]
    return text


def wrap(text: str, width: int, lines: int | None = None) -> list[str]:
    """Break into lines, at blanks where that leaves them more than half full; what is beyond ``lines`` of them is cut."""
    found: list[str] = []
    rest = text.strip()
    while rest and wide(rest) > width:
        if lines is not None and len(found) == lines - 1:
            break
        head = _head(rest, width) or rest[0]
        blank = head.rfind(" ") if rest[len(head)] != " " else len(head)
        if blank * 2 > len(head):
            head = rest[:blank]
        found.append(head)
        rest = rest[len(head) :].lstrip()
    return [*found, shorten(rest, width)] if rest else found
