"""A schedule step by step in pdb: where it stops, what is said there, and how each command goes on."""

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("greenlet")
pytest.importorskip("typer")

PROGRAMS = """
import underpass


def add(number):
    now = number.load()
    twice = now
    number.store(now + 1)


def loses(world):
    number = underpass.AtomicInt()
    world.process(add, number)
    world.process(add, number, name="other")
    world.at_end(lambda: number.load() == 2)


def work(jobs):
    with jobs.take():
        assert jobs.statistics().capacity


def dies(world):
    jobs = underpass.Queue()
    world.process(jobs.put, b"job", mortal=False, name="producer")
    world.process(work, jobs)
    world.at_end(lambda: False)


def offer(jobs):
    try:
        jobs.put_nowait(b"job")
    except underpass.WouldBlock:
        jobs.put(b"later")


def chooses(world):
    jobs = underpass.Queue()
    world.process(offer, jobs)
    world.process(lambda: world.choose(3), name="chooser")
    world.at_end(lambda: False)
"""

STEP = [sys.executable, "-m", "underpass.tools.cli", "lab", "run", "--step"]
Step = Callable[..., list[str]]

# Begins, loads; the other does all of it; stores.
LOST = "0x2.1x3.0"


@pytest.fixture
def step(tmp_path: Path) -> Step:
    """Go through a schedule with commands, and return what pdb printed, prompt by prompt."""
    (tmp_path / "jobs.py").write_text(PROGRAMS)

    def step(target: str, *arguments: str, commands: str, exits: int = 1) -> list[str]:
        command = [*STEP, f"jobs.py::{target}", *arguments]
        ended = subprocess.run(
            command,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            input="\n".join([*commands.split(", "), ""]),
        )
        assert ended.returncode == exits, ended.stdout + ended.stderr
        assert ended.stderr == ""
        return ended.stdout.split("(Pdb) ")

    return step


def test_it_stops_wherever_the_lab_chooses(step: Step) -> None:
    told = step("loses", f"--replay={LOST}", commands="s, s, s")
    heads = [re.sub(r"^> .*/", "> ", text, flags=re.MULTILINE) for text in told]
    assert "6 steps" in heads[0]
    assert heads[0].endswith(
        "── step 1: add is about to call AtomicInt.load of atomicint @1\n> jobs.py(6)add()\n-> now = number.load()\n"
    )
    assert heads[1].startswith("── step 3: other is about to call AtomicInt.load of atomicint @1\n")
    assert heads[2].startswith("── step 4: other is about to call AtomicInt.store of atomicint @1\n")
    assert heads[3].startswith("── step 5: add is about to call AtomicInt.store of atomicint @1\n")


def test_the_failure_is_told_at_the_end(step: Step) -> None:
    told = step("loses", f"--replay={LOST}", commands="s, s, s, s")
    assert told[-1].startswith("✗ loses: invariant")
    assert f"--replay={LOST}" in told[-1]


def test_next_stays_with_one_process_and_its_variables_can_be_seen(step: Step) -> None:
    told = step("loses", f"--replay={LOST}", commands="p number, n, p now, n")
    assert told[1].startswith("<AtomicInt @1, value 0>")
    assert told[2].startswith("── step 5: add is about to call AtomicInt.store")
    assert told[3] == "0\n"
    assert told[4].startswith("✗ loses")


def test_next_goes_on_to_another_when_its_process_is_over(step: Step) -> None:
    told = step("loses", "--replay=0x3.1x3", commands="n, n, n", exits=0)
    assert told[1].startswith("── step 2: add is about to call AtomicInt.store")
    assert told[2].startswith("── step 4: other is about to call AtomicInt.load")


def test_continue_goes_on_to_a_breakpoint(step: Step) -> None:
    told = step("loses", f"--replay={LOST}", commands="break 8, continue, continue")
    assert told[1].startswith("Breakpoint 1 at ")
    assert told[2].startswith("── step 4: other is about to call AtomicInt.store")
    assert told[3].startswith("── step 5: add is about to call AtomicInt.store")


@pytest.mark.parametrize("command", ["c", "q", ""])
def test_it_can_be_left(step: Step, command: str) -> None:
    told = step("loses", f"--replay={LOST}", commands=command)
    # An empty line at the first prompt has nothing to repeat; then the input is at its end.
    assert len(told) == (2 if command else 3)
    assert told[-1].lstrip().startswith("✗ loses")


def test_lines_are_steps_too(step: Step) -> None:
    told = step("loses", "--replay=0x5.1x6", "--lines", commands="s, s, s, s")
    steps = [re.findall(r"── step (\d+): (.*)\n> .*/(jobs.py\(\d+\))", text) for text in told]
    assert [found[0] for found in steps[:4]] == [
        ("1", "add is about to run this line", "jobs.py(6)"),
        ("2", "add is about to call AtomicInt.load of atomicint @1", "jobs.py(6)"),
        ("3", "add is about to run this line", "jobs.py(7)"),
        ("4", "add is about to run this line", "jobs.py(8)"),
    ]


def test_deaths_are_told_on_the_way(step: Step) -> None:
    told = "".join(step("dies", "--replay=0x2.1x2.K1", commands="s, s, s, s, s, s, s, s"))
    assert re.search(r"── step \d+: work dies\n", told)


def test_a_refusal_and_a_choice_of_the_program_are_told_apart(step: Step) -> None:
    told = "".join(step("chooses", "--replay=0x2.R0.0.1.P2", commands=", ".join("s" * 9)))
    assert re.search(r"── step \d+: offer finds no room\n", told)
    assert re.search(r"── step \d+: the program chooses 2\n", told)


def test_the_first_failure_is_stepped_through(step: Step) -> None:
    told = step("loses", "--seed=1", commands="s, s, q")
    assert "── step" in told[0]
    assert "found in schedule" in told[-1]


def test_it_works_at_a_terminal(step: Step, tmp_path: Path) -> None:
    assert step
    command = [*STEP, "jobs.py::loses", f"--replay={LOST}"]
    ours, theirs = pty.openpty()
    try:
        running = subprocess.Popen(
            command, cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "dumb"}
        )
        os.close(theirs)
        told = b""
        for answer in (b"s\n", b"q\n"):
            while not told.endswith(b"(Pdb) "):
                told += os.read(ours, 4096)
            told += b"\n"
            os.write(ours, answer)
        while True:
            try:
                told += os.read(ours, 4096)
            except OSError:  # the other side is closed
                break
        assert running.wait() == 1
    finally:
        os.close(ours)
    text = told.decode()
    assert text.index("── step 1: add") < text.index("── step 3: other") < text.index("loses: invariant")
