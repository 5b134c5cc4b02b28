"""Bugs planted in small programs: what each needs to be found, and by what it is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from underpass.lab import World

Choice = Literal["order", "waiter", "time-out", "kill", "program", "queue full", "space full", "spurious wake", "line"]
"""What the lab has to choose well: who goes on, which of several waiters is woken, when a time-out fires, who dies and where,
what the program itself leaves open, which queue or space has no room, whose sleep ends without a cause; and that between two of
its lines."""

FAULTS = frozenset({"queue full", "space full", "spurious wake"})

Oracle = Literal[
    "exception",
    "assertion",
    "at the end",
    "always",
    "deadlock",
    "livelock",
    "leak",
    "race",
    "not linearizable",
    "shared global",
]
"""What tells that it went wrong; a check is told from another by when it was made."""

Program = Callable[[World, bool], None]
"""Sets up the program: with the bug, or, if told so, without."""


@dataclass(frozen=True)
class Bug:
    """A program with a bug, and its twin that has none."""

    name: str
    program: Program
    choices: frozenset[Choice]
    oracle: Oracle
    schedules: int
    kills: int = 0
    faults: int = 0
    lines: bool = False
    # A livelock is told early: nothing here takes long otherwise.
    steps: int = 400

    def broken(self, world: World) -> None:
        self.program(world, False)  # noqa: FBT003 - the twins

    def fixed(self, world: World) -> None:
        self.program(world, True)  # noqa: FBT003 - the twins


@dataclass
class Catalogue:
    """All that are planted."""

    bugs: list[Bug] = field(default_factory=list[Bug])

    def planted(self, *choices: Choice, oracle: Oracle, schedules: int = 500) -> Callable[[Program], Program]:
        """Enter a program: the bug is found by the oracle, within so many schedules, if the lab makes such choices."""

        def enter(program: Program) -> Program:
            kills, faults, lines = int("kill" in choices), int(not FAULTS.isdisjoint(choices)), "line" in choices
            self.bugs.append(
                Bug(program.__name__, program, frozenset(choices), oracle, schedules, kills, faults, lines)
            )
            return program

        return enter


catalogue = Catalogue()
planted = catalogue.planted
