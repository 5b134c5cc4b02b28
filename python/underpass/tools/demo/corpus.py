"""The text to be indexed: which files, and how they are cut into chunks."""

from __future__ import annotations

import os
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CHUNK_BYTES", "Chunk", "Corpus", "CorpusError", "File", "chunks", "gather", "lines"]

# A chunk has at most so many bytes, so that it fits a message of the queue.
CHUNK_BYTES = 60 * 1024

# Directories without text that anybody wrote: caches, repositories, environments.
_LEFT_OUT = frozenset({"__pycache__", "site-packages"})


class CorpusError(Exception):
    """There is nothing to index, or it changed while the demo ran. The text is one line for the user."""


@dataclass(frozen=True, slots=True)
class File:
    """One file, as it was when the corpus was gathered."""

    path: str
    shown: str  # relative to the corpus
    size: int
    changed: int  # ns

    def read(self) -> bytes:
        """Return its bytes.

        Raises:
            CorpusError: It is not any more what was gathered, so two readers would see different text.
        """
        try:
            with open(self.path, "rb") as stream:  # noqa: PTH123  1,800 of them
                data = stream.read()
                changed = os.fstat(stream.fileno()).st_mtime_ns
        except OSError as error:
            raise CorpusError(f"{self.shown} cannot be read any more: {error.strerror}") from error
        if len(data) != self.size or changed != self.changed:
            raise CorpusError(f"{self.shown} changed while the demo ran: give it a PATH that is at rest")
        return data


@dataclass(frozen=True, slots=True)
class Corpus:
    """All files of one pass, in a fixed order: a file's number is its place."""

    root: str
    files: tuple[File, ...]
    unreadable: int

    @property
    def size(self) -> int:
        """Bytes of one pass."""
        return sum(file.size for file in self.files)


def gather(path: Path | None) -> Corpus:
    """List the files under ``path``; by default the modules of the running Python's standard library.

    Empty files, symbolic links, ``__pycache__``, ``site-packages`` and directories whose name starts with a dot are left out.

    Raises:
        CorpusError: Nothing is there, or nothing that can be read.
    """
    suffix = ".py" if path is None else ""
    root = Path(sysconfig.get_path("stdlib")) if path is None else path
    shown = os.fsencode(root).decode(errors="replace")
    if not root.exists():
        raise CorpusError(f"{shown} does not exist")
    found = [str(root)] if root.is_file() else list(_walk(str(root), suffix))
    readable = [name for name in sorted(found) if os.access(name, os.R_OK)]
    unreadable = len(found) - len(readable)
    base = root.parent if root.is_file() else root
    files = tuple(file for name in readable if (file := _file(name, base)).size)
    if not files:
        if unreadable or not os.access(root, os.R_OK):
            raise CorpusError(f"{shown} cannot be read: permission denied")
        raise CorpusError(f"{shown} holds no text to index")
    return Corpus(shown, files, unreadable)


def _walk(root: str, suffix: str) -> Iterator[str]:
    for directory, directories, names in os.walk(root):
        directories[:] = [name for name in directories if name not in _LEFT_OUT and not name.startswith(".")]
        for name in names:
            path = os.path.join(directory, name)  # noqa: PTH118  as os.walk has it
            if name.endswith(suffix) and os.path.isfile(path) and not os.path.islink(path):  # noqa: PTH113, PTH114
                yield path


def _file(path: str, base: Path) -> File:
    status = os.stat(path)  # noqa: PTH116
    shown = os.fsencode(os.path.relpath(path, base)).decode(errors="replace")
    return File(path, shown, status.st_size, status.st_mtime_ns)


class Chunk(NamedTuple):
    """A part of a file that ends where a line ends."""

    number: int
    first_line: int
    text: bytes
    last: bool


def chunks(data: bytes) -> Iterator[Chunk]:
    """Cut a file into chunks, as large as they may be, at line ends; a file without bytes has none."""
    start, line, number = 0, 1, 0
    while start < len(data):
        stop = _chunk_end(data, start)
        text = data[start:stop]
        yield Chunk(number, line, text, stop == len(data))
        start, line, number = stop, line + text.count(b"\n"), number + 1


def lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield numbered lines; one that no chunk could hold comes in the same parts in which chunks hold it."""
    for number, text in enumerate(data.split(b"\n"), 1):
        line = text
        while len(line) + 1 > CHUNK_BYTES:
            cut = _cut(line, 0)
            yield number, line[:cut]
            line = line[cut:]
        yield number, line


def _chunk_end(data: bytes, start: int) -> int:
    limit = start + CHUNK_BYTES
    if limit > len(data):
        return len(data)
    line_end = data.rfind(b"\n", start, limit)
    return _cut(data, start) if line_end == -1 else line_end + 1


def _cut(data: bytes, start: int) -> int:
    """Return where to cut a line that is too long: behind a byte that is in no word, else at least between characters."""
    limit = start + CHUNK_BYTES - 1
    for place in range(limit - 1, start, -1):
        if data[place] < 0x80 and not _in_word(data[place]):  # noqa: PLR2004  the end of ASCII
            return place + 1
    continuation = 0b10
    while data[limit] >> 6 == continuation and limit > start + 1:
        limit -= 1
    return limit


def _in_word(byte: int) -> bool:
    return chr(byte).isalnum() or byte == ord("_")
