"""Death before and after all that others can tell of: drawn here, all in `make deep`. `python -m tests.crash.stepping` is what runs."""

import itertools
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import pytest

from tests.crash.stepping.stepper import PROGRAM
from tests.planted import PLANTED

# Hundreds of processes are prepared, stepped and killed, each in its turn: more than a minute on a machine that does much else.
pytestmark = pytest.mark.timeout(400)

ROOT = Path(__file__).parents[2]
# Deaths drawn, of each half of the table.
DRAWN = 100

needs_stepper = pytest.mark.skipif(not PROGRAM.exists(), reason="no stepper: `make test` builds it")
needs_planted = pytest.mark.skipif(not PLANTED.exists(), reason="no module with planted faults: `make test` builds it")


def deaths(*arguments: str, module: str = "tests.crash.stepping") -> tuple[int, str]:
    """Inflict them; whether all was well, and what was told."""
    [outcome] = deaths_at_once([arguments], module=module)
    return outcome


def deaths_at_once(runs: Sequence[Sequence[str]], *, module: str = "tests.crash.stepping") -> list[tuple[int, str]]:
    """Inflict them in several runs beside each other: each stays on one processor, the last there is, which is another for each."""
    allowed = os.sched_getaffinity(0)
    with ExitStack() as stack:
        started: list[tuple[subprocess.Popen[bytes], IO[bytes]]] = []
        for arguments, cpu in zip(runs, itertools.cycle(sorted(allowed, reverse=True)), strict=False):
            told = stack.enter_context(tempfile.TemporaryFile())
            os.sched_setaffinity(0, {cpu})
            try:
                process = subprocess.Popen(
                    [sys.executable, "-m", module, *arguments],
                    cwd=ROOT,
                    env={**os.environ, "COLUMNS": "160"},
                    stdout=told,
                    stderr=subprocess.STDOUT,
                )
            finally:
                os.sched_setaffinity(0, allowed)
            stack.callback(process.wait)
            stack.callback(process.kill)
            started.append((process, told))
        return [(process.wait(), _all_of(told)) for process, told in started]


def _all_of(told: IO[bytes]) -> str:
    told.seek(0)
    text = told.read().decode()
    print(text)  # noqa: T201 - shown when it fails
    return text


@needs_stepper
def test_drawn_deaths(dice: random.Random) -> None:
    draw = ("--draw", str(DRAWN), "--seed", str(dice.randrange(1, 2**32)), "--part")
    for code, told in deaths_at_once([(*draw, "1/2"), (*draw, "2/2")]):
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
        ("unwatched heir", "Mutex.acquire, by arrival, asleep, waiter"),
        ("lease of the dead", "Lease.done, waiter"),
        pytest.param("unwatched party", "Barrier.join, waiter", marks=pytest.mark.deep),
        pytest.param("kept watch", "Mutex.acquire, asleep, waiter", marks=pytest.mark.deep),
        pytest.param("kept turn", "Condition.wait, all are notified, waiter", marks=pytest.mark.deep),
        ("stale shelf", "Queue.get, of a shelf, alone"),
        ("uncounted drop", "Queue.put, the oldest goes, alone"),
        pytest.param(
            "units of the dead", "Semaphore.acquire of a task, leased, handed one, waiter", marks=pytest.mark.deep
        ),
    ],
)
def test_planted_faults_of_whoever_goes_on_after_the_dead_are_found(fault: str, line: str) -> None:
    code, told = deaths(fault, "--only", line, module="tests.crash.stepping.planted")
    assert code == 1, told
    assert f"FAILED {line}" in told


@needs_stepper
@pytest.mark.deep
def test_every_death() -> None:
    code, told = deaths("--markdown")
    assert code == 0, told
