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
    leased,
    mutexes,
    onces,
    ports,
    queue_sides,
    queues,
    rwlocks,
    semaphores,
    several,
    spaces,
)
from tests.crash.stepping.operation import AnyOperation

OPERATIONS: list[AnyOperation] = [
    *semaphores.OPERATIONS,
    *handovers.OPERATIONS,
    *leased.OPERATIONS,
    *mutexes.OPERATIONS,
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
    *several.OPERATIONS,
    *ports.OPERATIONS,
    *desks.OPERATIONS,
    *spaces.OPERATIONS,
]
