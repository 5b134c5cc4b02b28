"""The lab is tested on bugs: it finds each by the oracle that is meant to, and nothing in the twin that is right."""

from collections import Counter
from typing import get_args

import pytest

pytest.importorskip("greenlet")

from tests.lab.planted import deaths, inputs, leaks, lines, orders, races, refusals, views, waits, wakes
from tests.lab.planted.catalogue import Bug, Choice, Oracle, catalogue
from underpass import lab
from underpass.lab import Failure

SEED = 1
# They enter themselves.
assert [deaths, inputs, leaks, lines, orders, races, refusals, views, waits, wakes]

# Their twins have more schedules than a test has time for.
LARGE = frozenset({
    "applied_and_not_noted",
    "barrier_of_the_dead",
    "job_of_the_dead",
    "lock_kept_at_a_timeout",
    "one_bell_for_two_kinds",
    "queues_in_a_ring",
    "released_without_being_held",
    "restarted_twice",
    "retried_for_ever",
    "started_when_all_sleep",
    "woken_if_it_sleeps",
})  # fmt: skip

bugs = pytest.mark.parametrize("bug", [pytest.param(bug, id=bug.name) for bug in catalogue.bugs])


def found_by(failure: Failure) -> str:
    """Return which oracle told."""
    kind, when = failure.kind, failure.trace.summary.partition(":")[0]
    return when if when in {"always", "at the end"} else kind


@bugs
def test_the_bug_is_found(bug: Bug) -> None:
    with pytest.raises(Failure) as found:
        lab.explore(
            bug.broken, schedules=bug.schedules, kills=bug.kills, faults=bug.faults, steps=bug.steps, seed=SEED, lines=bug.lines
        )  # fmt: skip
    assert found_by(found.value) == bug.oracle, str(found.value)


@bugs
def test_nothing_is_found_in_its_twin(bug: Bug) -> None:
    report = lab.explore(
        bug.fixed, schedules=bug.schedules, kills=bug.kills, faults=bug.faults, steps=bug.steps, seed=SEED, lines=bug.lines
    )  # fmt: skip
    assert report.exhausted or report.schedules + report.pruned == bug.schedules


@pytest.mark.parametrize("bug", [pytest.param(bug, id=bug.name) for bug in catalogue.bugs if bug.name not in LARGE])
def test_a_small_twin_is_right_in_every_schedule(bug: Bug) -> None:
    """With two preemptions: those that it takes to find what is found in practice (Musuvathi and Qadeer)."""
    report = lab.explore(
        bug.fixed,
        schedules=5_000,
        kills=bug.kills,
        faults=bug.faults,
        preemptions=2,
        steps=bug.steps,
        strategy="every",
        seed=SEED,
        lines=bug.lines,
    )
    assert report.exhausted


@pytest.mark.parametrize("bug", [pytest.param(bug, id=bug.name) for bug in catalogue.bugs if "kill" in bug.choices])
def test_nothing_is_found_while_nobody_dies(bug: Bug) -> None:
    lab.explore(bug.broken, schedules=100, steps=bug.steps, seed=SEED, lines=bug.lines)


@pytest.mark.parametrize("bug", [pytest.param(bug, id=bug.name) for bug in catalogue.bugs if bug.lines])
def test_nothing_is_found_between_operations_alone(bug: Bug) -> None:
    lab.explore(bug.broken, schedules=200, kills=bug.kills, steps=bug.steps, seed=SEED)


def test_every_choice_and_every_oracle_is_needed_more_than_once() -> None:
    assert len(catalogue.bugs) >= 30
    choices = Counter(choice for bug in catalogue.bugs for choice in bug.choices)
    oracles = Counter(bug.oracle for bug in catalogue.bugs)
    assert all(choices[choice] >= 2 for choice in get_args(Choice)), choices
    assert all(oracles[oracle] >= 2 for oracle in get_args(Oracle)), oracles
