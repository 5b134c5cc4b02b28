"""How the tests of processes that await explore."""

from collections.abc import Callable

import pytest

from underpass import lab
from underpass.lab import Failure, World

SCHEDULES = 150


def explore(
    program: Callable[[World], None], *, kills: int = 0, schedules: int = SCHEDULES, early: bool = True
) -> lab.Report:
    return lab.explore(program, schedules=schedules, kills=kills, seed=1, jobs=1, early=early)


def fails(program: Callable[[World], None], *, kills: int = 0, steps: int = 400) -> Failure:
    with pytest.raises(Failure) as found:
        lab.explore(program, schedules=SCHEDULES, kills=kills, seed=1, jobs=1, steps=steps)
    return found.value
