"""Deaths inside Semaphore."""

from contextlib import suppress

from tests.crash.stepping.operation import Operation, Tally
from underpass import ResetError, Semaphore, TimedOut, WouldBlock


def value(semaphore: Semaphore, tally: Tally) -> tuple[int, int]:
    """Return the units that are there, and those that the contender kept."""
    left = semaphore.value
    for _ in range(left):
        semaphore.acquire_nowait()
    with suppress(WouldBlock):
        semaphore.acquire_nowait()
        return left + 1, tally["kept"]
    return left, tally["kept"]


def acquire(semaphore: Semaphore) -> str:
    try:
        semaphore.acquire()
    except ResetError:
        return "reset"
    return "acquired"


def take_and_give(semaphore: Semaphore, _tally: Tally) -> None:
    semaphore.acquire()
    semaphore.release()


def give_and_take(semaphore: Semaphore, _tally: Tally) -> None:
    semaphore.release()
    semaphore.acquire()


def is_free(semaphore: Semaphore) -> bool:
    return semaphore.value > 0


def give(semaphore: Semaphore) -> None:
    semaphore.release()


OPERATIONS: list[Operation[Semaphore]] = [
    Operation(
        noun="Semaphore",
        verb="acquire",
        world=lambda: Semaphore(3),
        prepare=lambda semaphore: semaphore.acquire,
        again=lambda semaphore: semaphore.acquire(),
        books=value,
        contend=take_and_give,
    ),
    Operation(
        noun="Semaphore",
        verb="acquire, asleep",
        world=lambda: Semaphore(0),
        prepare=lambda semaphore: semaphore.acquire,
        partner=give,
        wait=acquire,
        due=is_free,
        again=give,
        books=value,
    ),
    Operation(
        noun="Semaphore",
        verb="acquire, timed out",
        world=lambda: Semaphore(0),
        prepare=lambda semaphore: lambda: semaphore.acquire(timeout=0.002),
        raises=(TimedOut,),
        wait=acquire,
        due=is_free,
        again=give,
        books=value,
    ),
    Operation(
        noun="Semaphore",
        verb="acquire_nowait, refused",
        world=lambda: Semaphore(0),
        prepare=lambda semaphore: semaphore.acquire_nowait,
        raises=(WouldBlock,),
        wait=acquire,
        due=is_free,
        again=give,
        books=value,
    ),
    Operation(
        noun="Semaphore",
        verb="release",
        world=lambda: Semaphore(0),
        prepare=lambda semaphore: semaphore.release,
        wait=acquire,
        due=is_free,
        contend=give_and_take,
        again=give,
        books=value,
    ),
    Operation(
        noun="Semaphore",
        verb="reset",
        world=lambda: Semaphore(0),
        prepare=lambda semaphore: semaphore.reset,
        wait=acquire,
        again=lambda semaphore: semaphore.reset(),
        books=value,
    ),
]
