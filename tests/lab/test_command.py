"""`underpass lab run`: what it explores, prints, and exits with."""

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("greenlet")
pytest.importorskip("typer")

PROGRAMS = """
import underpass
from underpass import lab
from beside import step


def counts(world):
    number = underpass.AtomicInt()
    world.process(number.add, step)
    world.process(number.add, step)
    world.at_end(lambda: number.load() == 2 * step)


def loses(world):
    number = underpass.AtomicInt()
    world.process(add, number)
    world.process(add, number)
    world.at_end(lambda: number.load() == 2)


def add(number):
    number.store(number.load() + 1)


@lab.explored(schedules=30, seed=4)
def test_counts(world):
    counts(world)


@lab.explored()
def test_with_fixture(world, tmp_path):
    pass


def nothing():
    pass


def misuses(world):
    underpass.Semaphore(0).acquire()


LIMIT = 3
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "jobs.py").write_text(PROGRAMS)
    (tmp_path / "beside.py").write_text("step = 1\n")
    (tmp_path / "notes.txt").write_text("")
    return tmp_path


@pytest.fixture
def beside_them(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the command in this interpreter, and forget what it imported."""
    # A native module is imported once: what this test is the first to import, it does not forget.
    importlib.import_module("underpass.lab.stepping")
    monkeypatch.chdir(directory)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", {**sys.modules})


@pytest.fixture
def run(directory: Path) -> Run:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "underpass.tools.cli", "lab", "run", *arguments]
        return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)

    return run


def test_what_passes_is_reported(run: Run) -> None:
    ended = run("jobs.py::counts", "--schedules=40", "--seed=1", "--faults=1", "--preemptions=2", "--strategy=walk")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "counts: not exhausted: 40 schedules (walk, seed 1), ≤ 1 fault, ≤ 2 preemptions\n"


def test_a_failure_is_printed_and_its_command_replays_it(run: Run) -> None:
    ended = run("jobs.py::loses", "--seed=1")
    assert ended.returncode == 1
    assert "✗ loses: invariant" in ended.stdout
    named = re.search(r"underpass lab run '(.*?)' (--replay=\S+)", ended.stdout)
    assert named is not None
    again = run(*named.groups())
    assert again.returncode == 1
    assert "✗ loses: invariant" in again.stdout
    passing = run("jobs.py::loses", "--replay=0")
    assert (passing.returncode, passing.stdout) == (0, "jobs.py::loses: this schedule passes\n")


def test_a_failure_is_written(run: Run, tmp_path: Path) -> None:
    ended = run("jobs.py::loses", "--seed=1", "--html=failure.html", "--json=failure.json")
    assert ended.returncode == 1
    assert json.loads((tmp_path / "failure.json").read_text())["kind"] == "invariant"
    assert "<html" in (tmp_path / "failure.html").read_text()
    assert "written: failure.html" in ended.stdout


def test_an_explored_test_has_settings_of_its_own(run: Run) -> None:
    assert run("jobs.py::test_counts").stdout == "test_counts: not exhausted: 30 schedules (portfolio, seed 4)\n"
    assert "7 schedules (portfolio, seed 4)" in run("jobs.py::test_counts", "--schedules=7").stdout


@pytest.mark.parametrize(
    ("target", "choices", "said"),
    [
        ("jobs.py", {}, "'jobs.py' names no program: write FILE::FUNCTION, as jobs.py::program"),
        ("jobs.py::", {}, "names no program"),
        ("gone.py::counts", {}, "there is no file gone.py"),
        (".::counts", {}, "it is a directory"),
        ("notes.txt::counts", {}, "notes.txt is not a Python file"),
        ("jobs.py::gone", {}, "jobs.py has no function 'gone'; it has counts, loses"),
        ("jobs.py::LIMIT", {}, "jobs.py has no function 'LIMIT'"),
        ("jobs.py::nothing", {}, "nothing() is no program"),
        ("jobs.py::test_with_fixture", {}, "takes tmp_path beside the world"),
        ("jobs.py::misuses", {}, "it would sleep for ever"),
        ("jobs.py::counts", {"strategy": "guess"}, "no strategy is called 'guess'"),
        ("jobs.py::counts", {"strategy": "every", "jobs": 2}, "cannot be divided: jobs=1"),
        ("jobs.py::counts", {"replay": "nonsense"}, "'nonsense' is not a schedule's token"),
    ],
)
@pytest.mark.usefixtures("beside_them")
def test_what_cannot_be_explored_is_told(
    target: str, choices: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from underpass.tools.explorer import Choices
    from underpass.tools.explorer import run as command

    assert command(target, Choices(**choices)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("underpass lab run: ")
    assert said in err


def test_arguments_are_checked(run: Run) -> None:
    assert (run().returncode, run("jobs.py::counts", "--schedules=0").returncode) == (2, 2)
