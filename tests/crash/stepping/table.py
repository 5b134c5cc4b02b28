"""All operations that deaths are inflicted on. An object more is a module more, with a line for each of its operations."""

from tests.crash.stepping import atomics, flags, mutexes, owners, ports, queues, semaphores, spaces
from tests.crash.stepping.operation import AnyOperation

OPERATIONS: list[AnyOperation] = [
    *semaphores.OPERATIONS,
    *mutexes.OPERATIONS,
    *owners.OPERATIONS,
    *flags.OPERATIONS,
    *atomics.OPERATIONS,
    *queues.OPERATIONS,
    *ports.OPERATIONS,
    *spaces.OPERATIONS,
]
