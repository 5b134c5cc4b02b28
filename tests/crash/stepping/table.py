"""All operations that deaths are inflicted on. An object more is a module more, with a line for each of its operations."""

from tests.crash.stepping import (
    atomics,
    barriers,
    conditions,
    crowds,
    desks,
    flags,
    handovers,
    mutexes,
    onces,
    owners,
    ports,
    queue_sides,
    queues,
    rwlocks,
    semaphores,
    spaces,
)
from tests.crash.stepping.operation import AnyOperation

OPERATIONS: list[AnyOperation] = [
    *semaphores.OPERATIONS,
    *handovers.OPERATIONS,
    *mutexes.OPERATIONS,
    *owners.OPERATIONS,
    *onces.OPERATIONS,
    *flags.OPERATIONS,
    *atomics.OPERATIONS,
    *barriers.OPERATIONS,
    *conditions.OPERATIONS,
    *crowds.OPERATIONS,
    *rwlocks.OPERATIONS,
    *queues.OPERATIONS,
    *queue_sides.OPERATIONS,
    *ports.OPERATIONS,
    *desks.OPERATIONS,
    *spaces.OPERATIONS,
]
