"""The proof: an index built without underpass, compared posting by posting with the one that the server has."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from underpass.tools.demo.corpus import lines
from underpass.tools.demo.index import LINE_BITS, Cursor
from underpass.tools.demo.tokens import replaced_in, words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from underpass.tools.demo.corpus import Corpus
    from underpass.tools.demo.index import Index

__all__ = ["Difference", "Reference", "Verdict", "build", "compare", "postings_of"]

# How many differences are kept to be shown.
_SHOWN = 5


class Reference(NamedTuple):
    """One pass over the corpus, indexed in this process: each term's postings in order, and the undecodable places."""

    postings: Mapping[str, array[int]]
    replaced: int


class Difference(NamedTuple):
    """A posting that is there another number of times than it should be."""

    term: str
    document: int
    line: int
    expected: int
    found: int


@dataclass(slots=True)
class Verdict:
    """What the comparison found; every posting of every round was looked at."""

    postings: int = 0
    lost: int = 0
    twice: int = 0  # or foreign
    differences: list[Difference] = field(default_factory=list[Difference])

    @property
    def holds(self) -> bool:
        """Whether nothing was lost and nothing counted twice."""
        return not self.lost and not self.twice


def build(corpus: Corpus, tick: Callable[[int], None]) -> Reference:
    """Index the corpus line by line, the plain way; ``tick`` gets the bytes of each file done.

    Raises:
        CorpusError: A file is not any more what the workers saw.
    """
    postings: dict[str, array[int]] = {}
    replaced = 0
    for document, file in enumerate(corpus.files):
        for number, line in lines(file.read()):
            decoded = line.decode(errors="replace")
            replaced += replaced_in(line, decoded)
            posting = document << LINE_BITS | number
            for word in words(decoded):
                term = word.casefold()
                if term in postings:
                    postings[term].append(posting)
                else:
                    postings[term] = array("Q", (posting,))
        tick(file.size)
    return Reference(postings, replaced)


def postings_of(index: Index) -> Iterator[tuple[str, bytes]]:
    """Read the whole index from the server: each term once, with all its postings, packed and in order."""
    cursor: Cursor | None = Cursor(0, 0)
    term, parts = "", list[bytes]()
    while cursor is not None:
        page = index.read(cursor)
        for word, packed in page.pieces:
            if word != term and parts:
                yield term, b"".join(parts)
                parts = []
            term = word
            parts.append(packed)
        cursor = page.following
    if parts:
        yield term, b"".join(parts)


def compare(
    reference: Mapping[str, array[int]], found: Iterable[tuple[str, bytes]], rounds: int, files: int
) -> Verdict:
    """Compare all postings of all rounds: ``files`` documents each, whose postings are the reference's.

    Args:
        reference: Each term's postings of one round, in order.
        found: Each term's postings of all rounds, packed and in order.
        rounds: How many rounds there were.
        files: How many documents a round has.
    """
    verdict = Verdict()
    missing = dict(reference)
    for term, packed in found:
        expected = _repeated(missing.pop(term, array("Q")), rounds, files)
        verdict.postings += len(packed) // expected.itemsize
        if packed != expected.tobytes():
            _judge(verdict, term, expected, array("Q", packed))
    for term, once in missing.items():
        _judge(verdict, term, _repeated(once, rounds, files), array("Q"))
    return verdict


def _repeated(once: array[int], rounds: int, files: int) -> array[int]:
    every = array("Q", once)
    for round_ in range(1, rounds):
        shift = round_ * files << LINE_BITS
        every.extend([posting + shift for posting in once])
    return every


def _judge(verdict: Verdict, term: str, expected: array[int], found: array[int]) -> None:
    right, there = Counter(expected), Counter(found)
    verdict.lost += (right - there).total()
    verdict.twice += (there - right).total()
    for posting in sorted(right | there):
        if right[posting] != there[posting] and len(verdict.differences) < _SHOWN:
            document, line = posting >> LINE_BITS, posting & ((1 << LINE_BITS) - 1)
            verdict.differences.append(Difference(term, document, line, right[posting], there[posting]))
