"""What travels in the queue: a chunk of text, and a header that says whose it is."""

from __future__ import annotations

import struct
from typing import NamedTuple

from underpass.tools.demo.corpus import CHUNK_BYTES, Chunk
from underpass.tools.demo.index import Place

__all__ = ["HEADER_BYTES", "JOB_BYTES", "Job", "pack", "unpack"]

_HEADER = struct.Struct("<IIIII?")
HEADER_BYTES = _HEADER.size
JOB_BYTES = HEADER_BYTES + CHUNK_BYTES


class Job(NamedTuple):
    """The header."""

    place: Place
    document: int
    first_line: int
    last: bool


def pack(chunk: Chunk, round_: int, file: int, document: int) -> bytes:
    """Write a message."""
    header = _HEADER.pack(round_, file, chunk.number, document, chunk.first_line, chunk.last)
    return header + chunk.text


def unpack(message: memoryview) -> Job:
    """Read a message's header; the text follows it."""
    round_, file, chunk, document, first_line, last = _HEADER.unpack_from(message)
    return Job(Place(round_, file, chunk), document, first_line, last)
