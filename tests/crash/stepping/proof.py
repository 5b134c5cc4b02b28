"""`python -m tests.crash.stepping.proof`: that one death stands for those around it.

For each operation, alone: all shared memory and the robust list are compared after every instruction of the call, and nothing may have
changed but where an effect was decoded. With ``--deaths`` the process is killed at every instruction instead, and what is found
may change only there. ``--blind`` forgets effects of one kind: then it has to fail.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from tests.crash.stepping.__main__ import settle, space
from tests.crash.stepping.children import Victim
from tests.crash.stepping.death import Traced, die
from tests.crash.stepping.operation import AnyOperation, Company
from tests.crash.stepping.scenario import Scenario
from tests.crash.stepping.stepper import Stepper, library
from tests.crash.stepping.table import OPERATIONS
from underpass import _core

KINDS = ("call", "store", "atomic", "robust")


class NotAloneError(Exception):
    """Others live in the world of an operation, and change memory when they are told to."""


class Alone(Traced):
    """Traced, where nobody else can change anything."""

    def begin(self, victim: Victim) -> None:
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        if {*map(int, children)} - {victim.pid, self.stepper.pid}:
            raise NotAloneError
        super().begin(victim)


def compared(operation: AnyOperation, _check: Callable[[], None]) -> tuple[dict[int, str], set[int]]:
    """Return the effects of a call, and the instructions after which memory was not as before."""
    stepper = Stepper()
    try:
        die(operation, Company.ALONE, Alone(stepper, library(_core.__file__), compare=True))
        return stepper.effects(), stepper.changes()
    finally:
        stepper.close()


def killed(operation: AnyOperation, check: Callable[[], None]) -> tuple[dict[int, str], set[int]]:
    """Return the effects of a call, and the instructions after which a death leads to something else than before."""
    scenario = Scenario(operation, Company.ALONE, check, every=True)
    try:
        report = scenario.run(scenario.ends, lambda _: None)
    finally:
        scenario.close()
    assert not report.failures, report.failures
    found = [books for count, books in report.found if count is not None]
    return scenario.effects, {count for count, books in enumerate(found[1:]) if books != found[count]}


def main() -> int:
    """Look at what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.stepping.proof", description=__doc__)
    parser.add_argument("operations", nargs="*", help="their names; all that nobody else has to end, if there is none")
    parser.add_argument("--deaths", action="store_true", help="kill at every instruction, and compare what is found")
    parser.add_argument("--blind", choices=KINDS, help="forget effects of this kind")
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="the processor to stay on")
    arguments = parser.parse_args()
    # A partner changes memory too, and nobody knows when.
    chosen = [operation for operation in OPERATIONS if operation.partner is None]
    if arguments.operations:
        chosen = [operation for operation in chosen if str(operation) in arguments.operations]
        assert len(chosen) == len(arguments.operations), "no such operation"
    look = killed if arguments.deaths else compared
    failed = 0
    with space() as check:
        settle(arguments.cpu)
        for operation in chosen:
            try:
                effects, changes = look(operation, check)
            except NotAloneError:
                print(f"{operation}: others live in its world", flush=True)  # noqa: T201
                continue
            effects = {count: kind for count, kind in effects.items() if kind != arguments.blind}
            unexplained = sorted(changes - effects.keys())
            print(f"{operation}: {len(effects)} effects, {len(changes)} changes", flush=True)  # noqa: T201
            if unexplained:
                failed += 1
                print(f"FAILED {operation}: changed without an effect at {unexplained}", flush=True)  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
