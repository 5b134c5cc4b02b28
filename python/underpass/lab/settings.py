"""What an exploration is asked for."""

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, slots=True)
class Settings:
    """What `lab.explore` is asked for, beside the program."""

    schedules: int = 10_000
    kills: int = 0
    faults: int = 0
    early: bool = True
    preemptions: int | None = None
    strategy: str | None = None
    seed: int | None = None
    steps: int = 2_000
    jobs: int | None = None
    lines: bool = False
