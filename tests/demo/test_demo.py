"""The demo as its users run it: one command, and what it prints and leaves behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

COMMAND = [sys.executable, "-m", "underpass.tools.cli", "demo"]
AFTER_REPLY = (
    "import sys, pathlib; from underpass.tools.demo.command import Choices, run; "
    "sys.exit(run(Choices(pathlib.Path(sys.argv[1]), seed=int(sys.argv[2]), once=True, after_reply=True)))"
)
HELD = re.compile(r"kill -9: worker \d, pid (\d+), held chunk \d+ of (\S+) for [\d.]+ (µs|ms|s)\n")
CAME_BACK = re.compile(r"it went back to the front of the queue; pid (\d+) got it as delivery 2: its postings had")
PROOF = "nothing lost, nothing twice\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Make a small tree with all kinds of text in it."""
    path = tmp_path / "tree"
    (path / "below").mkdir(parents=True)
    for number in range(24):
        (path / f"{number:02}.py").write_text(f"def f{number}(x):\n    return x + {number}\n\n" * (number * 20 + 1))
    (path / "below" / "long.txt").write_text("words without a line end " * 8_000)
    (path / "below" / "lines.txt").write_text("a line of words\n" * 12_000)
    (path / "below" / "latin.txt").write_bytes("caf\xe9\r\nna\xefve".encode("latin-1"))
    (path / "below" / "unicode.txt").write_text("Straße STRASSE İstanbul\nπ")
    (path / "empty").touch()
    return path


def demo(*arguments: str | Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
    run = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == expect, run.stdout + run.stderr
    return run


@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(seed, marks=pytest.mark.deep) for seed in range(6, 20))])
def test_nothing_is_lost_and_nothing_counted_twice(tree: Path, seed: int) -> None:
    run = demo(tree, "--once", "--seed", str(seed))
    assert run.stderr == ""
    assert run.stdout.endswith(PROOF)
    assert f"seed {seed} " in run.stdout
    held, back = HELD.search(run.stdout), CAME_BACK.search(run.stdout)
    assert held, run.stdout
    assert back, run.stdout
    assert held[1] != back[1], "another worker got it"
    assert (tree / held[2]).exists()
    assert "2 undecodable places were replaced" in run.stdout


def test_a_seed_chooses_the_same_chunk_again(tree: Path) -> None:
    first, second = (HELD.search(demo(tree, "--once", "--seed", "7").stdout) for _ in range(2))
    assert first
    assert second
    assert first[2] == second[2]


@pytest.mark.parametrize("seed", range(2))
def test_killed_between_the_reply_and_the_end_of_the_lease(tree: Path, seed: int) -> None:
    command = [sys.executable, "-c", AFTER_REPLY, str(tree), str(seed)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "delivery 2: its postings had been applied, so they were not again" in run.stdout
    assert run.stdout.endswith(PROOF)


def test_one_altered_posting_fails(tree: Path) -> None:
    run = demo(tree, "--once", "--alter", expect=1)
    assert "FAILED" in run.stdout.splitlines()[-1]
    assert "1 lost, 1 too many" in run.stdout
    assert PROOF not in run.stdout


def test_one_worker_and_nobody_killed(tree: Path) -> None:
    run = demo(tree, "--once", "--workers", "1", "--no-kill")
    assert run.stdout.endswith(PROOF)
    assert "kill -9" not in run.stdout


def test_one_worker_is_replaced(tree: Path) -> None:
    run = demo(tree, "--once", "--workers", "1", "--seed", "3")
    assert run.stdout.endswith(PROOF)
    assert CAME_BACK.search(run.stdout)


def test_the_comparison(tree: Path) -> None:
    run = demo(tree, "--once", "--compare", "--seed", "4")
    assert re.search(r"underpass +[\d.]+ s .*\n +multiprocessing +[\d.]+ s ", run.stdout)
    assert run.stdout.endswith(PROOF)


@pytest.mark.parametrize(("name", "text"), [("nowhere", "does not exist"), ("vacant", "holds no text to index")])
def test_nothing_to_index_is_one_line(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "vacant").mkdir()
    run = demo(tmp_path / name, expect=2)
    assert run.stdout == ""
    assert run.stderr == f"underpass demo: {tmp_path / name} {text}\n"


# ── Ctrl-C ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def started(*arguments: str | Path) -> Generator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    with process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def living(session: int) -> list[str]:
    """Name the processes that ``session`` started; those that have ended and wait to be collected are none."""
    found: list[str] = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            state, _, group = (path / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(group) == session and state not in "ZX":
                found.append((path / "cmdline").read_text().replace("\0", " "))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


# From the first line on, while it indexes, when somebody has just died, when it proves.
@pytest.mark.parametrize(
    ("marker", "options"),
    [
        ("indexing ", []),
        ("kill -9", ["--once"]),
        (r"indexing +\d+%", []),
        ("indexed:", ["--once"]),
        ("query:", ["--once"]),
    ],
)
def test_ctrl_c_ends_it_cleanly(tree: Path, private_space: Path, marker: str, options: list[str]) -> None:
    # On a slow machine it may have proved everything before it is told.
    assert any(is_interrupted(tree, private_space, marker, options) for _ in range(5))


def is_interrupted(tree: Path, space: Path, marker: str, options: list[str]) -> bool:
    """Interrupt a run once it has printed that; whether it was not over."""
    with started(tree, "--seed", "1", *options) as process:
        assert process.stdout
        assert process.stderr
        for line in process.stdout:
            if re.match(marker, line):
                break
        # As a terminal does: to everybody.
        os.killpg(process.pid, signal.SIGINT)
        rest, errors = process.stdout.read(), process.stderr.read()
        if PROOF in rest:
            return False
        assert process.wait() == 130, rest + errors
        assert errors == "underpass demo: interrupted; all processes have ended, nothing is left in the space\n"
        assert {path.name for path in space.iterdir()} <= {".lives"}
        # All of the demo's own have been waited for. A servant of multiprocessing ends when it finds its parent gone.
        deadline = time.monotonic() + 20
        while living(process.pid):
            assert time.monotonic() < deadline, living(process.pid)
            time.sleep(0.01)
    return True


@pytest.mark.parametrize("delay", [0, 0.001, 0.01, 0.05, 0.1, 0.2])
def test_ctrl_c_while_it_starts_ends_it_cleanly(tree: Path, private_space: Path, delay: float) -> None:
    with started(tree, "--seed", "1") as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        # Where exactly it is then nobody can say: the processes are being started.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(delay)
        os.killpg(process.pid, signal.SIGINT)
        rest, errors = process.stdout.read(), process.stderr.read()
        assert process.wait() == 130, rest + errors
        assert "Traceback" not in errors
        assert {path.name for path in private_space.iterdir()} <= {".lives"}


INTERRUPTED_IN_A_STRING = """
import sys

from underpass.tools import app, cli

def interrupted():
    try:
        exec("raise KeyboardInterrupt")
    except KeyboardInterrupt:
        sys.exit(130)

app.app = interrupted
cli.main()
"""


def test_ctrl_c_while_a_dataclass_is_made_has_the_same_exit_code(tmp_path: Path) -> None:
    # CPython, under -m, dies of the signal when an interrupt left code in a string, caught or not.
    (tmp_path / "interrupted.py").write_text(INTERRUPTED_IN_A_STRING)
    run = subprocess.run([sys.executable, "-m", "interrupted"], cwd=tmp_path, check=False)
    assert run.returncode == 130
