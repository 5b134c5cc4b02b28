"""Deaths of one who has a priority: it stands before who came earlier, and what it was given is theirs."""

from dataclasses import replace
from functools import partial

from tests.crash.stepping import handovers, leased
from tests.crash.stepping.mutexes import NAME, Sort, forget, is_on_its_way
from tests.crash.stepping.operation import AnyOperation, Operation
from underpass import Mutex, Semaphore, sync


def urgently(it: AnyOperation) -> AnyOperation:
    """The same, of one that is more urgent than whoever waits besides."""

    def prepare(world: object) -> object:
        sync.priority(5).__enter__()
        return it.prepare(world)

    return replace(it, prepare=prepare)


def made_so(it: Operation[Semaphore]) -> Semaphore:
    """Make the semaphore of a line by arrival, by priority."""
    model = it.world()
    units = model.value
    it.close(model)
    return Semaphore.create(handovers.NAME, units, fairness="priority")


def by_priority(it: Operation[Semaphore]) -> Operation[Semaphore]:
    """The same, of a semaphore that serves by priority."""
    return replace(it, verb=it.verb.replace("by arrival", "by priority"), world=partial(made_so, it))


LOCKS = Sort(
    "Mutex",
    partial(Mutex.create, NAME, fairness="priority"),
    how=", by priority",
    due=is_on_its_way,
    close=forget,
)

OPERATIONS: list[AnyOperation] = [
    *map(urgently, map(by_priority, handovers.OPERATIONS)),
    *map(urgently, leased.operations("priority")),
    *map(urgently, leased.asleep("priority")),
    *map(urgently, LOCKS.operations()),
    Operation(
        noun="priority",
        verb="entered",
        world=lambda: Semaphore(0),
        prepare=lambda _: sync.priority(5).__enter__,
        again=lambda semaphore: semaphore.release(),
        books=lambda semaphore, _: semaphore.value,
    ),
]
