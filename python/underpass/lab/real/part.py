"""One task of the program on real processes, as the conductor knows it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, final

from underpass.lab.program import Task

if TYPE_CHECKING:
    from underpass.lab.real.player import Channel

State = Literal["running", "waiting", "asleep", "joining", "ended", "dead"]
"""*Waiting* is for its turn, *asleep* for what a sleep is ended by, *joining* for another task's end."""


@final
@dataclass(slots=True)
class Part:
    """What it does, and where it stands."""

    number: int
    task: Task
    channel: "Channel[Any, Any]"
    pid: int = 0
    tid: int = 0
    state: State = "running"
    stopped: bool = False
    point: str = ""
    about: int | None = None
    detail: int = 0
    until: int = 0
    listens: bool = False
    """It sleeps until a name comes."""
    joins: int = 0
    expired: bool = False
    restarted: bool = False
    """It was stopped in its sleep: when it goes on it looks for itself."""

    @property
    def name(self) -> str:
        """Its process's."""
        return self.task.process.name

    @property
    def rests(self) -> bool:
        """It has ended, or is not looked at."""
        return self.state in {"ended", "dead"} or self.stopped
