"""Sequential models of underpass's objects, for `underpass.lab.linearizable`, and what a model of your own derives from."""

from underpass.lab.models.conditions import Condition
from underpass.lab.models.flags import Event, Latch, Notification
from underpass.lab.models.locks import Mutex, Semaphore
from underpass.lab.models.meetings import Barrier
from underpass.lab.models.model import Bracket, Model, Step
from underpass.lab.models.numbers import AtomicInt
from underpass.lab.models.queues import Queue, Taken
from underpass.lab.models.stacks import Stack
from underpass.lab.models.turns import Once, RWLock

__all__ = [
    "AtomicInt",
    "Barrier",
    "Bracket",
    "Condition",
    "Event",
    "Latch",
    "Model",
    "Mutex",
    "Notification",
    "Once",
    "Queue",
    "RWLock",
    "Semaphore",
    "Stack",
    "Step",
    "Taken",
]
