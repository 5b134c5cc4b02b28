"""Words and where they stand, for one chunk."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Tokens", "replaced_in", "tokenise", "words"]

_WORD = re.compile(r"\w+")
_WORD_OR_LINE_END = re.compile(r"\w+|\n")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Tokens(NamedTuple):
    """The lines of each term, one entry for each time it stands there, and how many undecodable places were replaced."""

    postings: dict[str, list[int]]
    replaced: int


def tokenise(text: Buffer, first_line: int) -> Tokens:
    """Find all words of a chunk of UTF-8: runs of letters, digits and underscores, casefolded."""
    decoded = str(text, "utf-8", "replace")
    plain = decoded.isascii()
    # ASCII folds letter by letter, so it may be folded whole; elsewhere folding could change what a word is.
    line = first_line
    postings: dict[str, list[int]] = {}
    for word in _WORD_OR_LINE_END.findall(decoded.lower() if plain else decoded):
        if word == "\n":
            line += 1
        elif word in postings:
            postings[word].append(line)
        else:
            postings[word] = [line]
    if plain:
        return Tokens(postings, 0)
    return Tokens(_folded(postings), replaced_in(text, decoded))


def words(decoded: str) -> list[str]:
    """Find the words of one line, one by one: what `tokenise` does for a whole chunk has to come to the same."""
    return _WORD.findall(decoded)


def _folded(postings: dict[str, list[int]]) -> dict[str, list[int]]:
    folded: dict[str, list[int]] = {}
    for word, places in postings.items():
        folded.setdefault(word.casefold(), []).extend(places)
    return folded


def replaced_in(text: Buffer, decoded: str) -> int:
    """Count the places that could not be decoded; a replacement character that the text itself holds is none."""
    marks = decoded.count(_REPLACEMENT)
    return marks - bytes(text).count(_REPLACEMENT.encode()) if marks else 0
