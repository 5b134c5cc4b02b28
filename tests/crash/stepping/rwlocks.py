"""Deaths inside RWLock: a dead reader reads no more, a dead writer is told to the next, nobody waits for either."""

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from tests.crash.stepping.children import Child
from tests.crash.stepping.elsewhere import Elsewhere
from tests.crash.stepping.operation import AnyOperation, Operation, Tally, nothing
from underpass import OwnerDiedError, RWLock, TimedOut, WouldBlock

# Long enough for a sleep, in seconds.
LOOK = 0.002
Preference = Literal["writers", "readers", "arrival"]


def read(lock: RWLock) -> str:
    """Read for a moment, if nobody has died who wrote."""
    try:
        with lock.reading():
            return "read"
    except OwnerDiedError:
        return "barred"


def write(lock: RWLock) -> str:
    """Write for a moment; whether that repairs."""
    with lock.writing() as died:
        return "written" if died is None else "repaired"


def contend(lock: RWLock, tally: Tally) -> None:
    """Read and write, in turns."""
    (write if sum(tally.values()) % 2 else read)(lock)


def books(lock: RWLock, _tally: Tally) -> tuple[str, ...]:
    """Say whether a writer died; afterwards nobody is inside or waits, and it works."""
    found = write(lock)
    with lock.reading(), lock.reading():
        lock.upgrade(timeout=0)
        lock.downgrade()
    statistics = lock.statistics()
    return found, read(lock), statistics.state, str(statistics.waiters)


def is_due(lock: RWLock) -> bool:
    """Say whether whoever waits has to go on: nobody who lives is inside."""
    return lock.statistics().state in {"free", "writer died"}


def entered(block: Callable[[], AbstractContextManager[object]]) -> Callable[[], object]:
    """Enter a block of a lock; its end."""
    it = block()
    it.__enter__()
    return partial(it.__exit__, None, None, None)


def reads(lock: RWLock) -> RWLock:
    lock.reading().__enter__()
    return lock


def writes(lock: RWLock) -> RWLock:
    lock.writing().__enter__()
    return lock


def leave(lock: RWLock) -> None:
    """End what the calling thread holds, in whichever way."""
    lock.reading().__exit__(None, None, None)


def enter_writing(lock: RWLock) -> Callable[[], object]:
    return lock.writing().__enter__


def enter_reading(lock: RWLock) -> Callable[[], object]:
    return lock.reading().__enter__


def enter_as_task(how: Literal["read", "write"]) -> Callable[[RWLock], Callable[[], object]]:
    """Come as a task does, in one step of its event loop."""
    return lambda lock: lock._stay(how, 1).attempt


def leave_as_task(lock: RWLock) -> Callable[[], object]:
    lock._stay("write", 1).attempt()
    return partial(lock._leave, 1, well=True)


def wait_as_task(lock: RWLock) -> Any:
    """A task's place in line, to write: somebody is inside."""
    stay = lock._stay("write", 1)
    with suppress(WouldBlock):
        stay.attempt()
    return stay


def read_as_task(lock: RWLock) -> Any:
    """A task's place in line, to read: somebody writes."""
    stay = lock._stay("read", 1)
    with suppress(WouldBlock):
        stay.attempt()
    return stay


def left_by_the_dead(prefer: Preference = "writers") -> RWLock:
    """Return one whose writer has died."""
    lock = RWLock(prefer=prefer)
    writer = Child("first writer", lambda: writes(lock) and None)
    writer.result()
    writer.close()
    return lock


def fails_to_repair(lock: RWLock) -> Callable[[], object]:
    block = lock.writing()
    assert block.__enter__() is not None
    return partial(block.__exit__, ValueError, ValueError("not repaired"), None)


def read_elsewhere(prefer: Preference = "writers") -> Elsewhere[RWLock]:
    """Return one that another process reads."""
    lock = RWLock(prefer=prefer)
    return Elsewhere(lock, lock.reading)


def written_elsewhere(prefer: Preference = "writers") -> Elsewhere[RWLock]:
    """Return one that another process writes."""
    lock = RWLock(prefer=prefer)
    return Elsewhere(lock, lock.writing)


def refused(
    verb: str,
    world: Callable[[], Elsewhere[RWLock]],
    prepare: Callable[[RWLock], Callable[[], object]],
    error: type[Exception] = TimedOut,
) -> Operation[Elsewhere[RWLock]]:
    """What ends without the lock, which another process has."""
    return Operation(
        noun="RWLock",
        verb=verb,
        world=world,
        prepare=lambda elsewhere: prepare(elsewhere.it),
        raises=(error,),
        wait=lambda elsewhere: write(elsewhere.it),
        due=lambda elsewhere: is_due(elsewhere.it),
        again=Elsewhere[RWLock].let_go,
        books=lambda elsewhere, tally: books(elsewhere.it, tally),
        close=Elsewhere[RWLock].close,
    )


ELSEWHERE: list[Operation[Elsewhere[RWLock]]] = [
    Operation(
        noun="RWLock",
        verb="writing, waited for by a task",
        world=read_elsewhere,
        prepare=lambda elsewhere: partial(wait_as_task, elsewhere.it),
        wait=lambda elsewhere: write(elsewhere.it),
        due=lambda elsewhere: is_due(elsewhere.it),
        again=Elsewhere[RWLock].let_go,
        books=lambda elsewhere, tally: books(elsewhere.it, tally),
        close=Elsewhere[RWLock].close,
    ),
    Operation(
        noun="RWLock",
        verb="writing, given up by a task",
        world=read_elsewhere,
        prepare=lambda elsewhere: wait_as_task(elsewhere.it).give_up,
        # Nobody keeps it from reading beside the one that reads, once the task does not.
        wait=lambda elsewhere: read(elsewhere.it),
        due=lambda _elsewhere: True,
        again=Elsewhere[RWLock].let_go,
        books=lambda elsewhere, tally: books(elsewhere.it, tally),
        close=Elsewhere[RWLock].close,
    ),
    Operation(
        noun="RWLock",
        verb="reading, waited for by a task",
        world=written_elsewhere,
        prepare=lambda elsewhere: partial(read_as_task, elsewhere.it),
        wait=lambda elsewhere: write(elsewhere.it),
        due=lambda elsewhere: is_due(elsewhere.it),
        again=Elsewhere[RWLock].let_go,
        books=lambda elsewhere, tally: books(elsewhere.it, tally),
        close=Elsewhere[RWLock].close,
    ),
    Operation(
        noun="RWLock",
        verb="reading, given up by a task",
        world=written_elsewhere,
        prepare=lambda elsewhere: read_as_task(elsewhere.it).give_up,
        wait=lambda elsewhere: write(elsewhere.it),
        due=lambda elsewhere: is_due(elsewhere.it),
        again=Elsewhere[RWLock].let_go,
        books=lambda elsewhere, tally: books(elsewhere.it, tally),
        close=Elsewhere[RWLock].close,
    ),
    refused("writing, timed out", read_elsewhere, lambda lock: lock.writing(timeout=LOOK).__enter__),
    refused("reading, timed out", written_elsewhere, lambda lock: lock.reading(timeout=LOOK).__enter__),
    refused("upgrade, timed out", read_elsewhere, lambda lock: partial(reads(lock).upgrade, timeout=LOOK)),
    refused("upgrade_nowait, refused", read_elsewhere, lambda lock: reads(lock).upgrade_nowait, WouldBlock),
]

INSIDE: list[Operation[RWLock]] = [
    Operation(
        noun="RWLock",
        verb="reading, entered by a task",
        world=RWLock,
        prepare=enter_as_task("read"),
        again=nothing,
        books=books,
    ),
    Operation(
        noun="RWLock",
        verb="writing, entered by a task",
        world=RWLock,
        prepare=enter_as_task("write"),
        again=nothing,
        books=books,
    ),
    Operation(
        noun="RWLock",
        verb="writing, left by a task",
        world=RWLock,
        prepare=leave_as_task,
        wait=read,
        due=is_due,
        again=nothing,
        books=books,
    ),
    Operation(
        noun="RWLock",
        verb="reading, entered",
        world=RWLock,
        prepare=enter_reading,
        contend=contend,
        again=nothing,
        books=books,
    ),
    Operation(
        noun="RWLock",
        verb="reading, left",
        world=RWLock,
        prepare=lambda lock: entered(lock.reading),
        wait=write,
        due=is_due,
        again=nothing,
        books=books,
    ),
    Operation(
        noun="RWLock",
        verb="reading, asleep",
        world=lambda: writes(RWLock()),
        prepare=enter_reading,
        partner=leave,
        wait=write,
        due=is_due,
        again=nothing,
        books=books,
    ),
    Operation(
        noun="RWLock",
        verb="writing, entered",
        world=RWLock,
        prepare=enter_writing,
        contend=contend,
        again=nothing,
        books=books,
    ),
    Operation(
        noun="RWLock",
        verb="writing, left, to a reader",
        world=RWLock,
        prepare=lambda lock: entered(lock.writing),
        wait=read,
        due=is_due,
        again=nothing,
        books=books,
    ),
    Operation(
        noun="RWLock",
        verb="writing, left, to a writer",
        world=RWLock,
        prepare=lambda lock: entered(lock.writing),
        wait=write,
        due=is_due,
        again=nothing,
        books=books,
    ),
    Operation(
        noun="RWLock",
        verb="writing, asleep",
        world=lambda: reads(RWLock()),
        prepare=enter_writing,
        partner=leave,
        wait=write,
        due=is_due,
        again=nothing,
        books=books,
    ),
    Operation(
        noun="RWLock",
        verb="writing, of a dead writer's",
        world=left_by_the_dead,
        prepare=enter_writing,
        contend=contend,
        again=nothing,
        books=books,
    ),
    Operation(
        noun="RWLock",
        verb="writing, repaired",
        world=left_by_the_dead,
        prepare=lambda lock: entered(lock.writing),
        wait=write,
        due=is_due,
        again=nothing,
        books=books,
    ),
    Operation(
        noun="RWLock",
        verb="writing, left by an exception, not repaired",
        world=left_by_the_dead,
        prepare=fails_to_repair,
        wait=read,
        due=is_due,
        again=nothing,
        books=books,
    ),
    Operation(
        noun="RWLock",
        verb="upgrade",
        world=RWLock,
        prepare=lambda lock: reads(lock).upgrade,
        wait=write,
        due=is_due,
        again=nothing,
        books=books,
    ),
    Operation(
        noun="RWLock",
        verb="upgrade, asleep",
        world=lambda: reads(RWLock()),
        prepare=lambda lock: reads(lock).upgrade,
        partner=leave,
        wait=write,
        due=is_due,
        again=nothing,
        books=books,
    ),
    Operation(
        noun="RWLock",
        verb="downgrade",
        world=RWLock,
        prepare=lambda lock: writes(lock).downgrade,
        wait=read,
        due=is_due,
        again=nothing,
        books=books,
    ),
    Operation(
        noun="RWLock",
        verb="upgraded, left",
        world=RWLock,
        prepare=lambda lock: (reads(lock).upgrade(), partial(lock.reading().__exit__, None, None, None))[1],
        wait=write,
        due=is_due,
        again=nothing,
        books=books,
    ),
]

# ── whom else it may prefer ──


def preferring(prefer: Preference) -> list[AnyOperation]:
    """Return those lines in which that tells: who sleeps, who waits, and who lets others in."""

    def new() -> RWLock:
        return RWLock(prefer=prefer)

    worlds: dict[Callable[[], Any], tuple[str, ...]] = {
        new: (
            "reading, left",
            "writing, left, to a reader",
            "writing, left, to a writer",
            "upgrade",
            "downgrade",
            "upgraded, left",
        ),
        lambda: writes(new()): ("reading, asleep",),
        lambda: reads(new()): ("writing, asleep", "upgrade, asleep"),
        partial(left_by_the_dead, prefer): ("writing, of a dead writer's", "writing, repaired"),
        partial(read_elsewhere, prefer): ("writing, waited for by a task", "writing, timed out", "upgrade, timed out"),
        partial(written_elsewhere, prefer): ("reading, waited for by a task", "reading, timed out"),
    }
    lines: dict[str, AnyOperation] = {line.verb: line for line in (*INSIDE, *ELSEWHERE)}
    return [
        replace(lines[verb], verb=f"{verb}, {prefer} first", world=world)
        for world, verbs in worlds.items()
        for verb in verbs
    ]


OPERATIONS: list[AnyOperation] = [*INSIDE, *ELSEWHERE, *preferring("readers"), *preferring("arrival")]
