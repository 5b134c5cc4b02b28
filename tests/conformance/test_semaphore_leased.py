"""Semaphore that knows its holders: what a dead process had acquired is given back. No wake comes late: the re-check is off."""

import mmap
import os
import pickle
import random
import signal
from collections.abc import Callable
from typing import Literal, cast

import pytest

from tests.conformance.backends import SOON, Actor, ProcessActor, Processes, Threads, disturbed, until
from underpass import MismatchError, MisuseError, ResetError, Semaphore, TimedOut, WouldBlock
from underpass.sync import priority

World = Threads | Processes
Fairness = Literal["barging", "arrival", "priority"]

EACH = pytest.mark.parametrize("fairness", ["barging", "arrival", "priority"])


class Holder:
    """A process that holds units until it is told to give them back, or to end."""

    def __init__(self, world: World, semaphore: Semaphore, units: int = 1) -> None:
        self._semaphore, self._units = semaphore, units
        self._has, self._go = world.flag(), world.flag()
        self.actor = world.start(self._hold)

    def _hold(self) -> None:
        for _ in range(self._units):
            self._semaphore.acquire()
        self._has.raise_()
        self._go.wait()

    def until_it_holds(self) -> "Holder":
        self._has.wait()
        return self

    def kill(self) -> None:
        cast("ProcessActor[None]", self.actor).kill()

    def end(self) -> None:
        """Let it end with what it holds."""
        self._go.raise_()
        self.actor.result()


def asleep(world: World, function: Callable[[], object]) -> Actor[object]:
    actor = world.start(function)
    actor.until_asleep()
    return actor


def taken_and_given(semaphore: Semaphore) -> Callable[[], object]:
    return lambda: (semaphore.acquire(), semaphore.release())


def made(value: int, fairness: Fairness) -> Semaphore:
    return Semaphore(value, leased=True, fairness=fairness)


@EACH
def test_units_of_several_are_given_back_by_those_who_hold_them(world: World, fairness: Fairness) -> None:
    semaphore = made(3, fairness)

    def use() -> None:
        semaphore.acquire()
        semaphore.acquire_nowait()
        semaphore.release(2)
        with semaphore.holding():
            pass

    for _ in range(2):
        world.start(use).result()
    assert semaphore.value == 3
    assert semaphore.statistics().holders == []


@EACH
def test_release_of_what_is_not_held_is_refused(world: World, fairness: Fairness) -> None:
    semaphore = made(2, fairness)
    with pytest.raises(MisuseError, match=r"this process holds 0.*without leased=True"):
        semaphore.release()
    semaphore.acquire()
    with pytest.raises(MisuseError, match=r"this process holds 1, and more were to be given back"):
        semaphore.release(2)
    with pytest.raises(MisuseError, match="holds 1"):
        semaphore.release(2**40)
    assert semaphore.value == 1
    waiting = asleep(world, lambda: (semaphore.acquire(), semaphore.acquire(), semaphore.release(2)))
    with pytest.raises(MisuseError):
        semaphore.release(9)
    assert not waiting.ended
    semaphore.release()
    waiting.result()
    assert semaphore.value == 2


def test_process_gives_back_nothing_of_another(processes: Processes) -> None:
    semaphore = Semaphore(2, leased=True)
    semaphore.acquire()

    def give() -> None:
        with pytest.raises(MisuseError, match="holds 0"):
            semaphore.release()
        semaphore.acquire()
        semaphore.release()

    processes.start(give).result()
    assert semaphore.value == 1
    semaphore.release()
    assert semaphore.value == 2


def test_end_of_a_thread_frees_nothing_and_another_gives_back(threads: Threads) -> None:
    semaphore = Semaphore(1, leased=True)
    threads.start(semaphore.acquire).result()
    with pytest.raises(WouldBlock):
        semaphore.acquire_nowait()
    semaphore.release()
    assert semaphore.value == 1


@EACH
def test_waiter_gets_the_unit_of_one_who_dies(mortals: Processes, fairness: Fairness) -> None:
    semaphore = made(1, fairness)
    holder = Holder(mortals, semaphore).until_it_holds()
    waiting = asleep(mortals, taken_and_given(semaphore))
    holder.kill()
    waiting.result()
    assert semaphore.value == 1


@EACH
def test_unit_of_one_who_ends_goes_to_who_waits(world: World, fairness: Fairness) -> None:
    semaphore = made(2, fairness)
    holder = Holder(world, semaphore, units=2).until_it_holds()
    waiting = [asleep(world, taken_and_given(semaphore)) for _ in range(3)]
    holder.end()
    if isinstance(world, Threads):
        # The end of a thread frees nothing.
        assert semaphore.value == 0
        semaphore.release(2)
    for waiter in waiting:
        waiter.result()
    assert semaphore.value == 2


@EACH
def test_units_of_the_dead_are_there_for_who_comes_next(mortals: Processes, fairness: Fairness) -> None:
    semaphore = made(3, fairness)
    holder = Holder(mortals, semaphore, units=3).until_it_holds()
    with pytest.raises(WouldBlock):
        semaphore.acquire_nowait()
    with pytest.raises(TimedOut, match=rf"value is 0, held by pid {holder.actor.pid} \(3\)"):
        semaphore.acquire(timeout=0)
    holder.kill()
    assert semaphore.value == 3
    assert all(semaphore.acquire_nowait() for _ in range(3))
    with pytest.raises(WouldBlock):
        semaphore.acquire_nowait()


@EACH
def test_only_what_the_dead_held_comes_back(mortals: Processes, fairness: Fairness) -> None:
    semaphore = made(3, fairness)
    mortal, other = (Holder(mortals, semaphore).until_it_holds() for _ in range(2))
    semaphore.acquire()
    waiting = [asleep(mortals, taken_and_given(semaphore)) for _ in range(2)]
    mortal.kill()
    for waiter in waiting:
        waiter.result()
    assert semaphore.value == 1
    assert sorted(peer.pid for peer, _ in semaphore.statistics().holders) == sorted([other.actor.pid, os.getpid()])
    other.end()
    semaphore.release()
    assert semaphore.value == 3


@EACH
def test_one_who_came_to_hold_later_is_watched(mortals: Processes, fairness: Fairness) -> None:
    semaphore = made(1, fairness)
    first = Holder(mortals, semaphore).until_it_holds()
    second = Holder(mortals, semaphore)
    second.actor.until_asleep()
    third = Holder(mortals, semaphore)
    third.actor.until_asleep()
    last = asleep(mortals, taken_and_given(semaphore))
    first.kill()

    def holds(one: Holder) -> bool:
        return (one.actor.pid, 1) in [(peer.pid, units) for peer, units in semaphore.statistics().holders]

    # Whoever is last may have had its turn before them.
    until(lambda: holds(second) or holds(third), "a holder after the first")
    holder, other = (second, third) if holds(second) else (third, second)
    holder.kill()
    other.until_it_holds()
    other.kill()
    last.result()
    assert semaphore.value == 1


def test_one_who_came_later_and_went_first_is_watched(mortals: Processes) -> None:
    semaphore = made(1, "priority")
    semaphore.acquire()
    waiting = asleep(mortals, taken_and_given(semaphore))

    def take() -> None:
        with priority(9):
            semaphore.acquire()
        has.raise_()
        never.wait()

    has, never = mortals.flag(), mortals.flag()
    urgent = mortals.start(take)
    urgent.until_asleep()
    semaphore.release()
    has.wait()
    urgent.kill()
    waiting.result()
    assert semaphore.value == 1


@EACH
def test_killed_waiter_is_passed_over(mortals: Processes, fairness: Fairness) -> None:
    semaphore = made(2, fairness)
    semaphore.acquire()
    semaphore.acquire()
    killed = mortals.start(semaphore.acquire)
    killed.until_asleep()
    waiters = [asleep(mortals, taken_and_given(semaphore)) for _ in range(2)]
    killed.kill()
    semaphore.release(2)
    for waiter in waiters:
        waiter.result()
    assert semaphore.value == 2


@EACH
def test_unit_of_one_who_was_served_and_never_came_is_handed_on(mortals: Processes, fairness: Fairness) -> None:
    semaphore = made(1, fairness)
    semaphore.acquire()
    stopped = mortals.start(semaphore.acquire)
    stopped.until_asleep()
    other = asleep(mortals, taken_and_given(semaphore))
    # Who comes has woken it, so that it watches.
    stopped.until_asleep()
    stopped.stop()
    semaphore.release()
    stopped.kill()
    other.result()
    assert semaphore.value == 1


@pytest.mark.parametrize("fairness", ["arrival", "priority"])
def test_turns_are_kept(world: World, fairness: Fairness) -> None:
    semaphore, memory = made(1, fairness), mmap.mmap(-1, 16)
    urgencies = (0, 9, 5, 9)
    known, turns = world.flag(), [world.flag() for _ in urgencies]

    def come(number: int, urgency: int) -> None:
        # A process that is new here wakes all who sleep: they watch it from then on.
        with semaphore.holding():
            known.raise_()
        turns[number].wait()
        with priority(urgency), semaphore.holding():
            memory[0] += 1
            memory[memory[0]] = number

    actors = [world.start(come, number, urgency) for number, urgency in enumerate(urgencies)]
    for _ in actors:
        known.wait()
    semaphore.acquire()
    for number, turn in enumerate(turns, start=1):
        turn.raise_()
        until(lambda number=number: semaphore.statistics().waiters == number, "the next in line")
    with pytest.raises(WouldBlock):
        semaphore.acquire_nowait()
    semaphore.release()
    for actor in actors:
        actor.result()
    assert list(memory[1:5]) == ([0, 1, 2, 3] if fairness == "arrival" else [1, 3, 2, 0])
    memory.close()


@pytest.mark.parametrize("fairness", ["arrival", "priority"])
def test_newcomer_does_not_overtake(world: World, fairness: Fairness) -> None:
    semaphore = made(1, fairness)
    semaphore.acquire()
    go = world.flag()
    first = world.start(lambda: (semaphore.acquire(), go.wait(), semaphore.release()))
    first.until_asleep()
    semaphore.release()
    with pytest.raises(WouldBlock):
        semaphore.acquire_nowait()
    with priority(99), pytest.raises(TimedOut):
        semaphore.acquire(timeout=0)
    assert semaphore.value == 0
    go.raise_()
    first.result()
    assert semaphore.value == 1


def test_newcomer_may_overtake_where_whoever_comes_first_gets_it(mortals: Processes) -> None:
    semaphore = Semaphore(1, leased=True)
    semaphore.acquire()
    first = mortals.start(taken_and_given(semaphore))
    first.until_asleep()
    first.stop()
    semaphore.release()
    assert semaphore.acquire_nowait()
    semaphore.release()
    first.resume()
    first.result()
    assert semaphore.value == 1


@EACH
def test_reset_sends_waiters_away_and_what_is_held_comes_back(world: World, fairness: Fairness) -> None:
    semaphore = made(3, fairness)
    semaphore.acquire()
    semaphore.acquire()
    semaphore.reset()
    assert semaphore.value == 0
    waiters = [asleep(world, semaphore.acquire) for _ in range(3)]
    semaphore.reset()
    for waiter in waiters:
        with pytest.raises(ResetError, match="reset"):
            waiter.result()
    again = asleep(world, taken_and_given(semaphore))
    semaphore.release(2)
    again.result()
    assert semaphore.value == 2


@EACH
def test_one_who_gave_up_is_passed_over(world: World, fairness: Fairness) -> None:
    semaphore = made(1, fairness)
    semaphore.acquire()

    def late() -> None:
        with pytest.raises(TimedOut, match="within"):
            semaphore.acquire(timeout=SOON)

    gone = world.start(late)
    waiting = asleep(world, taken_and_given(semaphore))
    gone.result()
    semaphore.release()
    waiting.result()
    assert semaphore.value == 1


@EACH
def test_one_unit_excludes(world: World, fairness: Fairness) -> None:
    turns, workers = world.times(200), 4
    semaphore, memory = made(1, fairness), mmap.mmap(-1, 8)

    def count() -> None:
        for _ in range(turns):
            with semaphore.holding():
                value = int.from_bytes(memory[:8], "little")
                os.sched_yield()  # invites others into what should be closed to them
                memory[:8] = (value + 1).to_bytes(8, "little")

    for actor in [world.start(count) for _ in range(workers)]:
        actor.result()
    assert int.from_bytes(memory[:8], "little") == turns * workers
    assert semaphore.value == 1
    memory.close()


@EACH
def test_units_are_conserved_under_contention_and_deaths(processes: Processes, fairness: Fairness) -> None:
    semaphore = made(3, fairness)

    def churn(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(150):
            try:
                semaphore.acquire(timeout=dice.choice([0, 1e-5, 1e-4, None]))
            except TimedOut:
                continue
            if dice.random() < 0.9:
                semaphore.release()
            elif semaphore.value == 0:
                processes.die()
            else:
                semaphore.release()

    for seed in range(6):
        processes.start(churn, seed)
    for actor in [processes.start(churn, seed) for seed in range(6, 12)]:
        actor.die()
    until(lambda: semaphore.value == 3, "all units")


@EACH
def test_ctrl_c_costs_no_unit(processes: Processes, fairness: Fairness) -> None:
    semaphore = made(1, fairness)
    semaphore.acquire()
    waiters = [processes.start(semaphore.acquire) for _ in range(2)]
    for waiter in waiters:
        waiter.until_asleep()
    waiters[0].signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        waiters[0].result()
    semaphore.release()
    assert waiters[1].result() is True
    until(lambda: semaphore.value == 1, "what it held")


@EACH
def test_place_is_kept_after_a_handler(threads: Threads, fairness: Fairness) -> None:
    semaphore = made(1, fairness)
    semaphore.acquire()
    assert disturbed(threads, semaphore.acquire, semaphore.release) is True
    assert semaphore.value == 0


@EACH
def test_more_waiters_than_places(threads: Threads, fairness: Fairness) -> None:
    semaphore = made(2, fairness)
    semaphore.acquire()
    semaphore.acquire()
    waiters = [threads.start(taken_and_given(semaphore)) for _ in range(70)]
    for waiter in waiters:
        waiter.until_asleep()
    semaphore.release(2)
    for waiter in waiters:
        waiter.result()
    assert semaphore.value == 2


def test_a_forked_child_holds_nothing(processes: Processes) -> None:
    semaphore = Semaphore(2, leased=True)
    semaphore.acquire()
    child = processes.start(lambda: None)
    child.result()
    assert semaphore.value == 1
    assert [(peer.pid, units) for peer, units in semaphore.statistics().holders] == [(os.getpid(), 1)]


def test_who_holds_what_is_said(processes: Processes) -> None:
    semaphore = Semaphore.create("seats", 9, leased=True, fairness="arrival")
    holder = Holder(processes, semaphore, units=2).until_it_holds()
    semaphore.acquire()
    statistics = semaphore.statistics()
    assert statistics.leased
    assert {peer.pid: units for peer, units in statistics.holders} == {holder.actor.pid: 2, os.getpid(): 1}
    assert "holders=2" in repr(statistics)
    assert f"value 6, by arrival, held by pid {holder.actor.pid} (2), this process" in repr(semaphore)
    holder.end()
    assert "value 8, by arrival, held by this process" in repr(semaphore)
    semaphore.release()
    assert "held" not in repr(semaphore)
    semaphore.unlink()


def test_plain_semaphore_names_no_holders() -> None:
    semaphore = Semaphore(1)
    semaphore.acquire()
    assert (semaphore.statistics().leased, semaphore.statistics().holders) == (False, [])


def test_leased_and_saturating_is_refused() -> None:
    with pytest.raises(ValueError, match="leased=True, saturate=True"):
        Semaphore(1, leased=True, saturate=True)


def test_leased_or_not_is_a_mismatch() -> None:
    semaphore = Semaphore.create("seats", 1, leased=True)
    with pytest.raises(MismatchError, match=r"leased=True.*leased=False"):
        Semaphore.open_or_create("seats", 1)
    other = Semaphore.open_or_create("seats", 7, leased=True)
    other.acquire()
    assert semaphore.value == 0
    again: Semaphore = pickle.loads(pickle.dumps(other))  # noqa: S301 - our own bytes
    again.release()
    assert semaphore.value == 1
    semaphore.unlink()
