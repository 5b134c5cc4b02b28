"""Deaths inside Pipe: a piece is written, or read, as a whole or not at all, and a reset is completed by whoever comes."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from tests.crash.stepping.operation import Operation, Tally
from underpass import EndOfStream, PeerDiedError, Pipe, ResetError, TimedOut, WouldBlock

CAPACITY = 8


def with_bytes(data: bytes) -> Callable[[], Pipe]:
    """Return what makes a pipe with these bytes."""

    def make() -> Pipe:
        pipe = Pipe(CAPACITY)
        pipe.write_nowait(data)
        return pipe

    return make


def known(pipe: Pipe) -> Pipe:
    """Return it once this process has claimed its life, as one that has used the pipe before: by what is refused."""
    with suppress(WouldBlock):
        if pipe.depth:
            pipe.write_nowait(bytes(CAPACITY))
        else:
            pipe.read_nowait(CAPACITY)
    return pipe


def complete(pipe: Pipe) -> None:
    """Come next after a reset that may have been left half done, which completes it: then that was made during this call."""
    with suppress(ResetError):
        known(pipe)


# ── who else is there ───────────────────────────────────────────────────────────────────────────────────────────────


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


def write_and_read(pipe: Pipe, tally: Tally) -> None:
    pipe.write(b"cc")
    tally["c"] -= 2
    tally.update(pipe.read(2).decode())


# ── what the survivor does and finds ────────────────────────────────────────────────────────────────────────────────


def write_if_room(pipe: Pipe) -> None:
    with suppress(WouldBlock):
        pipe.write_nowait(b"yz")


def read_if_there(pipe: Pipe) -> None:
    with suppress(WouldBlock):
        pipe.read_nowait(2)


def books(pipe: Pipe, tally: Tally) -> str:
    """Return what is there. Afterwards all of it has room again, and what is written is read."""
    found = ""
    with suppress(WouldBlock, EndOfStream, PeerDiedError):
        found = pipe.read_some_nowait(CAPACITY).decode()
    assert pipe.depth == 0
    if pipe.statistics().shut_down:
        return f"{found}, shut down"
    pipe.write_nowait(b"x" * CAPACITY)
    assert pipe.read_nowait(CAPACITY) == b"x" * CAPACITY
    if tally:
        # In company, whoever of the two was first: how many of each are there, and were.
        tally.update(found)
        return str(sorted((letter, count) for letter, count in tally.items() if count))
    return found


def refused(
    verb: str, call: Callable[[Pipe], Callable[[], object]], error: type[BaseException], data: bytes
) -> Operation[Pipe]:
    """Return the line of one that finds nothing to do, and leaves it so."""
    return Operation(
        noun="Pipe",
        verb=verb,
        world=with_bytes(data),
        prepare=lambda pipe: call(known(pipe)),
        raises=(error,),
        again=lambda _pipe: None,
        books=books,
    )


OPERATIONS: list[Operation[Pipe]] = [
    Operation(
        noun="Pipe",
        verb="write",
        world=with_bytes(b""),
        prepare=lambda pipe: partial(known(pipe).write, b"ab"),
        wait=read,
        due=has_two,
        contend=write_and_read,
        again=write_if_room,
        books=books,
    ),
    Operation(
        noun="Pipe",
        verb="write, first of a process",
        world=with_bytes(b""),
        prepare=lambda pipe: partial(pipe.write, b"ab"),
        again=write_if_room,
        books=books,
    ),
    Operation(
        noun="Pipe",
        verb="write_nowait",
        world=with_bytes(b""),
        prepare=lambda pipe: partial(known(pipe).write_nowait, b"ab"),
        wait=read,
        due=has_two,
        contend=write_and_read,
        again=write_if_room,
        books=books,
    ),
    Operation(
        noun="Pipe",
        verb="write, asleep",
        world=with_bytes(b"abcdefgh"),
        prepare=lambda pipe: partial(known(pipe).write, b"12"),
        # Room for the waiter too, whoever of the two comes first.
        partner=lambda pipe: pipe.read_nowait(4),
        wait=write,
        due=has_room,
        again=read_if_there,
        books=books,
    ),
    Operation(
        noun="Pipe",
        verb="read",
        world=with_bytes(b"abcdefgh"),
        prepare=lambda pipe: partial(known(pipe).read, 2),
        wait=write,
        due=has_room,
        again=read_if_there,
        books=books,
    ),
    Operation(
        noun="Pipe",
        verb="read, in the middle",
        world=with_bytes(b"abcd"),
        prepare=lambda pipe: partial(known(pipe).read, 2),
        contend=write_and_read,
        again=read_if_there,
        books=books,
    ),
    Operation(
        noun="Pipe",
        verb="read_nowait",
        world=with_bytes(b"abcdefgh"),
        prepare=lambda pipe: partial(known(pipe).read_nowait, 2),
        wait=write,
        due=has_room,
        again=read_if_there,
        books=books,
    ),
    Operation(
        noun="Pipe",
        verb="read_into",
        world=with_bytes(b"abcdefgh"),
        prepare=lambda pipe: partial(known(pipe).read_into, bytearray(2)),
        wait=write,
        due=has_room,
        again=read_if_there,
        books=books,
    ),
    Operation(
        noun="Pipe",
        verb="read_some",
        world=with_bytes(b"abcdefgh"),
        prepare=lambda pipe: partial(known(pipe).read_some, 2),
        wait=write,
        due=has_room,
        again=read_if_there,
        books=books,
    ),
    Operation(
        noun="Pipe",
        verb="read_some_nowait",
        world=with_bytes(b"abcdefgh"),
        prepare=lambda pipe: partial(known(pipe).read_some_nowait, 2),
        wait=write,
        due=has_room,
        again=read_if_there,
        books=books,
    ),
    Operation(
        noun="Pipe",
        verb="read, asleep",
        world=with_bytes(b""),
        prepare=lambda pipe: partial(known(pipe).read, 2),
        # Enough for the waiter too, whoever of the two comes first.
        partner=lambda pipe: pipe.write_nowait(b"abab"),
        wait=read,
        due=has_two,
        again=write_if_room,
        books=books,
    ),
    refused("write, timed out", lambda pipe: partial(pipe.write, b"ab", timeout=0.001), TimedOut, b"abcdefgh"),
    refused("write_nowait, refused", lambda pipe: partial(pipe.write_nowait, b"ab"), WouldBlock, b"abcdefgh"),
    refused("read, timed out", lambda pipe: partial(pipe.read, 2, timeout=0.001), TimedOut, b""),
    refused("read_nowait, refused", lambda pipe: partial(pipe.read_nowait, 2), WouldBlock, b""),
    Operation(
        noun="Pipe",
        verb="reset",
        world=with_bytes(b"abc"),
        prepare=lambda pipe: known(pipe).reset,
        again=complete,
        books=books,
    ),
    Operation(
        noun="Pipe",
        verb="shutdown",
        world=with_bytes(b"a"),
        prepare=lambda pipe: known(pipe).shutdown,
        wait=read,
        due=has_two,
        again=lambda pipe: pipe.shutdown(),
        books=books,
    ),
    Operation(
        noun="Pipe",
        verb="putting, entered",
        world=with_bytes(b""),
        prepare=lambda pipe: known(pipe).putting().__enter__,
        wait=read,
        due=lambda pipe: has_two(pipe) or pipe.statistics().writers > 0,
        again=write_if_room,
        books=books,
    ),
]
