"""The faults that the wake protocol exists for, planted again in the library one by one: the lab finds each, and shows it."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("greenlet")

from tests.lab.replanted.programs import REPLANTED, Replanted
from tests.planted import PLANTED
from underpass import lab
from underpass.lab.report import as_text
from underpass.lab.trace import Trace

ROOT = Path(__file__).parents[2]
SEED = 1

cases = pytest.mark.parametrize("case", [pytest.param(case, id=case.program.__name__) for case in REPLANTED])


def explored(case: Replanted, seed: int) -> tuple[Trace, str] | None:
    """Explore a program in a process whose library has the fault; what breaks it, and what that does on real processes."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.lab.replanted", case.program.__name__, str(seed)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "100"},
        capture_output=True,
        check=False,
    )
    if not run.stdout:
        assert not run.stderr, run.stderr.decode()
        return None
    return msgspec.json.decode(run.stdout, type=tuple[Trace, str])


@pytest.mark.skipif(not PLANTED.exists(), reason="no module with planted faults: `make test` builds it")
@cases
def test_the_fault_is_found(case: Replanted) -> None:
    found = explored(case, SEED)
    assert found is not None
    trace, real = found
    assert trace.kind == case.kind, as_text(trace)
    assert real.startswith(f"the same {case.kind}: "), real
    # Made small: nobody dies without need, and what is left is shown whole.
    deaths = [moment for moment in trace.moments if moment.what == "dies"]
    assert len(deaths) == trace.token.count("K") == case.kills
    assert trace.moments[-1].what != "is woken", "what the oracle has a sleeper do is no part of what happened"


@cases
def test_nothing_is_found_in_the_library_as_it_is(case: Replanted) -> None:
    report = lab.explore(case.program, schedules=max(2_000, case.schedules), kills=case.kills, seed=SEED, jobs=1)
    assert report.exhausted or report.schedules + report.pruned == max(2_000, case.schedules)
