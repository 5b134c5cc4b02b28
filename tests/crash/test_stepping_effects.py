"""One death stands for all between two effects: nothing that others see changes there, and that is seen when an effect is missed."""

import pytest

from tests.crash.test_stepping import deaths, needs_stepper

pytestmark = [needs_stepper, pytest.mark.timeout(180)]

PROOF = "tests.crash.stepping.proof"
# Few instructions, and effects of every kind: a life is entered, a bell is rung, a mapping goes.
SHORT = ("AtomicInt.add, first of a process", "Event.set", "Semaphore.close")
# Those that a reader would doubt: two stores of one change, what the kernel changes, what is linked in the robust list.
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
        ("call", "Semaphore.close"),
    ],
)
def test_a_change_without_an_effect_is_found(kind: str, operation: str) -> None:
    code, told = deaths("--blind", kind, operation, module=PROOF)
    assert code == 1, told
    assert "changed without an effect" in told


def test_deaths_between_effects_lead_to_the_same() -> None:
    code, told = deaths("--deaths", "Semaphore.close", "Semaphore.acquire", module=PROOF)
    assert code == 0, told


def test_a_death_that_leads_to_something_else_without_an_effect_is_found() -> None:
    code, told = deaths("--deaths", "--blind", "atomic", "Semaphore.acquire", module=PROOF)
    assert code == 1, told


@pytest.mark.deep
def test_nothing_changes_between_effects_of_any_operation() -> None:
    code, told = deaths(module=PROOF)
    assert code == 0, told


@pytest.mark.deep
def test_deaths_between_effects_of_many_operations_lead_to_the_same() -> None:
    code, told = deaths("--deaths", *DOUBTED, module=PROOF)
    assert code == 0, told
