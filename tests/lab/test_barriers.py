"""Barriers in the lab: who passes together, and that every death is told, in every schedule that is tried."""

from contextlib import suppress

import pytest

import underpass
from underpass import BrokenBarrierError, ResetError, TimedOut

pytest.importorskip("greenlet")

from underpass import lab
from underpass.lab import World

SCHEDULES = 2_000


def test_nobody_slips_into_another_generation() -> None:
    def program(world: World) -> None:
        barrier, rounds = underpass.Barrier(2), [0, 0]
        done = underpass.Barrier(2)

        def run(who: int) -> None:
            for _ in range(2):
                rounds[who] += 1
                barrier.wait()
                assert rounds[1 - who] >= rounds[who]
                barrier.wait()
            # Whoever ends breaks what others still wait in.
            done.wait()

        world.process(run, 0)
        world.process(run, 1)

    lab.explore(program, schedules=SCHEDULES, seed=1)


def test_all_of_a_generation_pass_or_none_does() -> None:
    outcomes: set[tuple[str, ...]] = set()

    def program(world: World) -> None:
        barrier, ends = underpass.Barrier(2), list[str]()

        def wait(timeout: float | None) -> None:
            try:
                barrier.wait(timeout=timeout)
                ends.append("passed")
            except (TimedOut, BrokenBarrierError, ResetError) as error:
                ends.append(type(error).__name__)

        world.process(wait, None)
        world.process(wait, 1)
        world.process(barrier.abort)
        world.at_end(lambda: outcomes.add(tuple(sorted(ends))) or "passed" not in ends or ends == ["passed"] * 2)

    lab.explore(program, schedules=SCHEDULES, seed=1)
    assert outcomes == {
        ("passed", "passed"),
        ("BrokenBarrierError", "BrokenBarrierError"),
        ("BrokenBarrierError", "TimedOut"),
    }


def test_whoever_is_known_is_watched_from_then_on() -> None:
    outcomes: set[str] = set()

    def program(world: World) -> None:
        barrier, joined = underpass.Barrier(2), underpass.AtomicInt()

        def party() -> None:
            barrier.join()
            joined.store(1)
            with suppress(BrokenBarrierError):
                barrier.wait()

        def wait() -> None:
            try:
                barrier.wait()
                outcomes.add("passed")
            except BrokenBarrierError as error:
                outcomes.add(error.cause)

        world.process(party, name="party")
        world.process(wait, mortal=False)
        # For whoever died before it was known.
        world.process(lambda: joined.load() or barrier.abort(), mortal=False, name="watchman")

    lab.explore(program, schedules=SCHEDULES, kills=1, seed=1)
    assert outcomes == {"passed", "died", "aborted"}
