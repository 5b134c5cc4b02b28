"""Who looks: each runs schedules of an example until one fails, and says how many those were."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from underpass.tools.bench.lab.bugs import PORTFOLIO, until_found
from underpass.tools.bench.lab.peers.examples import Example, Model
from underpass.tools.bench.peers.shapes import needed
from underpass.tools.bench.placement import UnavailableError

# Schedules, until one of an example has failed.
LIMIT = 1_000


@dataclass(frozen=True, slots=True)
class Explorer:
    """One package, with the strategy that it takes by itself.

    Args:
        name: What the table calls it.
        module: What must be importable; empty for underpass.
        find: Returns how many schedules of an example were run with that seed until one failed; more than `LIMIT` if none did.
    """

    name: str
    module: str
    find: Callable[[Example, int], int]

    def check(self) -> None:
        """Refuse to go on where it cannot be imported."""
        if self.module:
            needed(self.module)


def _underpass(example: Example, seed: int) -> int:
    return until_found(example.processes, PORTFOLIO, seed, limit=LIMIT)


def _frontrun(**options: Any) -> Callable[[Example, int], int]:
    def find(example: Example, seed: int) -> int:
        # What its command `frontrun` sets for the programs that it starts.
        os.environ["FRONTRUN_ACTIVE"] = "1"
        parts, _ = example.threads()

        def work(number: int) -> Callable[[Model], object]:
            def act(model: Model) -> object:
                return model[0][number]()

            return act

        result = needed("frontrun").explore(
            setup=example.threads,
            workers=[work(number) for number in range(len(parts))],
            invariant=_holds,
            **{name: seed if name == "seed" else value for name, value in options.items()},
            # What it would do after it has found one, and what does not matter here.
            reproduce_on_failure=0,
            detect_io=False,
        )
        return result.num_explored if result.property_holds is False else LIMIT + 1

    return find


def _holds(model: Model) -> bool:
    return model[1]()


def _interleave_test(example: Example, seed: int) -> int:
    package = needed("interleave_test")

    def model() -> None:
        parts, holds = example.threads()
        tasks = [package.spawn(part) for part in parts]
        for task in tasks:
            task.join()
        assert holds()

    result = package.explore(model, iterations=LIMIT, seed=seed, raise_on_failure=False)
    return LIMIT + 1 if result.failure is None else result.failure.iteration + 1


def _detangle(example: Example, seed: int) -> int:
    package = needed("detangle")
    try:
        package.explore(example.coroutines, runs=LIMIT, seed=seed, shrink=False, database=False)
    except package.BugFound as found:
        return found.report.runs
    return LIMIT + 1


OURS = "underpass.lab"
EXPLORERS = (
    Explorer(OURS, "", _underpass),
    Explorer("frontrun, dpor", "frontrun", _frontrun(strategy="dpor", max_executions=LIMIT)),
    Explorer("frontrun, random", "frontrun", _frontrun(strategy="random", max_attempts=LIMIT, seed=None)),
    Explorer("interleave-test", "interleave_test", _interleave_test),
    Explorer("detangle", "detangle", _detangle),
)


def unavailable(explorer: Explorer) -> str | None:
    """Why it cannot be measured; None: it can."""
    try:
        explorer.check()
    except UnavailableError as error:
        return str(error)
    return None
