"""Deaths of one who has a priority: it stands before who came earlier, and what it was given is theirs."""

from collections.abc import Callable
from dataclasses import replace

from tests.crash.stepping import handovers
from tests.crash.stepping.operation import Operation
from underpass import Semaphore, sync

BY_ARRIVAL = {operation.verb: operation for operation in handovers.OPERATIONS}


def made(units: int) -> Callable[[], Semaphore]:
    return lambda: Semaphore.create(handovers.NAME, units, fairness="priority")


def urgent(semaphore: Semaphore) -> Semaphore:
    """Return it once this process has a life, and its thread a priority."""
    sync.priority(5).__enter__()
    return handovers.entered(semaphore)


def urgent_without_patience(semaphore: Semaphore) -> Callable[[], object]:
    urgent(semaphore)
    return handovers.taker_without_patience(semaphore)


def by_priority(verb: str, prepare: Callable[[Semaphore], Callable[[], object]]) -> Operation[Semaphore]:
    """The same as by arrival, of one that is more urgent than whoever waits besides."""
    it = BY_ARRIVAL[verb]
    return replace(it, verb=verb.replace("by arrival", "by priority"), world=made(0), prepare=prepare)


OPERATIONS: list[Operation[Semaphore]] = [
    by_priority("acquire, by arrival, asleep", lambda it: urgent(it).acquire),
    by_priority("acquire, by arrival, timed out", urgent_without_patience),
    by_priority("release, by arrival", lambda it: urgent(it).release),
    Operation(
        noun="priority",
        verb="entered",
        world=lambda: Semaphore(0),
        prepare=lambda _: sync.priority(5).__enter__,
        again=lambda semaphore: semaphore.release(),
        books=lambda semaphore, _: semaphore.value,
    ),
]
