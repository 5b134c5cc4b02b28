"""All operations that deaths are inflicted on. An object more is a module more, with a line for each of its operations."""

from tests.crash.stepping import ports, queues, semaphores, spaces
from tests.crash.stepping.operation import AnyOperation

OPERATIONS: list[AnyOperation] = [
    *semaphores.OPERATIONS,
    *queues.OPERATIONS,
    *ports.OPERATIONS,
    *spaces.OPERATIONS,
]
