"""Deaths inside Mutex."""

from tests.crash.stepping.operation import Operation, Tally
from underpass import Mutex, OwnerDiedError


def hold(mutex: Mutex) -> str:
    """Hold it for a moment; whether its last owner died."""
    try:
        mutex.acquire()
    except OwnerDiedError:
        with mutex.recovering():
            return "repaired"
    mutex.release()
    return "held"


def contend(mutex: Mutex, _tally: Tally) -> None:
    hold(mutex)


def books(mutex: Mutex, _tally: Tally) -> tuple[str, str]:
    return hold(mutex), mutex.statistics().state


def held(mutex: Mutex) -> Mutex:
    mutex.acquire()
    return mutex


def is_free(mutex: Mutex) -> bool:
    return mutex.statistics().state != "held"


OPERATIONS: list[Operation[Mutex]] = [
    Operation(
        noun="Mutex",
        verb="acquire",
        world=Mutex,
        prepare=lambda mutex: mutex.acquire,
        contend=contend,
        again=hold,
        books=books,
    ),
    Operation(
        noun="Mutex",
        verb="release",
        world=Mutex,
        prepare=lambda mutex: held(mutex).release,
        wait=hold,
        due=is_free,
        again=hold,
        books=books,
    ),
]
