import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from underpass import AtomicInt
from underpass.lab import World
from underpass.tools.bench.lab import bugs, classes, groups, rates
from underpass.tools.bench.lab.peers import groups as beside
from underpass.tools.bench.lab.peers.examples import EXAMPLES
from underpass.tools.bench.lab.peers.explorers import EXPLORERS, LIMIT, OURS
from underpass.tools.bench.lab.programs import BUGS
from underpass.tools.bench.peers import environment

# Runs of the whole bench: more than a minute on a machine that does much else.
pytestmark = pytest.mark.timeout(180)


def bench(*options: str, **variables: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "underpass.tools.cli", "bench", "lab", "--quick", "--json", *options],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
        env={**os.environ, **variables},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_quick_run_yields_every_row_and_verdict() -> None:
    document = bench()
    assert document["command"] == "underpass bench lab --json --quick"
    assert document["absent"] == []
    rows = {(row["group"], row["name"]): row for row in document["rows"]}
    assert {name for group, name in rows if group == groups.RATES} == {rates.COUNTER, rates.LOCK, rates.QUEUE}
    assert {name for group, name in rows if group == groups.CLASSES} == set(classes.PROGRAMS)
    finds = {name for group, name in rows if group == groups.FINDS}
    assert finds == {name for bug in BUGS for name in (bug.name, bugs.alone(bug))}
    assert all(row["reference"] in bugs.MEMBERS for (group, _), row in rows.items() if group == groups.FINDS)
    assert [verdict["claim"] for verdict in document["verdicts"]] == [target.claim for target in groups.TARGETS]
    assert all(verdict["met"] in {True, False} for verdict in document["verdicts"])


def test_peers_that_do_not_install_are_rows_that_say_so(tmp_path: Path) -> None:
    # An environment in which nothing could be installed, as test_bench_peers makes one by way of pip.
    place = tmp_path / "underpass" / environment.name()
    venv.create(place)
    (place / environment.COMPLETE).touch()
    document = bench("--peers", XDG_CACHE_HOME=str(tmp_path))
    assert {row["name"] for row in document["absent"]} == {peer.name for peer in EXPLORERS if peer.module}
    assert {row["reason"] for row in document["absent"]} == {"not installed"}
    rows = {(row["group"], row["name"]): row["median"] for row in document["rows"]}
    for example in EXAMPLES:
        name = beside.row_name(example, OURS)
        assert 1 <= rows[beside.SCHEDULES, name] <= LIMIT
        assert rows[beside.TIMES, name] > 0
    assert {verdict["met"] for verdict in document["verdicts"]} == {None}


def test_schedules_are_counted_from_one_and_one_beyond_the_limit_is_none() -> None:
    def fails(world: World) -> None:
        world.at_end(lambda: False)

    def passes(world: World) -> None:
        number = AtomicInt()
        world.process(number.add, 1)
        world.process(number.add, 1)

    assert bugs.until_found(fails, "walk", 1, limit=9) == 1
    assert bugs.until_found(passes, "walk", 1, limit=9) == 10


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_each_bug_is_found_and_needs_its_deaths(bug: bugs.Bug) -> None:
    assert bugs.until_found(bug.program, bugs.PORTFOLIO, 1, kills=bug.kills) <= bugs.LIMIT
    if bug.kills:
        assert bugs.until_found(bug.program, bugs.PORTFOLIO, 1, limit=100) == 101


def test_what_has_more_schedules_than_the_limit_is_not_exhausted() -> None:
    assert classes.exhaust(classes.lost_wake_up) is not None
    assert classes.exhaust(classes.reorder, limit=3) is None


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_threads_of_an_example_hold_one_after_the_other(example: Any) -> None:
    parts, holds = example.threads()
    for part in parts:
        part()
    assert holds()


@pytest.mark.parametrize("targets", [groups, beside], ids=["lab", "peers"])
def test_every_target_names_a_group(targets: Any) -> None:
    assert {target.group for target in targets.TARGETS} <= set(targets.GROUPS)
