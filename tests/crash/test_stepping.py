"""Death before and after all that others can tell of: drawn here, all in `make deep`. `python -m tests.crash.stepping` is what runs."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.stepping.stepper import PROGRAM
from tests.planted import PLANTED

# Hundreds of processes are prepared, stepped and killed, each in its turn: more than a minute on a machine that does much else.
pytestmark = pytest.mark.timeout(180)

ROOT = Path(__file__).parents[2]
# Deaths drawn, of each half of the table.
DRAWN = 100

needs_stepper = pytest.mark.skipif(not PROGRAM.exists(), reason="no stepper: `make test` builds it")
needs_planted = pytest.mark.skipif(not PLANTED.exists(), reason="no module with planted faults: `make test` builds it")


def deaths(*arguments: str, module: str = "tests.crash.stepping") -> tuple[int, str]:
    """Inflict them; whether all was well, and what was told."""
    environment = {**os.environ, "COLUMNS": "160"}
    run = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    print(run.stdout)  # noqa: T201 - shown when it fails
    return run.returncode, run.stdout + run.stderr


@needs_stepper
@pytest.mark.parametrize("part", ["1/2", "2/2"])
def test_drawn_deaths(dice: random.Random, part: str) -> None:
    code, told = deaths("--draw", str(DRAWN), "--seed", str(dice.randrange(1, 2**32)), "--part", part)
    assert code == 0, told


@needs_stepper
@needs_planted
def test_planted_missing_baton_is_found() -> None:
    code, told = deaths("missing baton", "--only", "Semaphore.release, waiter", module="tests.crash.stepping.planted")
    assert code == 1, told
    assert "the waiter sleeps on, and what it waits for is there" in told


@needs_stepper
@needs_planted
def test_planted_pair_of_stores_is_found() -> None:
    code, told = deaths(
        "unannounced step", "--only", "Queue.get, of a full one, alone", module="tests.crash.stepping.planted"
    )
    assert code == 1, told
    assert "FAILED Queue.get, of a full one, alone" in told


@needs_stepper
@needs_planted
def test_planted_heir_of_a_lent_mutex_is_found() -> None:
    """By deaths between two effects of some 80: of a thread that the kernel has made the owner, and that has not written its life."""
    code, told = deaths(
        "unnamed heir", "--only", "Mutex.acquire, lending, asleep, alone", module="tests.crash.stepping.planted"
    )
    assert code == 1, told
    assert "FAILED Mutex.acquire, lending, asleep, alone" in told


@needs_stepper
@needs_planted
@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("unwatched reader", "RWLock.reading, asleep, readers first, waiter"),
        pytest.param(
            "units of the dead", "Semaphore.acquire of a task, leased, handed one, waiter", marks=pytest.mark.deep
        ),
    ],
)
def test_planted_faults_of_whoever_waits_behind_the_dead_are_found(fault: str, line: str) -> None:
    code, told = deaths(fault, "--only", line, module="tests.crash.stepping.planted")
    assert code == 1, told
    assert f"FAILED {line}" in told


@needs_stepper
@pytest.mark.deep
def test_every_death() -> None:
    code, told = deaths("--markdown")
    assert code == 0, told
