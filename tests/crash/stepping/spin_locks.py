"""Deaths inside SpinLock: those of a mutex, under its own name."""

from tests.crash.stepping.operation import Operation, Tally
from underpass import OwnerDiedError
from underpass.sync import SpinLock


def hold(lock: SpinLock) -> str:
    """Hold it for a moment; whether its last owner died."""
    try:
        lock.acquire()
    except OwnerDiedError:
        with lock.recovering():
            return "repaired"
    lock.release()
    return "held"


def contend(lock: SpinLock, _tally: Tally) -> None:
    hold(lock)


def books(lock: SpinLock, _tally: Tally) -> tuple[str, str]:
    return hold(lock), lock.statistics().state


def held(lock: SpinLock) -> SpinLock:
    lock.acquire()
    return lock


def is_free(lock: SpinLock) -> bool:
    return lock.statistics().state != "held"


OPERATIONS: list[Operation[SpinLock]] = [
    Operation(
        noun="SpinLock",
        verb="acquire",
        world=SpinLock,
        prepare=lambda lock: lock.acquire,
        contend=contend,
        again=hold,
        books=books,
    ),
    Operation(
        noun="SpinLock",
        verb="release",
        world=SpinLock,
        prepare=lambda lock: held(lock).release,
        wait=hold,
        due=is_free,
        again=hold,
        books=books,
    ),
]
