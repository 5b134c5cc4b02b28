"""Schedules of the lab, forced on real processes: they fail there as they do in the lab, and what passes there passes."""

import os
import subprocess
import sys
from pathlib import Path

import greenlet
import pytest

pytest.importorskip("greenlet")

from tests.lab import counterexamples
from underpass import AtomicInt, Gate, Mutex, Port, Queue, Semaphore, Space, _core, lab
from underpass.lab import Diverged, Failure, World
from underpass.lab.judge import judge
from underpass.lab.real import force
from underpass.lab.stage import Program, Stage

known = counterexamples.known()
names = pytest.mark.parametrize("name", known)

TESTS = """
import underpass
from underpass import lab


@lab.explored(schedules=50, seed=1)
def test_loses(world):
    number = underpass.AtomicInt()

    def add():
        number.store(number.load() + 1)

    world.process(add)
    world.process(add)
    world.at_end(lambda: number.load() == 2)
"""


# ── the planted bugs ────────────────────────────────────────────────────────────────────────────────────────────────────


@names
def test_a_planted_bug_fails_on_real_processes_too(name: str) -> None:
    bug = counterexamples.bugs[name]
    with pytest.raises(Failure) as failed:
        lab.replay(bug.broken, known[name]["token"], steps=bug.steps, real=True)
    assert failed.value.kind == known[name]["kind"]
    assert (failed.value.real or "").startswith(f"the same {failed.value.kind}: ")


@names
def test_its_corrected_twin_passes_there(name: str) -> None:
    bug = counterexamples.bugs[name]
    lab.replay(bug.fixed, known[name]["token"], steps=bug.steps, real=True)


# ── any schedule ────────────────────────────────────────────────────────────────────────────────────────────────────────


def threads(world: World) -> None:
    lock, count = Mutex(), AtomicInt()

    def visit() -> None:
        with lock.recovering():
            count.add(1)

    def follow() -> None:
        world.join(first)
        count.add(1)

    first = world.process(visit)
    world.thread(first, visit)
    world.process(visit)
    world.process(follow, mortal=False)


def messages(world: World) -> None:
    jobs = Queue(1, 8)

    def put() -> None:
        jobs.put(b"1")
        jobs.put(b"2", timeout=1)

    def take() -> None:
        with jobs.take(timeout=1):
            pass
        with jobs.take():
            pass

    world.process(put)
    world.process(take)
    world.process(put)


def walk(program: Program, seed: int, *, kills: int = 0, faults: int = 0) -> str:
    """Return the token of a random schedule."""
    machine = _core.Lab("walk", seed, kills=kills, faults=faults, steps=200)
    machine.begin(greenlet.getcurrent().switch)
    Stage(machine, program).run(judge)
    return machine.token


@pytest.mark.parametrize("program", [threads, messages])
@pytest.mark.parametrize("kills", [0, 2])
def test_random_schedules_end_alike(program: Program, kills: int) -> None:
    for seed in range(10):
        force(program, walk(program, seed, kills=kills), 200)


def test_sleeps_that_end_without_a_cause_and_stops_are_forced() -> None:
    for seed in range(10):
        force(threads, walk(threads, seed, faults=2), 200)


# ── it is real ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_processes_are_real_and_the_killed_one_is_gone() -> None:
    def program(world: World) -> None:
        pids = [AtomicInt(), AtomicInt()]

        def tell(number: int) -> None:
            pids[number].store(os.getpid())
            pids[number].load()

        world.process(tell, 0)
        world.process(tell, 1, mortal=False)

        def differ() -> bool:
            told = [pid.load() for pid in pids]
            if _core.in_lab():
                return True
            return len({*told, os.getpid()}) == 3 and not Path(f"/proc/{told[0]}").exists()

        world.at_end(differ)

    lab.replay(program, "0x2.K0.1", real=True)


def test_its_space_is_another_and_is_removed(tmp_path: Path) -> None:
    told = tmp_path / "space"

    def program(world: World) -> None:
        number = AtomicInt()
        if not _core.in_lab():
            told.write_text(Space.default().path)
        world.process(number.load)

    lab.replay(program, "0", real=True)
    space = Path(told.read_text())
    assert space != Path(Space.default().path)
    assert not space.exists()


# ── what cannot be forced is said ───────────────────────────────────────────────────────────────────────────────────────


def test_processes_that_do_something_else_than_in_the_lab_are_told() -> None:
    def program(world: World) -> None:
        number = AtomicInt()

        def work() -> None:
            number.load()
            if not _core.in_lab():
                number.load()

        world.process(work)
        world.process(work)

    with pytest.raises(Diverged, match=r"diverged at step \d+ of \d+: work could go on") as told:
        lab.replay(program, "0", real=True)
    assert told.value.step > 0


def test_another_end_is_told() -> None:
    def program(world: World) -> None:
        number = AtomicInt()
        world.process(number.add, 1)
        world.at_end(_core.in_lab)

    with pytest.raises(Diverged, match="in the lab it passes; on real processes at the end: in_lab returned False"):
        lab.replay(program, "0", real=True)


def test_a_process_that_ends_by_itself_is_told() -> None:
    def program(world: World) -> None:
        number = AtomicInt()

        def work() -> None:
            number.load()
            if not _core.in_lab():
                os._exit(3)

        world.process(work)

    with pytest.raises(Diverged, match="has ended by itself"):
        lab.replay(program, "0", real=True)


def named(world: World) -> None:
    world.process(lambda: Semaphore.create("name", 1), name="make")
    world.process(lambda: Semaphore.open("name", timeout=5), name="use")


def port(world: World) -> None:
    def serve() -> None:
        with Port.create("port"):
            pass

    def call() -> None:
        Gate.open("port").close()

    world.process(serve)
    world.process(call)


def nested(world: World) -> None:
    number = AtomicInt()
    world.process(lambda: world.process(number.load), name="start")


@pytest.mark.parametrize(
    ("program", "token", "why"),
    [
        (named, "1.0", "use waits for a name to appear"),
        (port, "0", "serve makes a port"),
        (nested, "0", "starts another"),
    ],
)
def test_what_is_not_conducted_is_told(program: Program, token: str, why: str) -> None:
    with pytest.raises(Diverged, match=why):
        lab.replay(program, token, real=True)


def test_a_failure_that_cannot_be_forced_is_a_failure_all_the_same() -> None:
    def program(world: World) -> None:
        nested(world)
        world.at_end(lambda: False)

    with pytest.raises(Failure) as failed:
        lab.explore(program, schedules=5, seed=1, real=True)
    assert "starts another" in (failed.value.real or "")


def test_what_the_lab_alone_tells_is_said() -> None:
    def program(world: World) -> None:
        world.process(Mutex().acquire, name="take")

    with pytest.raises(Failure) as failed:
        lab.replay(program, "0", real=True)
    assert failed.value.real == "the same order to its end; a leak is told by the lab alone"


def test_schedules_of_lines_are_refused() -> None:
    def program(world: World) -> None:
        world.process(AtomicInt().load)

    with pytest.raises(Diverged, match="lines of the program are points of the lab alone"):
        lab.replay(program, "0", lines=True, real=True)


# ── where it is asked for ───────────────────────────────────────────────────────────────────────────────────────────────


def test_pytest_says_it(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "underpass_pytest", "--lab-real"]
    alone = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONWARNINGS": "error"}
    ended = subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "On real processes: the same invariant: at the end: <lambda> returned False" in ended.stdout
    assert "--lab-real" in ended.stdout


def test_the_command_says_it(tmp_path: Path) -> None:
    pytest.importorskip("typer")
    (tmp_path / "jobs.py").write_text(TESTS)
    command = [sys.executable, "-m", "underpass.tools.cli", "lab", "run", "jobs.py::test_loses"]
    for more, code, said in [
        (["--real"], 1, "On real processes: the same invariant"),
        (["--real", "--replay=0"], 0, "this schedule passes, on real processes too"),
    ]:
        ended = subprocess.run([*command, *more], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stderr) == (code, "")
        assert said in ended.stdout
