"""How the models are run: the same steps every time in `make test`, many more and new ones in `make deep`."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from underpass import EndOfStream, MisuseError, TimedOut, UnderpassError, WouldBlock

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# A machine under load is slow, which is no fault of a step.
ALWAYS = settings(
    derandomize=True, database=None, deadline=None, max_examples=150, stateful_step_count=40,
    # Shrinking takes longer than the watchdog allows; `make deep` does it.
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
DEEP = settings(
    parent=ALWAYS, derandomize=False, max_examples=3_000, stateful_step_count=100, print_blob=True,
)  # fmt: skip

profiles = pytest.mark.parametrize(
    "profile", [pytest.param(ALWAYS, id="always"), pytest.param(DEEP, id="deep", marks=pytest.mark.deep)]
)


def compare(machine: type[RuleBasedStateMachine], profile: settings) -> None:
    """Drive object and model with the same steps; hypothesis shrinks and prints those on which they differ."""
    run_state_machine_as_test(machine, settings=profile)


def outcome(operation: Callable[[], T]) -> T | type[UnderpassError]:
    """Return what it returns, or the class of what it raises: a model says either."""
    try:
        return operation()
    except (EndOfStream, MisuseError, TimedOut, WouldBlock) as error:
        return type(error)
