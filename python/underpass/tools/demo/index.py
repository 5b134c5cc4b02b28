"""The index server: its interface, the messages of it, and what answers."""

from __future__ import annotations

from array import array
from collections import Counter, deque
from typing import NamedTuple

import msgspec

from underpass import Interface

__all__ = [
    "LINE_BITS",
    "MESSAGE_SIZE",
    "Again",
    "Cursor",
    "Found",
    "Index",
    "IndexServer",
    "Page",
    "Place",
    "Progress",
    "Work",
]

# The postings of one chunk, at their longest: 30,720 words of one letter, each with a line of at most 5 bytes, and terms that grow to three
# times their size when they are casefolded. Rounded up.
MESSAGE_SIZE = 512 * 1024

# A posting is one number: the document above, the line below.
LINE_BITS = 32

# How many bytes of postings one reply carries.
_PAGE_BYTES = MESSAGE_SIZE // 2
_LATENCIES = 4096


class Place(NamedTuple):
    """Which chunk: every pass over the corpus counts anew."""

    round: int
    file: int
    chunk: int


class Work(msgspec.Struct, frozen=True, array_like=True):
    """What a worker says about the chunk whose postings it sends."""

    place: Place
    document: int  # numbered through all rounds
    last: bool  # the file's last chunk
    size: int
    replaced: int  # undecodable places
    deliveries: int  # 1 the first time
    worker: int  # its pid
    previous: int  # ns that its previous call took, 0 if it was the first


class Progress(msgspec.Struct, frozen=True, array_like=True):
    """What has been applied so far."""

    files: int
    chunks: int
    size: int
    postings: int
    terms: int
    calls: int
    replaced: int
    latency: float  # s, median of the latest calls
    latency_p99: float


class Again(msgspec.Struct, frozen=True, array_like=True):
    """A chunk that came more than once, since a worker had died with it."""

    place: Place
    deliveries: int
    worker: int
    was_applied: bool  # then the second delivery changed nothing


class Cursor(NamedTuple):
    """A place in the whole index: which term, and which of its postings."""

    term: int
    posting: int


class Page(msgspec.Struct, frozen=True, array_like=True):
    """A part of the whole index: terms in order, each with some of its postings, packed and in order."""

    pieces: list[tuple[str, bytes]]
    following: Cursor | None


class Found(msgspec.Struct, frozen=True, array_like=True):
    """A query's answer: how often, in how many documents, and the first places as (document, line)."""

    postings: int
    documents: int
    places: list[tuple[int, int]]


class Index(Interface):
    """What workers and the demo ask of the index server."""

    def add(self, work: Work, postings: dict[str, list[int]]) -> bool:
        """Apply a chunk's postings, once: False if they were applied before."""
        raise NotImplementedError

    def progress(self) -> Progress:
        """Say what has been applied."""
        raise NotImplementedError

    def again(self) -> list[Again]:
        """Say what was delivered more than once."""
        raise NotImplementedError

    def look_up(self, term: str, limit: int) -> Found:
        """Answer a query."""
        raise NotImplementedError

    def most_common(self, limit: int) -> list[str]:
        """Name the terms with the most postings."""
        raise NotImplementedError

    def read(self, cursor: Cursor) -> Page:
        """Read the whole index, page by page, from ``Cursor(0, 0)``."""
        raise NotImplementedError


class IndexServer(Index):
    """The index, in memory.

    Args:
        alter: Falsify one posting, so that the tests see the proof fail.
    """

    def __init__(self, *, alter: bool = False) -> None:
        self._alter = alter
        self._postings: dict[str, array[int]] = {}
        self._applied: set[Place] = set()
        self._again: list[Again] = []
        self._latencies: deque[int] = deque(maxlen=_LATENCIES)
        self._counts: Counter[str] = Counter()
        self._order: list[str] = []

    def add(self, work: Work, postings: dict[str, list[int]]) -> bool:
        """Apply a chunk's postings, once."""
        counts = self._counts
        counts["calls"] += 1
        if work.previous:
            self._latencies.append(work.previous)
        was_applied = work.place in self._applied
        if work.deliveries > 1:
            self._again.append(Again(work.place, work.deliveries, work.worker, was_applied))
        if was_applied:
            return False
        self._applied.add(work.place)
        if self._alter and postings:
            self._alter = False
            next(iter(postings.values()))[0] += 1
        document = work.document << LINE_BITS
        index = self._postings
        for term, lines in postings.items():
            added = [document + line for line in lines]
            if term in index:
                index[term].extend(added)
            else:
                index[term] = array("Q", added)
            counts["postings"] += len(added)
        counts["files"] += work.last
        counts["size"] += work.size
        counts["replaced"] += work.replaced
        return True

    def progress(self) -> Progress:
        """Say what has been applied."""
        counts = self._counts
        latencies = sorted(self._latencies) or [0]
        return Progress(
            files=counts["files"],
            chunks=len(self._applied),
            size=counts["size"],
            postings=counts["postings"],
            terms=len(self._postings),
            calls=counts["calls"],
            replaced=counts["replaced"],
            latency=latencies[len(latencies) // 2] / 1e9,
            latency_p99=latencies[len(latencies) * 99 // 100] / 1e9,
        )

    def again(self) -> list[Again]:
        """Say what was delivered more than once."""
        return self._again

    def look_up(self, term: str, limit: int) -> Found:
        """Answer a query."""
        postings = sorted(self._postings.get(term.casefold(), ()))
        places = [(posting >> LINE_BITS, posting & ((1 << LINE_BITS) - 1)) for posting in postings[:limit]]
        return Found(len(postings), len({posting >> LINE_BITS for posting in postings}), places)

    def most_common(self, limit: int) -> list[str]:
        """Name the terms with the most postings."""
        by_count = sorted(self._postings, key=lambda term: (-len(self._postings[term]), term))
        return by_count[:limit]

    def read(self, cursor: Cursor) -> Page:
        """Read a page; the first one puts all terms in order."""
        if cursor == (0, 0):
            self._order = sorted(self._postings)
        pieces: list[tuple[str, bytes]] = []
        room = _PAGE_BYTES
        term, posting = cursor
        while term < len(self._order):
            word = self._order[term]
            if posting == 0:
                # Chunks arrive in any order; once in order, a term stays so.
                self._postings[word] = array("Q", sorted(self._postings[word]))
            packed = self._postings[word][posting : posting + max(1, room // 8)]
            pieces.append((word, packed.tobytes()))
            room -= len(packed) * 8 + len(word) * 4 + 16
            posting += len(packed)
            if posting < len(self._postings[word]):
                return Page(pieces, Cursor(term, posting))
            term, posting = term + 1, 0
            if room <= 0:
                return Page(pieces, Cursor(term, 0))
        return Page(pieces, None)
