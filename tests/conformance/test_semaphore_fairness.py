"""Semaphore that hands its units over: by arrival, and by priority and arrival (Zephyr's `k_sem_give`)."""

import mmap
import os
import pickle
import random
import signal
from typing import Literal

import pytest

from tests.conformance.backends import SOON, Actor, ProcessActor, Processes, Threads, disturbed, until
from underpass import MismatchError, MisuseError, ResetError, Semaphore, TimedOut, WouldBlock
from underpass.sync import priority

World = Threads | Processes
Fairness = Literal["arrival", "priority"]

HANDED_OVER = pytest.mark.parametrize("fairness", ["arrival", "priority"])


class Line:
    """Waiters who come one after the other, each with a priority, and are served one at a time."""

    def __init__(self, world: World, semaphore: Semaphore) -> None:
        self.world, self.semaphore = world, semaphore
        self.waiters: list[Actor[bool]] = []

    def come(self, urgency: int | None = None) -> None:
        """Start the next waiter, and wait until it sleeps."""

        def wait() -> bool:
            if urgency is None:
                return self.semaphore.acquire()
            with priority(urgency):
                return self.semaphore.acquire()

        self.waiters.append(self.world.start(wait))
        self.waiters[-1].until_asleep()

    def served(self) -> int:
        """Release a unit; who got it."""
        before = {number for number, waiter in enumerate(self.waiters) if waiter.ended}
        self.semaphore.release()
        after: set[int] = set()

        def came() -> bool:
            after.update(number for number, waiter in enumerate(self.waiters) if waiter.ended and number not in before)
            return bool(after)

        until(came, "a waiter with its unit")
        (one,) = after
        assert self.waiters[one].result() is True
        return one


def test_unknown_fairness_is_refused() -> None:
    with pytest.raises(ValueError, match="fairness="):
        Semaphore(1, fairness="first")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="fairness="):
        Semaphore.create("it", 1, fairness="")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1, 2**80])
def test_priority_out_of_range_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match=r"range|pass"):
        priority(number)


def test_priority_is_entered_once() -> None:
    block = priority(1)
    with block:
        pass
    with pytest.raises(MisuseError, match="anew"), block:
        pass


def test_release_hands_over_to_the_longest_waiter(world: World) -> None:
    line = Line(world, Semaphore(0, fairness="arrival"))
    for urgency in (0, 9, 5, None):
        line.come(urgency)
    assert [line.served() for _ in range(4)] == [0, 1, 2, 3]
    assert line.semaphore.value == 0


@HANDED_OVER
def test_a_crowd_is_served_in_order(threads: Threads, fairness: Fairness) -> None:
    semaphore, served, count = Semaphore(0, fairness=fairness), list[int](), 130

    def wait(number: int) -> None:
        with priority(number % 3):
            semaphore.acquire()
            served.append(number)
            semaphore.release()

    waiters = list[Actor[None]]()
    for number in range(count):
        waiters.append(threads.start(wait, number))
        waiters[-1].until_asleep()
    semaphore.release()
    for waiter in waiters:
        waiter.result()
    urgent = [*range(2, count, 3), *range(1, count, 3), *range(0, count, 3)]
    assert served == ([*range(count)] if fairness == "arrival" else urgent)
    assert semaphore.value == 1


def test_release_wakes_the_highest_priority_and_among_equals_the_longest_waiter(world: World) -> None:
    line = Line(world, Semaphore(0, fairness="priority"))
    for urgency in (None, 5, -1, 9, 5, 0):
        line.come(urgency)
    assert [line.served() for _ in range(6)] == [3, 1, 4, 0, 5, 2]
    assert line.semaphore.value == 0


def test_innermost_priority_counts_and_ends_with_its_block(world: World) -> None:
    semaphore, line = Semaphore(0, fairness="priority"), list[Actor[str]]()

    def wait(name: str, outer: int, inner: int) -> str:
        with priority(outer):
            with priority(inner):
                pass
            semaphore.acquire()
        return name

    def wait_inside() -> str:
        with priority(-5), priority(7):
            semaphore.acquire()
        return "inside"

    for start in (lambda: world.start(wait, "low", 1, 100), lambda: world.start(wait_inside)):
        line.append(start())
        line[-1].until_asleep()
    semaphore.release()
    assert line[1].result() == "inside"
    assert not line[0].ended
    semaphore.release()
    assert line[0].result() == "low"


def test_priority_is_one_threads_own(threads: Threads) -> None:
    line = Line(threads, Semaphore(0, fairness="priority"))
    with priority(50):
        line.come(None)
        line.come(1)
        assert [line.served(), line.served()] == [1, 0]


def test_real_time_priority_counts(processes: Processes) -> None:
    semaphore, order = Semaphore(0, fairness="priority"), processes.flag()
    allowed = processes.start(lambda: _becomes_real_time(1)).result()
    if not allowed:
        pytest.skip("this process may not use SCHED_FIFO: give it CAP_SYS_NICE or RLIMIT_RTPRIO")

    def wait(urgency: int) -> int:
        if urgency:
            _becomes_real_time(urgency)
        semaphore.acquire()
        order.raise_()
        return urgency

    waiters = [processes.start(wait, urgency) for urgency in (0, 3, 2)]
    for waiter in waiters:
        waiter.until_asleep()
    for first in (waiters[1], waiters[2], waiters[0]):
        semaphore.release()
        order.wait()
        first.result()


def _becomes_real_time(urgency: int) -> bool:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(urgency))
    except PermissionError:
        return False
    return True


@HANDED_OVER
def test_newcomer_does_not_overtake(world: World, fairness: Fairness) -> None:
    semaphore = _made(fairness)
    line = Line(world, semaphore)
    line.come(0)
    line.come(0)
    semaphore.release()
    # The unit is the first waiter's, also before it has run.
    with pytest.raises(WouldBlock):
        semaphore.acquire_nowait()
    with priority(99), pytest.raises(TimedOut):
        semaphore.acquire(timeout=0)
    assert semaphore.value == 0
    assert line.waiters[0].result()
    assert not line.waiters[1].ended
    semaphore.release()
    assert line.waiters[1].result()


@HANDED_OVER
def test_release_of_several_serves_as_many_and_keeps_the_rest(world: World, fairness: Fairness) -> None:
    semaphore = _made(fairness)
    line = Line(world, semaphore)
    for _ in range(4):
        line.come()
    semaphore.release(3)
    assert all(waiter.result() for waiter in line.waiters[:3])
    assert semaphore.value == 0
    line.waiters[3].until_asleep()
    semaphore.release(3)
    assert line.waiters[3].result()
    assert semaphore.value == 2


@HANDED_OVER
def test_one_who_gave_up_is_passed_over(world: World, fairness: Fairness) -> None:
    semaphore = _made(fairness)

    def late() -> None:
        with priority(9), pytest.raises(TimedOut, match="within"):
            semaphore.acquire(timeout=SOON)

    gone, line = world.start(late), Line(world, semaphore)
    gone.result()
    line.come(0)
    semaphore.release(2)
    assert line.waiters[0].result()
    assert semaphore.value == 1
    assert semaphore.acquire_nowait()


@HANDED_OVER
def test_reset_sends_waiters_away_and_it_can_be_used_again(world: World, fairness: Fairness) -> None:
    semaphore = _made(fairness)
    line = Line(world, semaphore)
    for _ in range(3):
        line.come()
    semaphore.reset()
    for waiter in line.waiters:
        with pytest.raises(ResetError, match="reset"):
            waiter.result()
    assert semaphore.value == 0
    again = Line(world, semaphore)
    again.come()
    semaphore.release(2)
    assert again.waiters[0].result()
    assert semaphore.value == 1
    semaphore.reset()
    assert semaphore.value == 0


@HANDED_OVER
def test_release_above_the_limit_gives_nothing(world: World, fairness: Fairness) -> None:
    semaphore = _made(fairness, limit=2)
    line = Line(world, semaphore)
    line.come()
    with pytest.raises(MisuseError, match="limit of 2"):
        semaphore.release(3)
    assert semaphore.value == 0
    assert not line.waiters[0].ended
    semaphore.release(2)
    assert line.waiters[0].result()
    assert semaphore.value == 1
    with pytest.raises(MisuseError, match="limit of 2"):
        semaphore.release(2)
    assert semaphore.value == 1


@HANDED_OVER
def test_saturated_release_serves_no_more_than_the_limit(world: World, fairness: Fairness) -> None:
    semaphore = Semaphore(0, limit=1, saturate=True, fairness=fairness)
    line = Line(world, semaphore)
    line.come()
    line.come()
    semaphore.release(2**40)
    assert line.waiters[0].result()
    line.waiters[1].until_asleep()
    semaphore.release()
    assert line.waiters[1].result()
    semaphore.release(7)
    assert semaphore.value == 1


@HANDED_OVER
def test_semaphore_of_one_excludes(world: World, fairness: Fairness) -> None:
    turns, workers = world.times(300), 4
    semaphore, memory = Semaphore(1, fairness=fairness), mmap.mmap(-1, 8)

    def count(urgency: int) -> None:
        with priority(urgency):
            for _ in range(turns):
                with semaphore.holding():
                    value = int.from_bytes(memory[:8], "little")
                    os.sched_yield()  # invites others into what should be closed to them
                    memory[:8] = (value + 1).to_bytes(8, "little")

    for actor in [world.start(count, worker) for worker in range(workers)]:
        actor.result()
    assert int.from_bytes(memory[:8], "little") == turns * workers
    assert semaphore.value == 1
    memory.close()


@HANDED_OVER
def test_units_are_conserved_under_contention(world: World, fairness: Fairness) -> None:
    semaphore, times = Semaphore(3, limit=3, fairness=fairness), world.times(300)

    def churn(seed: int) -> int:
        dice, late = random.Random(seed), 0
        for _ in range(times):
            try:
                semaphore.acquire(timeout=dice.choice([0, 1e-5, 1e-4, None]))
            except TimedOut:
                late += 1
            else:
                semaphore.release()
        return late

    for actor in [world.start(churn, seed) for seed in range(6)]:
        assert 0 <= actor.result() < times
    assert semaphore.value == 3


@HANDED_OVER
def test_killed_waiter_is_passed_over(mortals: Processes, fairness: Fairness) -> None:
    semaphore = _made(fairness)
    waiters = _sleepers(mortals, semaphore, 3)
    waiters[0].kill()
    semaphore.release(2)
    assert waiters[1].result()
    assert waiters[2].result()
    assert semaphore.value == 0


@HANDED_OVER
def test_unit_of_one_who_was_served_and_never_came_is_handed_on(mortals: Processes, fairness: Fairness) -> None:
    semaphore = _made(fairness)
    waiters = _sleepers(mortals, semaphore, 2)
    waiters[0].stop()
    semaphore.release()
    assert semaphore.value == 0
    waiters[0].kill()
    assert waiters[1].result() is True


@HANDED_OVER
def test_unit_of_the_dead_is_there_for_who_comes_next(mortals: Processes, fairness: Fairness) -> None:
    semaphore = _made(fairness)
    waiters = _sleepers(mortals, semaphore, 1)
    waiters[0].stop()
    semaphore.release()
    waiters[0].kill()
    assert semaphore.acquire(timeout=None) is True
    with pytest.raises(WouldBlock):
        semaphore.acquire_nowait()


@HANDED_OVER
def test_ctrl_c_costs_no_unit(processes: Processes, fairness: Fairness) -> None:
    semaphore = _made(fairness)
    waiters = _sleepers(processes, semaphore, 2)
    waiters[0].signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        waiters[0].result()
    semaphore.release()
    assert waiters[1].result()


@HANDED_OVER
def test_place_is_kept_after_a_handler(threads: Threads, fairness: Fairness) -> None:
    semaphore = _made(fairness)
    assert disturbed(threads, semaphore.acquire, semaphore.release) is True
    assert semaphore.value == 0


@HANDED_OVER
def test_more_waiters_than_places(threads: Threads, fairness: Fairness) -> None:
    semaphore = _made(fairness)
    waiters = [threads.start(semaphore.acquire) for _ in range(70)]
    for waiter in waiters:
        waiter.until_asleep()
    for _ in range(35):
        semaphore.release(2)
    assert all(waiter.result() for waiter in waiters)
    assert semaphore.value == 0


@HANDED_OVER
def test_reset_sends_away_who_found_no_place(threads: Threads, fairness: Fairness) -> None:
    semaphore = _made(fairness)
    waiters = [threads.start(semaphore.acquire) for _ in range(70)]
    for waiter in waiters:
        waiter.until_asleep()
    semaphore.reset()
    for waiter in waiters:
        with pytest.raises(ResetError):
            waiter.result()


@HANDED_OVER
def test_other_fairness_is_a_mismatch(fairness: Fairness) -> None:
    semaphore = Semaphore.create("seats", 1, fairness=fairness)
    with pytest.raises(MismatchError, match=f"fairness='{fairness}'.*fairness='barging'"):
        Semaphore.open_or_create("seats", 1)
    other = Semaphore.open_or_create("seats", 7, fairness=fairness)
    other.acquire()
    assert semaphore.value == 0
    assert f"by {fairness}" in repr(other)
    again: Semaphore = pickle.loads(pickle.dumps(other))  # noqa: S301 - our own bytes
    again.release()
    assert (again.statistics().fairness, again.statistics().limit) == (fairness, 2**31 - 1)
    semaphore.unlink()


def _sleepers(processes: Processes, semaphore: Semaphore, count: int) -> list[ProcessActor[Literal[True]]]:
    """Processes that wait, in the order in which they came."""
    sleepers = list[ProcessActor[Literal[True]]]()
    for _ in range(count):
        sleepers.append(processes.start(semaphore.acquire))
        sleepers[-1].until_asleep()
    return sleepers


def _made(fairness: Fairness, limit: int | None = None) -> Semaphore:
    return Semaphore(0, limit=limit, fairness=fairness)
