"""What a `World` stands on when its processes are real: the host's while the program is set up, a player's in a process."""

import os
from typing import TYPE_CHECKING, final

from underpass.errors import MisuseError
from underpass.lab.real.player import ask, clock, gate, here

if TYPE_CHECKING:
    from underpass.lab.real.conductor import Conductor


@final
class RealMachine:
    """Linux, conducted. A forked process has a copy, whose questions go to the conductor."""

    def __init__(self, conductor: "Conductor") -> None:
        self._conductor = conductor
        self._processes = 0

    def add_process(self, _mortal: bool, _servant: bool, /) -> int:  # noqa: FBT001 - the lab's
        """Number another process."""
        self._processes += 1
        return self._processes - 1

    def join(self, task: int, /) -> None:
        """Sleep until a task has ended, by the conductor's word: no object of the library tells."""
        while self.is_left(task):
            gate("park", None, 0)
            if self.is_left(task):
                gate("join", None, task)

    def order(self, what: str, _process: int, /) -> None:
        """Refuse it: the conductor alone ends and stops processes. A schedule with an order in it is not tried at all."""
        raise MisuseError(f"world.{what}: real processes are killed and stopped by the schedule alone")

    def step(self) -> None:
        """Let others go on."""
        if here.channel is not None:
            gate("line", None, 0)

    def pick(self, count: int, /) -> int:
        """Return what the schedule picks."""
        return ask("pick", count) if here.channel is not None else self._conductor.pick(count)

    def is_left(self, task: int, /) -> bool:
        """Say whether a task has neither returned nor died."""
        return bool(ask("left", task)) if here.channel is not None else self._conductor.is_left(task)

    @property
    def sleepers(self) -> list[tuple[int, bool]]:
        """Who sleeps."""
        if here.channel is None:
            return [(task, False) for task in self._conductor.asleep()]
        asleep = ask("asleep")
        return [(task, False) for task in range(asleep.bit_length()) if asleep >> task & 1]

    @property
    def running(self) -> int | None:
        """Who runs; None: the host."""
        return here.task

    @property
    def now(self) -> int:
        """Nanoseconds of the schedule's clock."""
        return clock.now

    @property
    def pid(self) -> int:
        """The pid of the process that runs."""
        return os.getpid()
