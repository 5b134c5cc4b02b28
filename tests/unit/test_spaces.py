"""``underpass ls``, ``waits`` and ``sweep``: what they print, and how they exit."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.conformance.backends import Processes
from underpass import Gate, Port, Queue, Semaphore, Space
from underpass.tools.spaces import list_objects, show_waits, sweep
from underpass.tools.spaces.columns import age, size

Output = pytest.CaptureFixture[str]


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Start processes, and end them."""
    world = Processes()
    yield world
    world.close()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line, as a shell does."""
    command = [sys.executable, "-m", "underpass.tools.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def holding_a_lease(name: str) -> None:
    """Make a queue and stay in its lease."""
    queue = Queue.create(name)
    queue.put(b"work")
    with queue.take():
        queue.join()


# ── ls ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_ls_of_an_empty_space_says_so(capsys: Output) -> None:
    path = Space.default().path
    assert list_objects(None, as_json=False) == 0
    assert capsys.readouterr().out == f"{path}: 0 objects: it is empty\n"


def test_ls_shows_objects_in_aligned_columns(processes: Processes) -> None:
    queue, semaphore = Queue.create("jobs", 4, 4096), Semaphore(2)
    pid = os.getpid()
    mapped = processes.start(queue.get)
    mapped.until_asleep()
    done = run("ls")
    assert (done.returncode, done.stderr) == (0, "")
    first, headings, *rows = done.stdout.splitlines()
    assert re.fullmatch(rf"{Space.default().path}: 2 objects, [\d.]+ KiB", first)
    assert headings.split() == ["NAME", "KIND", "SIZE", "CREATOR", "ATTACHED", "STATE"]
    # The sizes end in one column, all others begin in one.
    assert {row.index("alive") for row in rows} == {headings.index("STATE")}
    assert {row.index(str(pid)) for row in rows} == {headings.index("CREATOR")}
    anonymous, named = rows
    assert re.fullmatch(rf"@\S+ +Semaphore +\d+ B +{pid} +.*{pid}.* alive", anonymous)
    assert re.fullmatch(rf"jobs +Queue +[\d.]+ KiB +{pid} +.*{mapped.pid}.* alive", named)
    queue.put(b"")
    mapped.result()
    queue.unlink()
    semaphore.close()


def test_ls_as_json(capsys: Output) -> None:
    with Port.create("desk") as port:
        assert list_objects(None, as_json=True) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["space"] == Space.default().path
        (desk,) = told["objects"]
        assert desk.pop("size") > 0
        pid = os.getpid()
        assert desk == {
            "name": "desk",
            "file": "desk",
            "kind": "Port",
            "creator": pid,
            "attached": [pid],
            "state": "alive",
        }
        assert port.name == "desk"


def test_attached_follows_who_has_it_mapped(processes: Processes) -> None:
    queue = Queue.create("jobs")

    def attached() -> list[int]:
        (info,) = Space.default()
        return info.attached

    assert attached() == [os.getpid()]
    other = processes.start(queue.get)
    other.until_asleep()
    assert sorted(attached()) == sorted([os.getpid(), other.pid])
    other.kill()
    assert attached() == [os.getpid()]
    queue.unlink()
    del queue


def test_a_pipe_in_the_space_holds_nobody_up() -> None:
    path = Path(Space.default().path, "pipe")
    os.mkfifo(path)
    assert "corrupted" in run("ls").stdout
    path.unlink()


def test_a_file_of_somebody_else_is_shown_as_corrupted(capsys: Output) -> None:
    path = Path(Space.default().path, "letter")
    path.write_text("not an object")
    assert list_objects(None, as_json=False) == 0
    assert re.search(r"letter +unknown +13 B +- +- +corrupted\n", capsys.readouterr().out)
    path.unlink()


# ── waits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_waits_of_a_quiet_space_says_so(capsys: Output) -> None:
    path = Space.default().path
    assert show_waits(None, as_json=False) == 0
    assert capsys.readouterr().out == f"{path}: nobody waits\n"


def test_waits_shows_thread_object_operation_time_and_holders(processes: Processes) -> None:
    with Port.create("desk") as port:
        caller = processes.start(port.gate().call)
        caller.until_asleep()
        done = run("waits")
        assert (done.returncode, done.stderr) == (0, "")
        first, headings, row = done.stdout.splitlines()
        assert first == f"{Space.default().path}: 1 thread waiting"
        assert re.split(r"  +", headings) == ["PID", "TID", "WAITS FOR", "IN", "WAITED", "HELD BY"]
        pid = caller.pid
        assert re.fullmatch(rf"{pid} +{pid} +Port 'desk' +call +[\d.]+ s +pid {os.getpid()}", row)
        port.receive().reply()
        caller.result()


def test_waits_marks_cycles_and_exits_with_1(processes: Processes, capsys: Output) -> None:
    holder = processes.start(holding_a_lease, "jobs")
    holder.until_asleep()
    pid = holder.pid
    assert show_waits(None, as_json=False) == 1
    *_, row, circle = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf"{pid} +{pid} +Queue 'jobs' +join +[\d.]+ s +pid {pid} for [\d.]+ s +cycle 1", row)
    assert circle == f"cycle 1: pid {pid} in join of Queue 'jobs', held by pid {pid}"
    assert show_waits(None, as_json=True) == 1
    told = json.loads(capsys.readouterr().out)
    (waiter,) = told["waits"]
    assert told["cycles"] == 1
    assert (waiter["pid"], waiter["name"], waiter["operation"], waiter["cycle"]) == (pid, "jobs", "join", 1)
    assert [held["pid"] for held in waiter["holders"]] == [pid]
    holder.kill()
    assert show_waits(None, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["waits"] == []
    Queue.open("jobs").unlink()


# ── sweep ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_sweep_tells_what_it_removed_and_why(processes: Processes, private_space: Path, capsys: Output) -> None:
    made = processes.flag()

    def leave() -> None:
        kept = [Queue(4), Semaphore(1), Queue.create("named")]
        made.raise_()
        Semaphore(0).acquire()
        kept.clear()

    creator = processes.start(leave)
    made.wait()
    creator.until_asleep()
    creator.kill()
    # This process has not entered: who enters sweeps.
    path = private_space
    files = sorted(file.name for file in path.glob("@*"))
    assert len(files) == 3
    assert sweep(None, as_json=False) == 0
    first, *lines, kept = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf"{path}: 3 objects removed, [\d.]+ KiB", first)
    why = f"its creator, pid {creator.pid}, is dead, and it has no name"
    told = sorted(re.sub(r" \((Queue|Semaphore), [\d.]+ (B|KiB)\)", "", line) for line in lines)
    assert told == [f"removed {file}: {why}" for file in files]
    assert kept == f"kept named (Queue): its creator, pid {creator.pid}, is dead, but named objects stay until unlink"
    assert not list(path.glob("@*"))
    assert sweep(None, as_json=True) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["removed"], [info["name"] for info in again["kept"]]) == ([], ["named"])
    Queue.open("named").unlink()
    assert sweep(None, as_json=False) == 0
    assert capsys.readouterr().out == f"{path}: the dead left nothing\n"


def test_sweep_leaves_the_living_alone(capsys: Output) -> None:
    semaphore = Semaphore(1)
    assert sweep(None, as_json=False) == 0
    assert "nothing" in capsys.readouterr().out
    semaphore.acquire_nowait()
    assert list(Path(Space.default().path).glob("@*"))


# ── other spaces ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("command", ["ls", "waits", "sweep"])
def test_a_space_that_does_not_exist_is_not_made(command: str, private_space: Path) -> None:
    missing = private_space.with_name(private_space.name + "-missing")
    done = run(command, "--space", str(missing))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"underpass {command}: a space at {missing} does not exist\n"
    assert not missing.exists()


def test_a_directory_that_is_no_space_is_left_alone(tmp_path: Path) -> None:
    done = run("ls", "--space", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "does not exist" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("objects", [1, 300])
@pytest.mark.parametrize("arguments", [["ls", "--json"], ["ls"], ["sweep"]])
def test_a_reader_that_leaves_ends_the_command_without_a_word(arguments: list[str], objects: int) -> None:
    kept = [Queue.create(f"jobs/{number}", 1, 8) for number in range(objects)]
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "underpass.tools.cli", *arguments]
    try:
        ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, "")
    for queue in kept:
        queue.unlink()
        queue.close()


AS_NOBODY = """
import os, sys
import underpass
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
queue = underpass.Queue.create("theirs", space=underpass.Space(sys.argv[1]))
print("made", flush=True)
queue.get()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees everybody's spaces")
def test_root_sees_the_space_of_somebody_else_and_changes_nothing(private_space: Path) -> None:
    path = private_space.with_name(private_space.name + "-theirs")
    command = [sys.executable, "-c", AS_NOBODY, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "made\n"
        try:
            listed = json.loads(run("ls", "--json", "--space", str(path)).stdout)
            assert [(info["name"], info["state"]) for info in listed["objects"]] == [("theirs", "alive")]
            while not (waits := json.loads(run("waits", "--json", "--space", str(path)).stdout)["waits"]):
                assert other.poll() is None
            assert [(waiter["pid"], waiter["operation"]) for waiter in waits] == [(other.pid, "get")]
            assert {file.stat().st_uid for file in (path, *path.iterdir())} == {65534}
        finally:
            other.kill()
        shutil.rmtree(path)


# ── numbers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (20_582, "20.1 KiB"), (3 << 40, "3.0 TiB")]
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (5, "5.0 s"), (125.9, "2 min 05 s"), (12_000, "3 h 20 min"), (200_000, "2 d 07 h")],
)
def test_ages(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_a_gate_is_shown_by_its_port(processes: Processes, capsys: Output) -> None:
    with Port.create("desk") as port:
        gate = Gate.open("desk")
        caller = processes.start(gate.call)
        caller.until_asleep()
        show_waits(None, as_json=False)
        assert "Port 'desk'" in capsys.readouterr().out
        port.receive().reply()
        caller.result()
