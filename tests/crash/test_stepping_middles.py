"""Processes that are stopped or fork in the middle of an operation: drawn here, all in `make deep`."""

import random
import subprocess
import sys

import pytest

from tests.crash.test_stepping import ROOT, deaths, needs_stepper

pytestmark = [needs_stepper, pytest.mark.timeout(400)]

# One that reads a number and stores it with one more, while others add: two calls, and anybody may come between.
TORN = """
import os
from functools import partial
from tests.crash.stepping.__main__ import run, settle, space
from tests.crash.stepping.middles import Forked, Stopped
from tests.crash.stepping.operation import Company, Operation
from tests.crash.stepping.atomics import known
from underpass import AtomicInt

torn = Operation(
    noun="AtomicInt",
    verb="load and store",
    world=AtomicInt,
    prepare=lambda number: lambda it=known(number): it.store(it.load() + 1),
    again=lambda number: number.add(1),
    books=lambda number, _: number.load(),
)
with space() as check:
    settle(max(os.sched_getaffinity(0)))
    for inflict in (Stopped, Forked):
        for failure in run((torn, Company.ALONE), None, partial(inflict, check_space=check), lambda *_: None).failures:
            print(inflict.__name__, failure)
"""


@pytest.mark.parametrize("what", ["stop", "fork"])
def test_drawn_middles(dice: random.Random, what: str) -> None:
    code, told = deaths("--inflict", what, "--draw", "20", "--seed", str(dice.randrange(1, 2**32)))
    assert code == 0, told


def test_what_is_torn_by_a_stop_or_a_fork_is_found() -> None:
    run = subprocess.run([sys.executable, "-c", TORN], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "Stopped AtomicInt.load and store, alone" in run.stdout, run.stdout + run.stderr
    assert "Forked AtomicInt.load and store, alone" in run.stdout, run.stdout + run.stderr


@pytest.mark.deep
@pytest.mark.parametrize("what", ["stop", "fork"])
def test_every_middle(what: str) -> None:
    code, told = deaths("--inflict", what, "--markdown")
    assert code == 0, told
