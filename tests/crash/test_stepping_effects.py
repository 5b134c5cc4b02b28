"""One death stands for all between two effects: nothing that others see changes there, and that is seen when an effect is missed."""

import re

import pytest

from tests.crash.test_stepping import deaths, needs_stepper

pytestmark = [needs_stepper, pytest.mark.timeout(400)]

PROOF = "tests.crash.stepping.proof"
# Few instructions, and effects of every kind: a life is entered, which is linked in the robust list.
SHORT = ("AtomicInt.add, first of a process", "Event.set")
# Stores in pairs, wakes that are owed, batons.
DOUBTED = (
    "Semaphore.acquire",
    "Semaphore.release",
    "Event.set",
    "Latch.count_down",
    "Mutex.acquire",
    "Mutex.release",
    "Queue.put",
    "Queue.get",
    "Lease.done",
    "Notification.notify",
)


def test_nothing_changes_between_effects() -> None:
    code, told = deaths(*SHORT, module=PROOF)
    assert code == 0, told


@pytest.mark.parametrize(
    ("kind", "operation"),
    [
        ("store", "AtomicInt.add, first of a process"),
        ("atomic", "Semaphore.acquire"),
        ("robust", "AtomicInt.add, first of a process"),
        ("call", "Semaphore.open"),
    ],
)
def test_a_change_without_an_effect_is_found(kind: str, operation: str) -> None:
    code, told = deaths("--blind", kind, operation, module=PROOF)
    assert code == 1, told
    assert "changed without an effect" in told


def test_deaths_lead_to_something_else_across_an_effect_and_nowhere_else() -> None:
    code, told = deaths("--deaths", "--blind", "atomic", "Mutex.release", module=PROOF)
    assert code == 1, told
    assert re.search(r"changed without an effect at \[\d+\]$", told, re.MULTILINE)


@pytest.mark.deep
def test_nothing_changes_between_effects_of_any_operation() -> None:
    code, told = deaths(module=PROOF)
    assert code == 0, told


@pytest.mark.deep
def test_deaths_between_effects_of_many_operations_lead_to_the_same() -> None:
    code, told = deaths("--deaths", *DOUBTED, module=PROOF)
    assert code == 0, told
