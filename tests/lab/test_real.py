"""Schedules of the lab, forced on real processes: they fail there as they do in the lab, and what passes there passes."""

import os
import random
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import greenlet
import pytest

pytest.importorskip("greenlet")

import underpass
from underpass import (
    AtomicInt,
    Gate,
    Mutex,
    NotFoundError,
    OutOfSpaceError,
    Port,
    Queue,
    Semaphore,
    Space,
    TimedOut,
    UnderpassError,
    _core,
    lab,
)
from underpass.lab import Diverged, Failure, World
from underpass.lab.judge import judge
from underpass.lab.real import force
from underpass.lab.stage import Program, Stage

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


def names_come(world: World) -> None:
    def make() -> None:
        Semaphore.create("other", 1)
        Semaphore.create("name", 1)

    def use() -> None:
        with suppress(NotFoundError):
            Semaphore.open("name", timeout=5).acquire()

    world.process(make)
    world.process(use)
    world.process(use)


def calls(world: World) -> None:
    def serve() -> None:
        with Port.create("desk") as port, suppress(TimedOut):
            port.receive(timeout=5).reply(b"once")
            port.serve_bytes(lambda data: data * 2)

    def serve_again() -> None:
        world.join(server)
        with suppress(OutOfSpaceError):
            serve()

    def call() -> None:
        with suppress(UnderpassError):
            gate = Gate.open("desk", timeout=5)
            gate.call(b"word", timeout=3)
            gate.send(b"word")

    server = world.process(serve, servant=True)
    world.process(serve_again, servant=True, mortal=False)
    world.process(call)
    world.process(call)


class Desk(underpass.Interface):
    """What is asked there."""

    def add(self, left: int, right: int) -> int:
        """Add."""
        return left + right

    def fail(self) -> None:
        """Raise."""
        raise LookupError("not on this desk")


def typed(world: World) -> None:
    def serve() -> None:
        with suppress(OutOfSpaceError):
            underpass.serve(Desk(), at="desk")

    def call() -> None:
        with suppress(UnderpassError):
            desk = underpass.connect(Desk, "desk", timeout=5)
            assert desk.add(1, 2) == 3
            with suppress(LookupError):
                desk.fail()

    world.process(serve, servant=True)
    world.process(call)
    world.process(call)


def full(world: World) -> None:
    jobs = Queue(2, 8)

    def put() -> None:
        for _ in range(2):
            with suppress(TimedOut):
                jobs.put(b"job", timeout=1)
        with suppress(OutOfSpaceError):
            Queue(1, 8)

    def get() -> None:
        for _ in range(2):
            with suppress(TimedOut):
                jobs.get(timeout=2)

    world.process(put)
    world.process(put)
    world.process(get)


def outcome(call: Callable[[], object]) -> None:
    with suppress(UnderpassError):
        call()


def walk(program: Program, seed: int, *, kills: int = 0, faults: int = 0) -> str:
    """Return the token of a random schedule."""
    machine = _core.Lab("walk", seed, kills=kills, faults=faults, steps=200)
    machine.begin(greenlet.getcurrent().switch)
    Stage(machine, program).run(judge)
    return machine.token


PROGRAMS = pytest.mark.parametrize("program", [threads, messages, names_come, calls, typed, full])
BUDGETS = pytest.mark.parametrize("kills", [0, 2])


@PROGRAMS
@BUDGETS
def test_random_schedules_end_alike(program: Program, kills: int) -> None:
    for seed in range(3):
        force(program, walk(program, seed, kills=kills), 200)


@pytest.mark.deep
@PROGRAMS
@BUDGETS
def test_many_random_schedules_end_alike(program: Program, kills: int, dice: random.Random) -> None:
    for _ in range(100):
        force(program, walk(program, dice.randrange(2**32), kills=kills), 200)


def test_refusals_are_forced() -> None:
    tokens = [walk(full, seed, faults=3) for seed in range(100)]
    refused = [token for token in tokens if "R" in token]
    for token in refused[:5]:
        force(full, token, 200)
    assert len(refused) >= 5


def test_what_is_told_of_a_call_in_hand_is_told_there_too() -> None:
    """Only its server has the channel, which goes with it."""

    def program(world: World) -> None:
        kept: list[object] = []

        def serve() -> None:
            with Port.create("desk") as port:
                kept.append(port.receive())

        world.process(serve)
        world.process(lambda: outcome(Gate.open("desk", timeout=None).call), name="call")

    with pytest.raises(Failure) as failed:
        lab.replay(program, "0", real=True)
    assert failed.value.real == "the same leak: serve ended and left a call at port 'desk' unanswered"


def test_what_only_garbage_holds_is_no_leak_there_either() -> None:
    def program(world: World) -> None:
        jobs = Queue(1, 8)
        jobs.put(b"job")

        def take() -> None:
            ring: list[object] = [jobs.take()]
            ring.append(ring)

        world.process(take)

    lab.replay(program, "0", real=True)


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


def nested(world: World) -> None:
    number = AtomicInt()
    world.process(lambda: world.process(number.load), name="start")


def test_processes_that_start_others_are_told() -> None:
    with pytest.raises(Diverged, match="starts another"):
        lab.replay(nested, "0", real=True)


def test_a_failure_that_cannot_be_forced_is_a_failure_all_the_same() -> None:
    def program(world: World) -> None:
        nested(world)
        world.at_end(lambda: False)

    with pytest.raises(Failure) as failed:
        lab.explore(program, schedules=5, seed=1, real=True)
    assert "starts another" in (failed.value.real or "")


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
