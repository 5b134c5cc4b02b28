"""The proof: it holds for what is right, and for nothing else."""

from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from underpass.tools.demo import index, proof
from underpass.tools.demo.corpus import Corpus, chunks, gather
from underpass.tools.demo.index import Cursor, Index, IndexServer, Place, Work
from underpass.tools.demo.tokens import tokenise

ROUNDS = 3


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    (tmp_path / "a").write_text("one two two\nthree one\n")
    (tmp_path / "b").write_text("two\n\nthree three Three\n")
    (tmp_path / "c").write_text("word " * 30_000)
    return gather(tmp_path)


@pytest.fixture
def server(corpus: Corpus) -> IndexServer:
    """Hold the corpus, its chunks having come in an order of their own."""
    server = IndexServer()
    work: list[tuple[Work, dict[str, list[int]]]] = []
    for round_ in range(ROUNDS):
        for number, file in enumerate(corpus.files):
            for chunk in chunks(file.read()):
                found = tokenise(chunk.text, chunk.first_line)
                place, document = Place(round_, number, chunk.number), round_ * len(corpus.files) + number
                work.append((Work(place, document, chunk.last, len(chunk.text), 0, 1, 1, 0), found.postings))
    for done, postings in reversed(work):
        assert server.add(done, postings)
        assert not server.add(done, postings), "each chunk is applied once"
    return server


def verdict(corpus: Corpus, found: Iterator[tuple[str, bytes]]) -> proof.Verdict:
    reference = proof.build(corpus, lambda _: None)
    return proof.compare(reference.postings, found, ROUNDS, len(corpus.files))


def test_it_holds(corpus: Corpus, server: IndexServer) -> None:
    found = verdict(corpus, proof.postings_of(server))
    assert found.holds
    assert found.postings == server.progress().postings == ROUNDS * (5 + 4 + 30_000)
    assert server.progress().files == ROUNDS * 3


def altered(server: Index, term: str, change: Callable[[list[int]], object]) -> Iterator[tuple[str, bytes]]:
    """Read the index, with the postings of one term changed."""
    for word, packed in proof.postings_of(server):
        postings = list(array("Q", packed))
        if word == term:
            change(postings)
        yield word, array("Q", postings).tobytes()


def lose(postings: list[int]) -> None:
    del postings[1]


def repeat(postings: list[int]) -> None:
    postings.insert(0, postings[0])


def move(postings: list[int]) -> None:
    postings[-1] += 1


def clear(postings: list[int]) -> None:
    postings.clear()


@pytest.mark.parametrize(
    ("change", "lost", "twice"), [(lose, 1, 0), (repeat, 0, 1), (move, 1, 1), (clear, ROUNDS * 4, 0)]
)
def test_one_altered_posting_is_found(
    corpus: Corpus, server: IndexServer, change: Callable[[list[int]], object], lost: int, twice: int
) -> None:
    found = verdict(corpus, altered(server, "three", change))
    assert not found.holds
    assert (found.lost, found.twice) == (lost, twice)
    assert found.differences[0].term == "three"


def test_a_lost_term_and_a_foreign_one_are_found(corpus: Corpus, server: IndexServer) -> None:
    def renamed() -> Iterator[tuple[str, bytes]]:
        return (("four" if term == "three" else term, packed) for term, packed in proof.postings_of(server))

    found = verdict(corpus, renamed())
    assert (found.lost, found.twice) == (ROUNDS * 4, ROUNDS * 4)


def test_a_term_of_many_pages_is_read_whole(
    corpus: Corpus, server: IndexServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "_PAGE_BYTES", 1000)
    page = server.read(Cursor(0, 0))
    assert page.following is not None
    assert sum(len(packed) for _, packed in page.pieces) <= 1000
    assert verdict(corpus, proof.postings_of(server)).holds


def test_queries(server: IndexServer) -> None:
    found = server.look_up("TWO", 2)
    assert (found.postings, found.documents) == (ROUNDS * 3, ROUNDS * 2)
    assert found.places == [(0, 1), (0, 1)]
    assert server.look_up("nowhere", 2).postings == 0
    assert server.most_common(2) == ["word", "three"]
