"""Histories of what real threads and real processes do: stamped before and after each call by the clock that all share."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.conformance.backends import Processes, Threads
from underpass import BrokenBarrierError, MisuseError, ResetError, TimedOut, WouldBlock
from underpass.lab.history import History, Operation, Recording, Task
from underpass.lab.linearization import explain
from underpass.lab.recorded import Recorded

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from underpass.lab.models import Model

World = Threads | Processes

ACTORS = 3
# So short that it may pass or not.
MOMENT = 0.0002
# They are outcomes like any other.
REFUSALS = (TimedOut, WouldBlock, MisuseError, BrokenBarrierError, ResetError)
NOBODY = Task(0, 0, "nobody")


class Stamps(Recording):
    """What one actor does, by the clock of the machine."""

    def tick(self) -> int:
        return time.monotonic_ns()


def explained(world: World, subject: Any, model: Model, work: Callable[[Any, int], object]) -> None:
    """Have all actors work with an object at once, and explain what they have seen by an order of its operations."""
    ready, go = world.flag(), world.flag()

    def run(number: int) -> list[Operation]:
        who = Task(number if isinstance(world, Processes) else 0, number, f"actor {number}")
        history = History(Stamps(lambda: who), model, type(subject).__name__)
        ready.raise_()
        go.wait()
        work(Recorded(subject, history), number)
        # The view of a dictionary does not travel.
        return [replace(one, options=dict(one.options)) for one in history.operations]

    with _in_short_turns():
        actors = [world.start(run, number) for number in range(ACTORS)]
        for _ in actors:
            ready.wait()
        go.raise_(ACTORS)
        operations = [operation for actor in actors for operation in actor.result()]
    operations.sort(key=lambda operation: operation.called)
    explain(History(Recording(lambda: NOBODY), model, type(subject).__name__, operations))


@contextmanager
def _in_short_turns() -> Generator[None]:
    """Have threads overtake each other wherever the interpreter lets them."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
