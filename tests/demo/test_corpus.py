"""What is indexed: that chunks hold what the lines hold, and that both come to the same words."""

import os
import random
from collections import Counter
from pathlib import Path

import pytest

from underpass.tools.demo import corpus, tokens
from underpass.tools.demo.corpus import CHUNK_BYTES, Corpus, CorpusError, chunks, gather, lines

PIECES = [
    b"a",
    b"word ",
    b"\n",
    b"\r\n",
    b"_x9",
    b" ",
    "ß".encode(),
    "İ".encode(),
    "\u2028".encode(),
    b"\xff",
    b"\xe4\xb8",
    "\ufffd".encode(),
]


def by_chunk(data: bytes) -> tuple[Counter[tuple[str, int]], int]:
    found: Counter[tuple[str, int]] = Counter()
    replaced = 0
    for chunk in chunks(data):
        result = tokens.tokenise(chunk.text, chunk.first_line)
        replaced += result.replaced
        found.update((term, line) for term, where in result.postings.items() for line in where)
    return found, replaced


def by_line(data: bytes) -> tuple[Counter[tuple[str, int]], int]:
    found: Counter[tuple[str, int]] = Counter()
    replaced = 0
    for number, line in lines(data):
        decoded = line.decode(errors="replace")
        replaced += tokens.replaced_in(line, decoded)
        found.update((word.casefold(), number) for word in tokens.words(decoded))
    return found, replaced


@pytest.mark.parametrize("seed", range(60))
def test_chunks_and_lines_come_to_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "CHUNK_BYTES", 16)
    chance = random.Random(seed)
    data = b"".join(chance.choices(PIECES, k=chance.randrange(200)))
    cut = list(chunks(data))
    assert b"".join(chunk.text for chunk in cut) == data
    assert all(0 < len(chunk.text) <= 16 for chunk in cut)
    assert [chunk.number for chunk in cut] == list(range(len(cut)))
    assert [chunk.last for chunk in cut] == [False] * (len(cut) - 1) + [True] * bool(cut)
    assert by_chunk(data) == by_line(data)


def test_a_chunk_is_as_large_as_it_may_be() -> None:
    data = b"0123456789abcde\n" * 10_000
    assert [len(chunk.text) for chunk in chunks(data)] == [CHUNK_BYTES, CHUNK_BYTES, 160_000 - 2 * CHUNK_BYTES]


def test_words_are_runs_of_letters_digits_and_underscores_casefolded() -> None:
    found = tokens.tokenise("Straße STRASSE _x1, naïve\nI don't".encode(), 7)
    assert found.postings == {"strasse": [7, 7], "_x1": [7], "naïve": [7], "i": [8], "don": [8], "t": [8]}


def test_undecodable_places_are_counted_and_replacement_characters_are_not() -> None:
    assert tokens.tokenise(b"a\xff\xfeb \xef\xbf\xbd", 1).replaced == 2


def test_gather_finds_files_in_order_and_leaves_out_what_nobody_wrote(tmp_path: Path) -> None:
    for name in ("b.txt", "a/c.txt", "__pycache__/x.pyc", ".git/config", "empty", "a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("" if name == "empty" else name)
    (tmp_path / "link").symlink_to("a.txt")
    found = gather(tmp_path)
    assert [file.shown for file in found.files] == ["a.txt", "a/c.txt", "b.txt"]
    assert found.size == sum(len(name) for name in ("b.txt", "a/c.txt", "a.txt"))
    assert [file.shown for file in gather(tmp_path / "b.txt").files] == ["b.txt"]


def test_the_default_is_the_standard_library() -> None:
    found = gather(None)
    names = {file.shown for file in found.files}
    assert {"ast.py", "asyncio/locks.py"} <= names
    assert all(name.endswith(".py") for name in names)


@pytest.mark.parametrize("content", [None, "", "directory"])
def test_nothing_to_index_is_one_clear_line(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "it"
    if content == "directory":
        path.mkdir()
    elif content is not None:
        path.write_text(content)
    with pytest.raises(CorpusError, match=r"it (does not exist|holds no text)") as caught:
        gather(path)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_read_is_left_out_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("x")
    real = os.access

    def access(path: str | Path, mode: int) -> bool:
        """Answer for root as well, who may read everything."""
        return not str(path).endswith("/a") and real(path, mode)

    monkeypatch.setattr(os, "access", access)
    found: Corpus = gather(tmp_path)
    assert ([file.shown for file in found.files], found.unreadable) == (["b"], 1)
    (tmp_path / "b").unlink()
    with pytest.raises(CorpusError, match="permission denied"):
        gather(tmp_path)


def test_a_file_that_changes_meanwhile_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    (file,) = gather(path).files
    assert file.read() == b"one"
    path.write_text("other")
    with pytest.raises(CorpusError, match="changed while the demo ran"):
        file.read()
    path.unlink()
    with pytest.raises(CorpusError, match="cannot be read any more"):
        file.read()
