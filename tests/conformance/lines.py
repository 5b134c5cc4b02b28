"""Those who stand in line for a mutex."""

import mmap
import os
from collections.abc import Callable

from tests.conformance.backends import Actor, ProcessActor, Processes, Threads
from underpass import Mutex
from underpass.sync import priority


class Turns:
    """Visitors who come one after the other, each with a priority, and note the order in which they have it."""

    def __init__(
        self, world: Threads | Processes, mutex: Mutex, prepare: Callable[[int], object] | None = None
    ) -> None:
        """Visitors who become as urgent as they are by ``prepare``, or say so."""
        self.world, self.mutex, self.prepare = world, mutex, prepare
        self.visitors: list[Actor[int]] = []
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    def come(self, urgency: int | None = None) -> None:
        """Start the next visitor, and wait until it sleeps."""

        def visit() -> int:
            if urgency is not None and self.prepare is not None:
                self.prepare(urgency)
                return self._visit()
            if urgency is None:
                return self._visit()
            with priority(urgency):
                return self._visit()

        self.visitors.append(self.world.start(visit))
        self.visitors[-1].until_asleep()

    def _visit(self) -> int:
        with self.mutex:
            turn = self._page[0]
            os.sched_yield()  # invites others into what should be closed to them
            self._page[0] = turn + 1
        return turn

    def order(self) -> list[int]:
        """Which turn each visitor had."""
        turns = [visitor.result() for visitor in self.visitors]
        self._page.close()
        return turns


def sleepers(processes: Processes, mutex: Mutex, count: int) -> list[ProcessActor[bool]]:
    """Processes that wait, in the order in which they came, have it for a moment and end."""

    def visit() -> bool:
        with mutex:
            return True

    waiting = list[ProcessActor[bool]]()
    for _ in range(count):
        waiting.append(processes.start(visit))
        waiting[-1].until_asleep()
    return waiting
