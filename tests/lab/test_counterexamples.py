"""Schedules that one version of Python has found fail in every other: tokens count operations, and nothing of the interpreter's."""

from contextlib import suppress

import pytest

pytest.importorskip("greenlet")

from tests.lab import counterexamples
from underpass import lab
from underpass.lab import Failure

known = counterexamples.known()
names = pytest.mark.parametrize("name", known)


def test_there_is_one_for_every_planted_bug() -> None:
    assert set(known) == set(counterexamples.bugs), f"write them again: {counterexamples.COMMAND}"


@names
def test_it_fails_as_it_did(name: str) -> None:
    bug, found = counterexamples.bugs[name], known[name]
    with pytest.raises(Failure) as failed:
        lab.replay(bug.broken, found["token"], steps=bug.steps, lines=bug.lines)
    again = failed.value
    assert (again.kind, again.trace.summary, again.token) == (found["kind"], found["summary"], found["token"])


@names
def test_its_corrected_twin_passes(name: str) -> None:
    bug = counterexamples.bugs[name]
    # As far as the same schedule goes in it: it is another program.
    with suppress(lab.Diverged):
        lab.replay(bug.fixed, known[name]["token"], steps=bug.steps, lines=bug.lines)
