"""Deaths while a space is entered or swept, and while objects are made, found, handed on and removed in one."""

import os
import pickle
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from tests.crash.stepping.operation import Company, Operation, Tally
from underpass import ExistsError, NotFoundError, Queue, Semaphore, Space, TimedOut

NAME = "stepped"
# Long enough for a sleep, in seconds.
LOOK = 0.002
# A name that takes longer to be seen has been missed, in seconds.
FORGOTTEN = 60.0


# ── a space of its own ──────────────────────────────────────────────────────────────────────────────────────────────


def new_directory() -> Path:
    return Path(tempfile.mkdtemp(prefix="underpass-stepped-", dir=os.environ["UNDERPASS_DIR"] + "/.."))


def enter(directory: Path) -> None:
    Space(directory)


def use(directory: Path, _tally: Tally) -> list[str]:
    """Use the space; what stands in it besides that."""
    space = Space(directory)
    left = sorted(space.sweep())
    queue = Queue.create("used", space=space)
    queue.put(b"m")
    assert Queue.open("used", space=space).get(timeout=0) == b"m"
    queue.unlink()
    return left + sorted({path.name for path in directory.iterdir()} - {".lives"})


def entered() -> Path:
    """Return a space in which a process has died."""
    directory = new_directory()
    pid = os.fork()
    if pid == 0:
        space = Space(directory)
        os.environ["UNDERPASS_DIR"] = str(directory)
        pickle.dumps([Semaphore(1), Queue(2, 8)])
        repr(space)
        os._exit(0)
    os.waitpid(pid, 0)
    return directory


def remove(directory: Path) -> None:
    shutil.rmtree(directory)


# ── names in the default one ────────────────────────────────────────────────────────────────────────────────────────


class Names:
    """The names that a world uses: gone at its end, whoever made them."""

    def __init__(self, *, made: bool = False) -> None:
        self.semaphore = Semaphore.create(NAME, 1) if made else None

    def forget(self) -> None:
        """Remove them."""
        with suppress(NotFoundError):
            Semaphore.open(NAME).unlink()


def forget(names: Names) -> None:
    names.forget()


def make_again(_names: Names) -> None:
    with suppress(ExistsError):
        Semaphore.create(NAME, 1)


def open_again(_names: Names) -> None:
    with suppress(NotFoundError):
        Semaphore.open(NAME).acquire_nowait()


def unlink_again(_names: Names) -> None:
    with suppress(NotFoundError):
        Semaphore.open(NAME).unlink()


def whole(_names: Names, _tally: Tally) -> list[tuple[str, str, bool]]:
    """Return what stands under a name: each is whole, and works."""
    found = [(info.name, info.kind, info.state != "corrupted") for info in Space.default() if info.name is not None]
    for name, _, _ in found:
        semaphore = Semaphore.open(name)
        semaphore.release()
        semaphore.acquire(timeout=0)
    return found


def wait_for_name() -> str:
    return "opened" if Semaphore.open(NAME, timeout=FORGOTTEN).name == NAME else ""


def is_made(_names: Names) -> bool:
    """Say whether whoever waits for the name has to have it."""
    return any(info.name == NAME for info in Space.default())


def make_and_unlink(_names: Names, _tally: Tally) -> None:
    with suppress(ExistsError):
        Semaphore.create(f"{NAME}-too", 1).unlink()


def anonymous(make: Callable[[], object]) -> Callable[[object], Callable[[], object]]:
    return lambda _names: make


def closing(_names: Names) -> Callable[[], object]:
    return Semaphore(1).close


def nothing_named(_names: Names, _tally: Tally) -> list[str]:
    """Return what of the dead is left once somebody has swept: nothing."""
    Space.default().sweep()
    return sorted(info.file for info in Space.default())


SPACES: list[Operation[Path]] = [
    Operation(
        noun="Space",
        verb="entered, the first time",
        world=new_directory,
        prepare=lambda directory: partial(Space, directory),
        again=enter,
        books=use,
        close=remove,
    ),
    Operation(
        noun="Space",
        verb="entered, where somebody died",
        world=entered,
        prepare=lambda directory: partial(Space, directory),
        again=enter,
        books=use,
        close=remove,
    ),
    Operation(
        noun="Space",
        verb="sweep",
        world=entered,
        prepare=lambda directory: Space(directory).sweep,
        again=lambda directory: Space(directory).sweep(),
        books=use,
        close=remove,
    ),
    Operation(
        noun="Space",
        verb="remove",
        world=entered,
        prepare=lambda directory: Space(directory).remove,
        alive={Company.ALONE: "whoever enters meanwhile keeps the directory, and an OSError says so"},
        again=enter,
        books=use,
        close=remove,
    ),
]

OBJECTS: list[Operation[Names]] = [
    Operation(
        noun="Space",
        verb="unlink",
        world=partial(Names, made=True),
        prepare=lambda _: partial(Space.default().unlink, NAME),
        again=unlink_again,
        books=whole,
        close=forget,
    ),
    Operation(
        noun="Semaphore",
        verb="made",
        world=Names,
        prepare=anonymous(partial(Semaphore, 1)),
        again=lambda _: Semaphore(1).close(),
        books=nothing_named,
        close=forget,
    ),
    Operation(
        noun="Queue",
        verb="made",
        world=Names,
        prepare=anonymous(partial(Queue, 2, 8)),
        again=lambda _: Queue(2, 8).close(),
        books=nothing_named,
        close=forget,
    ),
    Operation(
        noun="Semaphore",
        verb="create",
        world=Names,
        prepare=anonymous(partial(Semaphore.create, NAME, 1)),
        contend=make_and_unlink,
        again=make_again,
        books=whole,
        close=forget,
    ),
    Operation(
        noun="Semaphore",
        verb="open",
        world=partial(Names, made=True),
        prepare=anonymous(partial(Semaphore.open, NAME)),
        again=open_again,
        books=whole,
        close=forget,
    ),
    Operation(
        noun="Semaphore",
        verb="open_or_create",
        world=Names,
        prepare=anonymous(partial(Semaphore.open_or_create, NAME, 1)),
        again=lambda _: Semaphore.open_or_create(NAME, 1),
        books=whole,
        close=forget,
    ),
    Operation(
        noun="Semaphore",
        verb="open, asleep",
        world=Names,
        prepare=anonymous(wait_for_name),
        partner=make_again,
        wait=lambda _: wait_for_name(),
        due=is_made,
        again=make_again,
        books=whole,
        close=forget,
    ),
    Operation(
        noun="Semaphore",
        verb="open, timed out",
        world=Names,
        prepare=anonymous(partial(Semaphore.open, NAME, timeout=LOOK)),
        raises=(NotFoundError, TimedOut),
        wait=lambda _: wait_for_name(),
        due=is_made,
        again=make_again,
        books=whole,
        close=forget,
    ),
    Operation(
        noun="Semaphore",
        verb="create, waited for",
        world=Names,
        prepare=anonymous(partial(Semaphore.create, NAME, 1)),
        wait=lambda _: wait_for_name(),
        due=is_made,
        again=make_again,
        books=whole,
        close=forget,
    ),
    Operation(
        noun="Semaphore",
        verb="unlink",
        world=partial(Names, made=True),
        prepare=lambda _: Semaphore.open(NAME).unlink,
        again=unlink_again,
        books=whole,
        close=forget,
    ),
    Operation(
        noun="Semaphore",
        verb="close",
        world=Names,
        prepare=closing,
        again=lambda _: Semaphore(1).close(),
        books=nothing_named,
        close=forget,
    ),
    Operation(
        noun="Semaphore",
        verb="pickled",
        world=Names,
        prepare=lambda _: Semaphore(1).__reduce__,
        again=lambda _: Semaphore(1).close(),
        books=nothing_named,
        close=forget,
    ),
    Operation(
        noun="Semaphore",
        verb="unpickled",
        world=partial(Names, made=True),
        prepare=lambda names: partial(pickle.loads, pickle.dumps(names.semaphore)),
        again=open_again,
        books=whole,
        close=forget,
    ),
]

OPERATIONS = [*SPACES, *OBJECTS]
