"""The look at what a test left behind is tested on tests that leave something."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

LEAVES_AN_OBJECT = "def test_it(private_space): (private_space / 'jobs').touch()"
LEAVES_A_CHILD = "import subprocess\ndef test_it(): subprocess.Popen(['sleep', '60'])"
LEAVES_A_THREAD = """
import threading
def test_it():
    threading.Thread(target=threading.Event().wait, name="worker", daemon=True).start()
"""
LEAVES_A_DESCRIPTOR = "import os\ndef test_it(): os.open('/dev/null', os.O_RDONLY)"
LEAVES_NOTHING = "def test_it(private_space): (private_space / '.lives').touch()"
ROLLS = "def test_it(dice): print('rolled', dice.random()); assert 0"
SKIPS = "import pytest\ndef test_it(): pytest.skip('no such kernel')"
SKIPS_WHOLE = "import pytest\npytest.skip('no such kernel', allow_module_level=True)"


IN_ONE_PROCESS = ()
IN_WORKERS = ("-p", "xdist", "-n", "1")
EITHER_WAY = pytest.mark.parametrize("processes", [IN_ONE_PROCESS, IN_WORKERS], ids=["one process", "workers"])


def outcome(
    directory: Path, source: str, *, required: str = "", ci: str = "0", processes: tuple[str, ...] = IN_ONE_PROCESS
) -> tuple[int, str]:
    """Run one test file under the project's conftest, in a process of its own, or in workers of it."""
    shutil.copy(TESTS / "conftest.py", directory)
    (directory / "required.txt").write_text(f"# a comment\n\n{required}\n")
    (directory / "test_planted.py").write_text(source)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        "-W",
        "ignore",
        "--rootdir",
        ".",
        *processes,
        ".",
    ]
    # Its own hooks are what is tested: no plugin is asked.
    environment = os.environ | {"UNDERPASS_CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    run = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    return run.returncode, run.stdout


@pytest.mark.parametrize(
    ("source", "named"),
    [
        (LEAVES_AN_OBJECT, r"left behind: object jobs$"),
        (LEAVES_A_CHILD, r"left behind: process \d+: sleep 60$"),
        (LEAVES_A_THREAD, r"left behind: thread worker$"),
        (LEAVES_A_DESCRIPTOR, r"left behind: descriptor \d+: /dev/null$"),
    ],
)
def test_what_is_left_behind_fails_the_test(tmp_path: Path, source: str, named: str) -> None:
    code, output = outcome(tmp_path, source)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert re.search(named, output, flags=re.MULTILINE), output


def test_the_table_of_lives_may_stay(tmp_path: Path) -> None:
    code, output = outcome(tmp_path, LEAVES_NOTHING)
    assert code == pytest.ExitCode.OK, output


@EITHER_WAY
@pytest.mark.parametrize(("source", "node"), [(SKIPS, "test_planted.py::test_it"), (SKIPS_WHOLE, "test_planted.py")])
def test_skips_are_named_and_counted(tmp_path: Path, source: str, node: str, processes: tuple[str, ...]) -> None:
    _, output = outcome(tmp_path, source, processes=processes)
    assert "1 skipped" in output
    assert f"{node}: no such kernel" in output


@EITHER_WAY
@pytest.mark.parametrize(("ci", "expected"), [("0", pytest.ExitCode.OK), ("1", pytest.ExitCode.TESTS_FAILED)])
def test_a_required_test_may_not_be_skipped_in_ci(
    tmp_path: Path, ci: str, expected: pytest.ExitCode, processes: tuple[str, ...]
) -> None:
    code, output = outcome(tmp_path, SKIPS, required="test_planted.py::test_it", ci=ci, processes=processes)
    assert code == expected, output


@EITHER_WAY
def test_a_required_test_must_run_in_ci(tmp_path: Path, processes: tuple[str, ...]) -> None:
    code, output = outcome(tmp_path, LEAVES_NOTHING, required="test_vanished.py", ci="1", processes=processes)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "test_vanished.py is required and did not run" in output


@pytest.mark.parametrize(("ci", "rolls"), [("1", 1), ("0", 3)])
def test_ci_rolls_the_same_each_time(tmp_path: Path, ci: str, rolls: int) -> None:
    outputs = [outcome(tmp_path, ROLLS, ci=ci)[1] for _ in range(3)]
    assert len({re.search(r"rolled [\d.]+", output)[0] for output in outputs}) == rolls  # type: ignore[index]
