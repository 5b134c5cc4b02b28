"""All operations that deaths are inflicted on. An object more is a module more, with a line for each of its operations."""

from tests.crash.stepping import (
    atomics,
    barriers,
    conditions,
    crowds,
    desks,
    flags,
    handovers,
    latches,
    mutexes,
    onces,
    owners,
    ports,
    queue_sides,
    queues,
    rwlocks,
    semaphores,
    spaces,
    spin_locks,
)
from tests.crash.stepping.operation import AnyOperation

OPERATIONS: list[AnyOperation] = [
    *semaphores.OPERATIONS,
    *handovers.OPERATIONS,
    *mutexes.OPERATIONS,
    *owners.OPERATIONS,
    *spin_locks.OPERATIONS,
    *onces.OPERATIONS,
    *flags.OPERATIONS,
    *latches.OPERATIONS,
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
