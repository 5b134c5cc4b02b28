"""Semaphore: what Zephyr's suite asserts of `k_sem`, barging, and what the API adds."""

import mmap
import os
import pickle
import random
import signal
import time

import pytest

from tests.conformance.backends import SOON, Processes, Threads, disturbed, until
from underpass import ClosedError, MisuseError, Queue, ResetError, Semaphore, TimedOut, WouldBlock

World = Threads | Processes


@pytest.mark.parametrize(("value", "limit"), [(-1, None), (2, 1), (0, 0), (0, -1), (0, 2**31), (2**31, None)], ids=str)
def test_parameters_out_of_range_are_refused(value: int, limit: int | None) -> None:
    with pytest.raises(ValueError, match=r"value=|limit="):
        Semaphore(value, limit=limit)


@pytest.mark.parametrize("timeout", [-1, -1e-9, float("nan")])
def test_timeout_that_is_no_time_is_refused(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout="):
        Semaphore(1).acquire(timeout=timeout)


def test_acquire_without_waiting_fails_at_zero() -> None:
    semaphore = Semaphore(1)
    assert semaphore.acquire_nowait() is True
    with pytest.raises(WouldBlock):
        semaphore.acquire_nowait()
    with pytest.raises(TimedOut):
        semaphore.acquire(timeout=0)
    assert semaphore.value == 0


@pytest.mark.parametrize("timeout", [0.0001, 0.001, SOON, 0.1])
def test_timeout_is_never_early(timeout: float) -> None:
    semaphore = Semaphore(0)
    start = time.monotonic()
    with pytest.raises(TimedOut, match=f"within {timeout}") as caught:
        semaphore.acquire(timeout=timeout)
    assert time.monotonic() - start >= timeout
    assert (caught.value.phase, caught.value.transferred) == ("wait", 0)
    assert isinstance(caught.value, TimeoutError)


def test_huge_timeout_waits() -> None:
    semaphore = Semaphore(1)
    assert semaphore.acquire(timeout=1e300)


def test_timeout_is_keyword_only() -> None:
    with pytest.raises(TypeError):
        Semaphore(1).acquire(1.0)  # pyright: ignore[reportCallIssue]


def test_saturate_stays_at_the_limit() -> None:
    semaphore = Semaphore(0, limit=3, saturate=True)
    for _ in range(7):
        semaphore.release()
    semaphore.release(2**40)
    assert semaphore.value == 3
    for _ in range(3):
        semaphore.acquire_nowait()
    with pytest.raises(WouldBlock):
        semaphore.acquire_nowait()


def test_release_above_the_limit_is_misuse_and_gives_nothing() -> None:
    semaphore = Semaphore(1, limit=2)
    with pytest.raises(MisuseError, match="limit of 2"):
        semaphore.release(2)
    assert semaphore.value == 1
    with pytest.raises(MisuseError):
        semaphore.release(2**40)
    semaphore.release()
    with pytest.raises(RuntimeError):
        semaphore.release()
    assert semaphore.value == 2


def test_release_above_the_limit_with_waiters_gives_nothing(world: World) -> None:
    semaphore = Semaphore(0, limit=2)
    waiter = world.start(semaphore.acquire)
    waiter.until_asleep()
    with pytest.raises(MisuseError):
        semaphore.release(3)
    assert semaphore.value == 0
    semaphore.release(2)
    assert waiter.result() is True
    assert semaphore.value == 1


@pytest.mark.parametrize("count", [0, -1])
def test_release_of_nothing_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="count="):
        Semaphore(0).release(count)


def test_release_wakes_a_waiter(world: World) -> None:
    semaphore = Semaphore(0)
    waiter = world.start(semaphore.acquire)
    waiter.until_asleep()
    assert semaphore.statistics().waiters
    semaphore.release()
    assert waiter.result() is True
    assert semaphore.value == 0


def test_release_of_several_wakes_as_many(world: World) -> None:
    semaphore = Semaphore(0)
    waiters = [world.start(semaphore.acquire) for _ in range(4)]
    for waiter in waiters:
        waiter.until_asleep()
    semaphore.release(3)
    until(lambda: sum(waiter.ended for waiter in waiters) == 3, "the end of three waiters")
    (last,) = [waiter for waiter in waiters if not waiter.ended]
    last.until_asleep()
    assert semaphore.value == 0
    semaphore.release()
    assert all(waiter.result() for waiter in waiters)


def test_reset_sends_waiters_away_and_it_can_be_used_again(world: World) -> None:
    semaphore = Semaphore(0, limit=5)
    waiters = [world.start(semaphore.acquire) for _ in range(3)]
    for waiter in waiters:
        waiter.until_asleep()
    semaphore.reset()
    for waiter in waiters:
        with pytest.raises(ResetError, match="reset"):
            waiter.result()
    assert semaphore.value == 0
    again = world.start(semaphore.acquire)
    again.until_asleep()
    semaphore.release(2)
    assert again.result() is True
    assert semaphore.value == 1


def test_reset_takes_what_is_free() -> None:
    semaphore = Semaphore(4)
    semaphore.reset()
    assert semaphore.value == 0
    semaphore.release()
    assert semaphore.acquire_nowait()


def test_holding_gives_back_however_it_ends() -> None:
    semaphore = Semaphore(2)
    with semaphore.holding(timeout=0):
        assert semaphore.value == 1
    with pytest.raises(LookupError), semaphore.holding():
        raise LookupError
    assert semaphore.value == 2
    semaphore.reset()
    with pytest.raises(TimedOut), semaphore.holding(timeout=0):
        pytest.fail("entered without a unit")
    assert semaphore.value == 0


def test_semaphore_of_one_excludes(world: World) -> None:
    turns, workers = world.times(2_000), 4
    semaphore, memory = Semaphore(1), mmap.mmap(-1, 8)

    def count() -> None:
        for turn in range(turns):
            with semaphore.holding():
                value = int.from_bytes(memory[:8], "little")
                if turn % 64 == 0:
                    os.sched_yield()  # invites others into what should be closed to them
                memory[:8] = (value + 1).to_bytes(8, "little")

    for actor in [world.start(count) for _ in range(workers)]:
        actor.result()
    assert int.from_bytes(memory[:8], "little") == turns * workers
    assert semaphore.value == 1
    memory.close()


def test_one_keeps_apart_what_several_do_to_a_queue(world: World) -> None:
    seat, total, each = Semaphore(1), Queue(1, 8), 10
    total.put(b"0")

    def count() -> None:
        for _ in range(each):
            with seat.holding():
                # It is empty, or full, for who comes between.
                total.put_nowait(b"%d" % (int(total.get_nowait()) + 1))

    for actor in [world.start(count) for _ in range(3)]:
        actor.result()
    assert int(total.get_nowait()) == 3 * each


def test_who_waits_at_one_that_is_unlinked_still_gets_its_unit(world: World) -> None:
    semaphore = Semaphore.create("units", 0)
    waiter = world.start(semaphore.acquire)
    waiter.until_asleep()
    semaphore.unlink()
    # That name is free for another one, and nothing of the old one is seen there.
    other = Semaphore.create("units", 0)
    semaphore.release()
    assert waiter.result() is True
    assert [semaphore.value, other.value] == [0, 0]
    other.unlink()


def test_units_are_conserved_under_contention(world: World) -> None:
    semaphore, times = Semaphore(3, limit=3), world.times(1_000)

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


def test_two_ping_pong(world: World) -> None:
    ping, pong, turns = Semaphore(0), Semaphore(0), world.times(2_000)

    def play() -> None:
        for _ in range(turns):
            ping.acquire()
            pong.release()

    partner = world.start(play)
    for _ in range(turns):
        ping.release()
        pong.acquire()
    partner.result()
    assert ping.value == pong.value == 0


def test_killed_waiter_swallows_no_unit(mortals: Processes) -> None:
    semaphore = Semaphore(0)
    waiters = [mortals.start(semaphore.acquire) for _ in range(3)]
    for waiter in waiters:
        waiter.until_asleep()
    waiters[0].kill()
    semaphore.release(2)
    assert waiters[1].result()
    assert waiters[2].result()


def test_what_the_dead_acquired_stays_acquired(mortals: Processes) -> None:
    semaphore, acquired, never = Semaphore(1), mortals.flag(), mortals.flag()

    def hold() -> None:
        semaphore.acquire()
        acquired.raise_()
        never.wait()

    holder = mortals.start(hold)
    acquired.wait()
    holder.kill()
    with pytest.raises(WouldBlock):
        semaphore.acquire_nowait()
    semaphore.release()
    assert semaphore.acquire_nowait()


def test_ctrl_c_ends_a_wait(processes: Processes) -> None:
    semaphore = Semaphore(0)
    waiter = processes.start(semaphore.acquire)
    waiter.until_asleep()
    waiter.signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        waiter.result()
    semaphore.release()
    assert semaphore.acquire_nowait()


def test_wait_goes_on_after_a_handler(threads: Threads) -> None:
    semaphore = Semaphore(0)
    assert disturbed(threads, semaphore.acquire, semaphore.release) is True


def test_time_that_is_left_counts_after_a_handler(processes: Processes) -> None:
    semaphore = Semaphore(0)

    def wait() -> tuple[float, int]:
        handled: list[int] = []
        signal.signal(signal.SIGALRM, lambda number, _frame: handled.append(number))
        start = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        with pytest.raises(TimedOut):
            semaphore.acquire(timeout=0.1)
        signal.setitimer(signal.ITIMER_REAL, 0)
        return time.monotonic() - start, len(handled)

    waited, handled = processes.start(wait).result()
    assert waited >= 0.1
    assert handled > 0


def test_closed_handle_refuses_and_others_go_on() -> None:
    semaphore = Semaphore.create("seats", 1)
    other = Semaphore.open("seats")
    semaphore.close()
    semaphore.close()
    for use in (semaphore.acquire, semaphore.acquire_nowait, semaphore.release, semaphore.reset):
        with pytest.raises(ClosedError, match="'seats'"):
            use()
    with pytest.raises(ClosedError):
        pickle.dumps(semaphore)
    assert other.acquire_nowait()
    other.unlink()


def test_repr_says_name_value_and_state(world: World) -> None:
    semaphore = Semaphore.create("group/seats", 0, limit=9)
    assert "'group/seats'" in repr(semaphore)
    assert "value 0" in repr(semaphore)
    waiter = world.start(semaphore.acquire)
    waiter.until_asleep()
    assert "waiters" in repr(semaphore)
    semaphore.release()
    waiter.result()
    semaphore.close()
    assert "closed" in repr(semaphore)
    semaphore.unlink()


def test_statistics_are_a_frozen_snapshot() -> None:
    semaphore = Semaphore(2, limit=5)
    before = semaphore.statistics()
    semaphore.acquire()
    assert (before.value, before.limit, bool(before.waiters)) == (2, 5, False)
    assert semaphore.statistics().value == 1
    with pytest.raises(AttributeError):
        before.value = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_pickled_handle_is_the_same_semaphore() -> None:
    semaphore = Semaphore(2, limit=2)
    other: Semaphore = pickle.loads(pickle.dumps(semaphore))  # noqa: S301 - our own bytes
    other.acquire()
    assert semaphore.value == 1
    other.release()
    with pytest.raises(MisuseError):
        other.release()
    semaphore.unlink()
