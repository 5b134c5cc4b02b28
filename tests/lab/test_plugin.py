"""The plugin of pytest, in a pytest of its own: explored tests, its options, and what a run prints."""

import functools
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("greenlet")

TESTS = """
import pytest
import underpass
from underpass import lab


@lab.explored(schedules=50, seed=1)
def test_counts(world, tmp_path):
    assert tmp_path.is_dir()
    number = underpass.AtomicInt()
    world.process(number.add, 1)
    world.process(number.add, 1)
    world.at_end(lambda: number.load() == 2)


class TestMethods:
    @pytest.mark.parametrize("count", [1, 2])
    @lab.explored(strategy="every")
    def test_starts(self, world, count):
        number = underpass.AtomicInt()
        for _ in range(count):
            world.process(number.add, 1)


@lab.explored(seed=3)
def test_loses(world):
    number = underpass.AtomicInt()

    def add():
        number.store(number.load() + 1)

    world.process(add)
    world.process(add)
    world.at_end(lambda: number.load() == 2)


def test_plain():
    pass
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tests")
    (directory / "test_it.py").write_text(TESTS)
    return directory


@pytest.fixture(scope="module")
def run(directory: Path) -> Run:
    @functools.cache
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "underpass_pytest", *arguments]
        # Others' plugins take their time.
        alone = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONWARNINGS": "error"}
        return subprocess.run(command, cwd=directory, env=alone, capture_output=True, text=True, check=False)

    return run


def test_nothing_is_imported_before_an_explored_test_runs(tmp_path: Path) -> None:
    (tmp_path / "test_plain.py").write_text(
        "import sys\n"
        "def test_alone():\n"
        "    assert 'underpass_pytest' in sys.modules\n"
        "    assert not {'underpass', 'underpass._core', 'underpass.lab', 'greenlet'} & set(sys.modules)\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_plain.py"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout
    assert "lab:" not in ended.stdout


def test_what_passes_is_summed_up(run: Run) -> None:
    ended = run("-k", "not loses")
    assert ended.returncode == 0, ended.stdout
    assert re.search(r"lab: 3 explored, \d+ schedules", ended.stdout)
    assert "test_counts:" not in ended.stdout


def test_what_fails_was_explored_too(run: Run) -> None:
    assert re.search(r"lab: 4 explored, 1 failed, \d+ schedules", run().stdout)


def test_verbosely_each_says_what_it_covered(run: Run) -> None:
    out = run("-v", "-k", "not loses").stdout
    assert "test_it.py::test_counts: not exhausted: 50 schedules (portfolio, seed 1)" in out
    assert "test_it.py::TestMethods::test_starts[2]: exhausted:" in out


def test_it_stands_in_a_junit_file(run: Run, directory: Path) -> None:
    run("-k", "counts", "--junit-xml=report.xml")
    properties = ET.parse(directory / "report.xml").iter("property")  # noqa: S314 - our own
    assert {entry.get("name"): entry.get("value") for entry in properties}["lab schedules"] == "50"


def test_a_failure_shows_itself_without_the_frames_of_the_lab(run: Run) -> None:
    ended = run("-k", "loses")
    assert ended.returncode == 1
    assert "✗ test_loses: invariant" in ended.stdout
    assert "number.store(number.load() + 1)" in ended.stdout
    assert "underpass/lab" not in ended.stdout
    assert "hidden" not in ended.stdout
    assert "FAILED test_it.py::test_loses - ✗ test_loses: invariant" in ended.stdout


def test_a_full_trace_shows_them(run: Run) -> None:
    assert "underpass/lab/exploration.py" in run("-k", "loses", "--full-trace").stdout


def test_the_command_that_a_failure_names_replays_it(run: Run) -> None:
    named = re.search(r"pytest '(.*?)' (--lab-replay=\S+)", run("-k", "loses").stdout)
    assert named is not None
    again = run(*named.groups())
    assert again.returncode == 1
    assert "✗ test_loses: invariant" in again.stdout
    passing = run("test_it.py::test_loses", "--lab-replay=0")
    assert passing.returncode == 0, passing.stdout


def test_a_token_belongs_to_one_test(run: Run) -> None:
    ended = run("--lab-replay=0")
    assert ended.returncode == pytest.ExitCode.USAGE_ERROR
    assert "a token is of one test, and 4 explored tests are selected" in ended.stderr
    assert "0 explored tests" in run("-k", "plain", "--lab-replay=0").stderr


def test_what_is_no_token_is_refused(run: Run) -> None:
    ended = run("-k", "counts", "--lab-replay=nonsense")
    assert ended.returncode == 1
    assert "'nonsense' is not a schedule's token" in ended.stdout


def test_the_command_line_goes_before_the_decorator(run: Run) -> None:
    out = run("-v", "-k", "counts", "--lab-schedules=20", "--lab-seed=9").stdout
    assert "not exhausted: 20 schedules (portfolio, seed 9)" in out
    assert run("--lab-schedules=0").returncode == pytest.ExitCode.USAGE_ERROR


def test_a_failing_schedule_is_gone_through_in_pdb(directory: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "underpass_pytest", "-k", "loses"]
    alone = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONWARNINGS": "error"}
    ended = subprocess.run(
        [*command, "--lab-step"], cwd=directory, env=alone, capture_output=True, text=True, check=False,
        input="s\ns\np number\nn\nc\n",
    )  # fmt: skip
    assert ended.returncode == 1
    stops = re.findall(r"── step \d+: (.*)", ended.stdout)
    assert len(stops) >= 3
    assert stops[0].startswith("add")
    assert "is about to call AtomicInt.load of atomicint @1" in stops[0]
    assert "-> number.store(number.load() + 1)" in ended.stdout
    assert "<AtomicInt @1, value" in ended.stdout
    assert "FAILED test_it.py::test_loses - ✗ test_loses: invariant" in ended.stdout
    # Where nobody is at the terminal, nothing waits for them.
    ended = subprocess.run(
        [*command, "--lab-step", "--lab-lines"], cwd=directory, env=alone, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert ended.returncode == 1
    assert len(re.findall(r"── step \d+: .* is about to run this line", ended.stdout)) == 1
    assert "--lab-lines --lab-replay=" in ended.stdout


def test_what_passes_is_not_stepped_through(run: Run) -> None:
    out = run("-k", "counts", "--lab-step").stdout
    assert "1 passed" in out
    assert "── step" not in out


def test_it_can_be_turned_off(run: Run) -> None:
    ended = run("-p", "no:underpass_pytest", "-k", "counts")
    assert ended.returncode == 0
    assert "lab:" not in ended.stdout
