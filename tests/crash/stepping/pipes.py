"""Deaths inside Pipe: a piece is written, or read, as a whole or not at all, and a reset is completed by whoever comes."""

from collections.abc import Callable
from contextlib import suppress

from tests.crash.stepping.operation import Operation, Tally
from underpass import EndOfStream, PeerDiedError, Pipe, ResetError, WouldBlock


def with_bytes(data: bytes, capacity: int = 8) -> Callable[[], Pipe]:
    """Return what makes a pipe with these bytes."""

    def make() -> Pipe:
        pipe = Pipe(capacity)
        pipe.write_nowait(data)
        return pipe

    return make


def known(pipe: Pipe) -> Pipe:
    """Return it once this process has claimed its life."""
    with suppress(WouldBlock):
        pipe.read_nowait(pipe.capacity)
    return pipe


def read(pipe: Pipe) -> str:
    try:
        return pipe.read(2).decode()
    except (EndOfStream, PeerDiedError, ResetError) as error:
        return type(error).__name__


def write(pipe: Pipe) -> str:
    try:
        pipe.write(b"wx")
    except (EndOfStream, ResetError) as error:
        return type(error).__name__
    return "written"


def has_two(pipe: Pipe) -> bool:
    statistics = pipe.statistics()
    return statistics.depth >= 2 or statistics.shut_down


def has_room(pipe: Pipe) -> bool:
    return pipe.depth <= pipe.capacity - 2


def write_if_room(pipe: Pipe) -> None:
    with suppress(WouldBlock):
        pipe.write_nowait(b"cd")


def read_if_there(pipe: Pipe) -> None:
    with suppress(WouldBlock):
        pipe.read_nowait(2)


def books(pipe: Pipe, _tally: Tally) -> str:
    """Return what is there. Afterwards all of it has room again, and what is written is read."""
    found = ""
    with suppress(WouldBlock, EndOfStream):
        found = pipe.read_some_nowait(100).decode()
    assert pipe.depth == 0
    if not pipe.statistics().shut_down:
        pipe.write_nowait(b"x" * pipe.capacity)
        assert pipe.read_nowait(pipe.capacity) == b"x" * pipe.capacity
    return found


OPERATIONS: list[Operation[Pipe]] = [
    Operation(
        noun="Pipe",
        verb="write",
        world=with_bytes(b""),
        prepare=lambda pipe: lambda: known(pipe).write(b"ab"),
        wait=read,
        due=has_two,
        again=write_if_room,
        books=books,
    ),
    Operation(
        noun="Pipe",
        verb="read",
        world=with_bytes(b"abcdefgh"),
        prepare=lambda pipe: lambda: pipe.read(2),
        wait=write,
        due=has_room,
        again=read_if_there,
        books=books,
    ),
    Operation(
        noun="Pipe",
        verb="read, asleep",
        world=with_bytes(b""),
        prepare=lambda pipe: lambda: known(pipe).read(2),
        partner=lambda pipe: pipe.write_nowait(b"ab"),
        wait=read,
        due=has_two,
        again=write_if_room,
        books=books,
    ),
    Operation(
        noun="Pipe",
        verb="reset",
        world=with_bytes(b"abc"),
        prepare=lambda pipe: pipe.reset,
        again=lambda pipe: pipe.reset(),
        books=books,
    ),
    Operation(
        noun="Pipe",
        verb="shutdown",
        world=with_bytes(b"a"),
        prepare=lambda pipe: pipe.shutdown,
        wait=read,
        due=has_two,
        again=lambda pipe: pipe.shutdown(),
        books=books,
    ),
]
