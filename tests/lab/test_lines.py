"""Lines as scheduling points: what falls between two of them is found, told and repeated."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("greenlet")

from underpass import AtomicInt, Queue, lab
from underpass.lab import Failure, World


def count(path: Path) -> None:
    number = int(path.read_text())
    path.write_text(str(number + 1))


def counted_in_a_file(world: World, path: Path) -> None:
    path.write_text("0")
    world.process(count, path)
    world.process(count, path)
    world.at_end(lambda: path.read_text() == "2")


def test_only_lines_tell_of_what_is_no_object(tmp_path: Path) -> None:
    def program(world: World) -> None:
        counted_in_a_file(world, tmp_path / "number")

    assert lab.explore(program, schedules=100, seed=1).schedules <= 100
    with pytest.raises(Failure) as found:
        lab.explore(program, schedules=100, seed=1, lines=True)
    assert found.value.kind == "invariant"
    assert "number = int(path.read_text())" in str(found.value)
    assert "lines=True" in str(found.value)
    with pytest.raises(Failure) as again:
        lab.replay(program, found.value.token, lines=True)
    assert again.value.trace.moments == found.value.trace.moments


@pytest.mark.parametrize("strategy", ["every", "dpor"])
def test_the_orders_of_lines_are_counted(strategy: str) -> None:
    """Two processes of two lines: each begins, and then runs two steps."""

    def pass_two() -> None:
        _ = 1
        _ = 2

    def program(world: World) -> None:
        world.process(pass_two)
        world.process(pass_two)
        world.at_end(lambda: runs.append(1))

    runs: list[int] = []
    report = lab.explore(program, strategy=strategy, lines=True)
    assert report.exhausted
    # All orders of three steps and three; where the beginning of a process touches nothing, of two and two.
    assert len(runs) == {"every": 20, "dpor": 6}[strategy]


def test_a_process_dies_between_two_lines(tmp_path: Path) -> None:
    def write() -> None:
        (tmp_path / "one").touch()
        (tmp_path / "two").touch()

    def program(world: World) -> None:
        for path in tmp_path.iterdir():
            path.unlink()
        world.process(write)
        world.at_end(lambda: len(list(tmp_path.iterdir())) != 1)

    with pytest.raises(Failure) as found:
        lab.explore(program, schedules=200, seed=1, kills=1, lines=True)
    assert "dies" in {moment.what for moment in found.value.trace.moments}
    assert "touch()" in str(found.value)


def test_a_seed_repeats_with_its_lines(tmp_path: Path) -> None:
    tokens: set[str] = set()

    def program(world: World) -> None:
        counted_in_a_file(world, tmp_path / "number")

    for _ in range(2):
        with pytest.raises(Failure) as found:
            lab.explore(program, seed=5, lines=True)
        tokens.add(found.value.token)
    assert len(tokens) == 1


def test_what_a_closure_holds_survives_that_others_go_on() -> None:
    """The interpreter writes variables back after a line was told: it must not undo what others did meanwhile."""

    def program(world: World) -> None:
        total = 0

        def add() -> None:
            nonlocal total
            for _ in range(2):
                total += 1

        process = world.process(add)
        world.thread(process, add)
        world.at_end(lambda: total == 4)

    assert lab.explore(program, schedules=300, seed=1, lines=True).schedules == 300


def test_the_library_and_its_objects_are_no_lines_of_the_program() -> None:
    queue_steps: list[int] = []

    def program(world: World) -> None:
        jobs = Queue()
        world.process(jobs.put, b"job")
        world.process(jobs.get)

    for lines in (False, True):
        report = lab.explore(program, strategy="every", lines=lines)
        assert report.exhausted
        queue_steps.append(report.schedules)
    assert queue_steps[0] == queue_steps[1]


def test_who_traced_before_traces_again() -> None:
    def trace(*_: object) -> None:
        return None

    def program(world: World) -> None:
        world.process(AtomicInt().add, 1)

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        lab.explore(program, schedules=3, lines=True)
        assert sys.gettrace() is trace
    finally:
        sys.settrace(before)
