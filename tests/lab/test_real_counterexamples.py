"""Every counterexample of the suite, forced on real processes: it fails there as it does in the lab."""

import pytest

pytest.importorskip("greenlet")

from tests.lab import counterexamples
from underpass import lab
from underpass.lab import Failure

known = counterexamples.known()

UNSHARED = {"lease_read_by_a_child", "loan_written_by_a_child", "counted_in_the_module", "registered_in_the_module"}
"""Their processes share Python objects, as only the lab's do: there is nothing to force."""

# One for each way to go wrong, and for each choice that the lab makes.
FAST = {
    "call_without_an_answer",
    "counted_before_it_is_made",
    "counted_in_the_module",
    "finished_by_another",
    "first_come_first_served",
    "job_kept_for_later",
    "job_of_the_dead",
    "lease_read_by_a_child",
    "lock_kept_at_a_timeout",
    "message_dropped_by_a_full_queue",
    "spin_lock_of_the_dead",
    "started_when_all_sleep",
    "valid_before_it_is_there",
}


def fails_alike(name: str) -> None:
    bug, found = counterexamples.bugs[name], known[name]
    with pytest.raises(Failure) as failed:
        lab.replay(bug.broken, found["token"], steps=bug.steps, lines=bug.lines, real=True)
    assert failed.value.kind == found["kind"]
    told = "not tried: " if name in UNSHARED else f"the same {found['kind']}: "
    assert (failed.value.real or "").startswith(told), failed.value.real


def passes_alike(name: str) -> None:
    bug = counterexamples.bugs[name]
    try:
        lab.replay(bug.fixed, known[name]["token"], steps=bug.steps, lines=bug.lines, real=True)
    except lab.Diverged as error:
        # As far as the same schedule goes in it.
        if not str(error).startswith("the token does not fit"):
            raise


@pytest.mark.parametrize("name", sorted(FAST))
def test_a_planted_bug_fails_on_real_processes_too(name: str) -> None:
    fails_alike(name)


@pytest.mark.parametrize("name", sorted(FAST - UNSHARED))
def test_its_corrected_twin_passes_there(name: str) -> None:
    passes_alike(name)


@pytest.mark.deep
@pytest.mark.parametrize("name", known)
def test_every_planted_bug_fails_on_real_processes_too(name: str) -> None:
    fails_alike(name)


@pytest.mark.deep
@pytest.mark.parametrize("name", sorted(known.keys() - UNSHARED))
def test_every_corrected_twin_passes_there(name: str) -> None:
    passes_alike(name)


def test_what_cannot_be_forced_is_what_only_the_lab_shares() -> None:
    assert {name for name, found in known.items() if found["kind"] in {"race", "shared global"}} == UNSHARED
    every = {choice for bug in counterexamples.bugs.values() for choice in bug.choices}
    assert {choice for name in FAST for choice in counterexamples.bugs[name].choices} >= every
