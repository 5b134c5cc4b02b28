"""A schedule that fails, for each planted bug: found by one version of Python, and replayed by all.

Written again, after the programs or the lab have changed, by ``python -m tests.lab.counterexamples``.
"""

import json
import sys
from pathlib import Path

from tests.lab.planted import deaths, inputs, leaks, lines, orders, races, refusals, views, waits, wakes
from tests.lab.planted.catalogue import Bug, catalogue
from underpass import lab
from underpass.lab import Failure

__all__ = ["FILE", "bugs", "find", "known"]

FILE = Path(__file__).with_suffix(".json")
COMMAND = "python -m tests.lab.counterexamples"
SEED = 1
# They enter themselves.
assert [deaths, inputs, leaks, lines, orders, races, refusals, views, waits, wakes]

bugs: dict[str, Bug] = {bug.name: bug for bug in catalogue.bugs}


def find(bug: Bug) -> dict[str, str]:
    """Return the schedule that fails, and how."""
    try:
        lab.explore(
            bug.broken, schedules=bug.schedules, kills=bug.kills, faults=bug.faults, steps=bug.steps, seed=SEED, jobs=1, lines=bug.lines
        )  # fmt: skip
    except Failure as failure:
        return {"token": failure.token, "kind": failure.kind, "summary": failure.trace.summary}
    raise AssertionError(f"{bug.name}: nothing found")


def known() -> dict[str, dict[str, str]]:
    """Return what the file says."""
    found: dict[str, dict[str, str]] = json.loads(FILE.read_text())["found"]
    return found


def write() -> None:
    """Look for all of them, and write the file."""
    python = ".".join(map(str, sys.version_info[:2]))
    content = {"written by": COMMAND, "python": python, "found": {name: find(bug) for name, bug in bugs.items()}}
    FILE.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    write()
