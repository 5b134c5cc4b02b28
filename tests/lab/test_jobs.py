"""Explorations on several CPUs: what they find does not depend on who is faster, and nobody is left."""

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

import underpass

pytest.importorskip("greenlet")

from underpass import lab
from underpass.lab import Failure, World
from underpass.lab.jobs import ALONE, Raised, Worker, first, worker_seed
from underpass.lab.search import Found, Tally


def passes(world: World) -> None:
    number = underpass.AtomicInt()
    world.process(number.add, 1)
    world.process(number.add, 1)
    world.at_end(lambda: number.load() == 2)


def rarely_fails(world: World) -> None:
    """About one schedule in a thousand: ten coins all show heads."""
    coins = [world.choose(2) for _ in range(10)]
    world.process(lambda: None)
    world.at_end(lambda: not all(coins))


def explore_until_it_fails(seed: int, jobs: int) -> tuple[int, str]:
    with pytest.raises(Failure) as found:
        lab.explore(rarely_fails, strategy="walk", schedules=100_000, seed=seed, jobs=jobs)
    return found.value.trace.schedules, found.value.token


# A seed whose first failure comes after the fork.
SEED = 1


def test_a_seed_and_a_number_of_jobs_find_the_same() -> None:
    found = explore_until_it_fails(SEED, 3)
    assert found[0] > ALONE
    assert [explore_until_it_fails(SEED, 3) for _ in range(4)] == [found] * 4


def test_what_is_covered_is_counted() -> None:
    reports = [lab.explore(passes, strategy="portfolio", schedules=2_001, seed=1, jobs=2) for _ in range(2)]
    assert [report.schedules for report in reports] == [2_001, 2_001]
    assert reports[0].steps == reports[1].steps
    assert "2,001 schedules (portfolio, seed 1, 2 jobs)" in str(reports[0])


def test_what_is_short_is_not_shared() -> None:
    seen: list[int] = []

    def program(world: World) -> None:
        seen.append(os.getpid())
        passes(world)

    assert lab.explore(program, schedules=ALONE, seed=1, jobs=2).jobs == 1
    # Some are followed again.
    assert set(seen) == {os.getpid()}
    assert len(seen) >= ALONE


def test_jobs_have_dice_of_their_own() -> None:
    assert len({worker_seed(seed, place) for seed in range(4) for place in range(4)}) == 16


class TestTheFirstCounts:
    """The order is: the first schedule of each worker, the second of each, ..."""

    @staticmethod
    def workers(*told: tuple[int, int | None, bool]) -> list[Any]:
        def outcome(number: int | None) -> Found | None:
            return None if number is None else Found(number, lab.Verdict("invariant", "it broke"), "")

        worker: Any = Worker
        return [
            worker(place, 0, 0, None, Tally(schedules), outcome(number), over)
            for place, (schedules, number, over) in enumerate(told)
        ]

    @pytest.mark.parametrize(
        ("told", "who"),
        [
            (((5, 4, True), (4, None, False)), 0),  # the other's fifth comes after it
            (((5, 4, True), (3, None, False)), None),
            (((4, None, False), (5, 4, True)), None),  # the other's fifth comes before it
            (((5, None, False), (5, 4, True)), 1),
            (((5, 4, True), (5, 4, True)), 0),
            (((6, 5, True), (5, 4, True)), 1),
            (((2, None, True), (5, 4, True)), 1),  # it has no fifth
            (((9, None, False), (9, None, False)), None),
        ],
    )
    def test_and_only_when_the_others_have_passed_it(
        self, told: tuple[tuple[int, int | None, bool], ...], who: int | None
    ) -> None:
        found = first(self.workers(*told))
        assert (None if found is None else found[0].place) == who


def test_what_the_program_itself_raises_comes_through() -> None:
    home = os.getpid()

    def program(world: World) -> None:
        if os.getpid() != home:
            raise LookupError("only in a worker")
        passes(world)

    with pytest.raises(LookupError, match="only in a worker") as found:
        lab.explore(program, schedules=2_000, seed=1, jobs=2)
    assert "raised in a worker" in found.value.__notes__[0]


def test_an_error_that_cannot_travel_is_told() -> None:
    home = os.getpid()

    class Local(Exception):
        pass

    def program(world: World) -> None:
        if os.getpid() != home:
            raise Local("from here")
        passes(world)

    with pytest.raises(RuntimeError, match="Local: from here"):
        lab.explore(program, schedules=2_000, seed=1, jobs=2)
    assert Raised(0, Local()).number == 0


def test_a_killed_worker_is_told_and_nobody_is_left() -> None:
    home = os.getpid()

    def program(world: World) -> None:
        if os.getpid() != home:
            os.kill(os.getpid(), signal.SIGKILL)
        passes(world)

    with pytest.raises(underpass.DiedError, match=r"worker \d of 2 \(pid \d+\) was killed by SIGKILL") as died:
        lab.explore(program, schedules=2_000, seed=1, jobs=2)
    with pytest.raises(ProcessLookupError):
        os.kill(died.value.pid, 0)


def test_a_worker_that_exits_is_told() -> None:
    home = os.getpid()

    def program(world: World) -> None:
        if os.getpid() != home:
            os._exit(0)
        passes(world)

    with pytest.raises(underpass.DiedError, match="exited after 0 schedules: jobs=1"):
        lab.explore(program, schedules=2_000, seed=1, jobs=2)


def test_arguments_out_of_range() -> None:
    with pytest.raises(ValueError, match="jobs=0"):
        lab.explore(passes, jobs=0)
    with pytest.raises(ValueError, match="'every' goes through the schedules in order"):
        lab.explore(passes, jobs=2, strategy="every")
    with pytest.raises(ValueError, match="no strategy is called 'guess'"):
        lab.explore(passes, jobs=2, strategy="guess")


# ── Ctrl-C ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

ENDLESS = """
import json, os, sys
import underpass
from underpass import lab

home = os.getpid()
told = False

def program(world):
    global told
    if not told and (JOBS == 1 or os.getpid() != home):
        told = True
        os.write(1, f"{os.getpid()}\\n".encode())
    number = underpass.AtomicInt()
    world.process(number.add, 1)
    world.process(number.add, 1)

try:
    lab.explore(program, schedules=10**9, seed=1, jobs=JOBS)
except KeyboardInterrupt as error:
    print(json.dumps([type(error).__name__, str(error), error.report.interrupted, error.report.schedules]))
"""


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_says_what_was_covered(jobs: int) -> None:
    program = ENDLESS.replace("JOBS", str(jobs))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, process_group=0) as child:
        assert child.stdout is not None
        searching = [int(child.stdout.readline()) for _ in range(jobs)]
        os.killpg(child.pid, signal.SIGINT)  # as a terminal does: to all of them
        name, text, interrupted, schedules = json.loads(child.stdout.read())
        assert child.wait() == 0
    assert (name, interrupted) == ("Interrupted", True)
    assert f"interrupted: {schedules:,} schedules" in text
    for pid in searching:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_workers_end_with_the_process_that_explores() -> None:
    program = ENDLESS.replace("JOBS", "2")
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for _ in range(2):
            os.close(os.pidfd_open(int(child.stdout.readline())))  # it lives
        child.kill()
        assert child.stdout.read() == ""  # to its end: nobody has the pipe any more
