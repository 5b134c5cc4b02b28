"""Space: files that are not what they should be."""

import os
import random
import shutil
from pathlib import Path

import pytest

from tests.conformance.backends import Processes, apart, new_interpreter
from underpass import (
    CorruptedError,
    Event,
    MismatchError,
    Queue,
    Semaphore,
    Space,
    UnderpassError,
)

# Where the fields of a header lie.
MAGIC, VERSION, KIND, SPACE, PARAMETERS, HEADER = 0, 8, 12, 16, 48, 384


def patch(path: Path, offset: int, data: bytes) -> None:
    """Write over some bytes of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


# ── files that are not what they should be ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("offset", "data", "error", "text"),
    [
        (MAGIC, b"notours!", CorruptedError, "first bytes"),
        (VERSION, b"\x63", MismatchError, "layout version 99.*layout version"),
        (KIND, b"\x63", CorruptedError, "kind 99"),
        (KIND, b"\x02", MismatchError, "is a Semaphore, and a Queue"),
        (SPACE, b"\0" * 8, MismatchError, "another space"),
        (PARAMETERS, b"\xff" * 8, CorruptedError, "out of range"),
        (PARAMETERS, b"\xff\xff", CorruptedError, ""),
        (PARAMETERS + 8, b"\xff\xff", CorruptedError, ""),
        (PARAMETERS + 8, b"\xff" * 8, CorruptedError, "out of range"),
    ],
)
def test_damaged_header_is_told(
    private_space: Path, offset: int, data: bytes, error: type[UnderpassError], text: str
) -> None:
    Queue.create("jobs", 4, 64)
    patch(private_space / "jobs", offset, data)
    with pytest.raises(error, match=f"(?s)jobs.*{text}|{text}.*jobs"):
        Queue.open("jobs")
    with pytest.raises(UnderpassError):
        Queue.open_or_create("jobs", 4, 64)
    Space().unlink("jobs")


@pytest.mark.parametrize("size", [0, 1, HEADER - 1, HEADER, HEADER + 64, 4096])
def test_truncated_file_is_told(private_space: Path, size: int) -> None:
    Queue.create("jobs", 64, 256).close()
    os.truncate(private_space / "jobs", size)
    with pytest.raises(CorruptedError, match="jobs"):
        Queue.open("jobs")
    (info,) = Space()
    assert info.state in ({"corrupted"} if size < HEADER else {"alive", "corrupted"})
    (private_space / "jobs").unlink()


def test_what_is_no_object_is_told(private_space: Path) -> None:
    (private_space / "text").write_text("hello " * 100)
    with pytest.raises(CorruptedError, match="text"):
        Semaphore.open("text")
    (info,) = Space()
    assert (info.name, info.kind, info.state, info.creator) == ("text", "unknown", "corrupted", 0)
    (private_space / "text").unlink()
    (private_space / "link").symlink_to("/etc/hostname")
    with pytest.raises(OSError, match="link"):
        Semaphore.open("link")
    (private_space / "link").unlink()


def test_object_of_another_kind_is_told() -> None:
    semaphore = Semaphore.create("seats", 1)
    for opener in (lambda: Queue.open("seats"), lambda: Queue.open_or_create("seats")):
        with pytest.raises(MismatchError, match="a Semaphore, and a Queue was asked for"):
            opener()
    with pytest.raises(MismatchError, match="a Semaphore, and an Event was asked for"):
        Event.open("seats")
    semaphore.unlink()


@apart
def test_object_of_another_space_is_told(directory: Path, private_space: Path) -> None:
    Queue.create("jobs", 4, 64).put(b"x")
    Space(str(directory))
    shutil.copy(private_space / "jobs", directory / "jobs")
    with pytest.raises(MismatchError, match="another space"):
        Queue.open("jobs", space=Space(str(directory)))
    Queue.open("jobs").unlink()


@pytest.mark.parametrize("size", [0, 100, HEADER, 10_000, None])
def test_damaged_table_of_lives_is_told(directory: Path, size: int | None) -> None:
    new_interpreter("import sys, underpass; underpass.Space(sys.argv[1])", str(directory))
    if size is None:
        patch(directory / ".lives", MAGIC, b"notours!")
    else:
        os.truncate(directory / ".lives", size)
    with pytest.raises(CorruptedError, match=r"\.lives"):
        Space(str(directory))


def test_random_header_never_crashes_who_opens(processes: Processes, private_space: Path, dice: random.Random) -> None:
    _queue, path = Queue.create("jobs", 4, 64), private_space / "jobs"
    whole = path.read_bytes()

    def open_often() -> int:
        refused = 0
        for _ in range(500):
            patch(path, 0, whole[:HEADER])
            for _ in range(dice.randrange(1, 5)):
                patch(path, dice.randrange(PARAMETERS + 64), dice.randbytes(dice.choice([1, 1, 4, 8])))
            try:
                Queue.open("jobs").close()
            except UnderpassError:
                refused += 1
        return refused

    assert processes.start(open_often).result() > 0
    Space().unlink("jobs")
