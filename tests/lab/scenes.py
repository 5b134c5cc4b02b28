"""Histories that are written down event by event."""

from __future__ import annotations

from typing import cast

from underpass.lab import NotLinearizable
from underpass.lab.history import History, Operation, Raised, Recording, Task
from underpass.lab.linearization import explain
from underpass.lab.models import Model

NAMES = ("ann", "bob", "cid", "dora")
TASKS = [Task(number, number, name) for number, name in enumerate(NAMES)]


class Scene:
    """A history that is written down event by event."""

    def __init__(self, model: Model) -> None:
        self.now = TASKS[0]
        self.recording = Recording(lambda: self.now)
        self.history = History(self.recording, model, "it")

    def call(self, who: int, name: str, *arguments: object, **options: object) -> Operation:
        self.now = TASKS[who]
        return self.history.call(name, arguments, options)

    def end(self, operation: Operation, outcome: object = None) -> None:
        if isinstance(outcome, type):
            error = cast("type[Exception]", outcome)()
            self.history.end(operation, Raised(error))
        else:
            self.history.end(operation, outcome)

    def do(self, who: int, name: str, *arguments: object, gives: object = None) -> None:
        self.end(self.call(who, name, *arguments), gives)

    def kill(self, who: int) -> None:
        self.recording.killed(TASKS[who])

    def fits(self) -> bool:
        try:
            explain(self.history)
        except NotLinearizable:
            return False
        return True
