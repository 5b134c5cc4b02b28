"""Barrier: CPython's cases (`_TestBarrier`), and what a death does."""

import pickle
import re
import signal
import time
from typing import Any

import pytest

from tests.conformance.backends import SOON, Actor, Processes, Threads, until
from underpass import (
    AtomicInt,
    Barrier,
    BrokenBarrierError,
    ClosedError,
    MismatchError,
    MisuseError,
    ResetError,
    Semaphore,
    TimedOut,
)

World = Threads | Processes
N = 5


def together(world: World, function: Any, *args: object) -> list[Any]:
    """Run a function in as many actors as there are parties; what each returns."""
    actors = [world.start(function, *args) for _ in range(N)]
    return [actor.result() for actor in actors]


def asleep_in(world: World, barrier: Barrier, count: int) -> list[Actor[int]]:
    """Start as many who wait, one after the other."""
    waiters: list[Actor[int]] = []
    for _ in range(count):
        waiters.append(world.start(barrier.wait))
        waiters[-1].until_asleep()
    return waiters


def broken_by(barrier: Barrier) -> str:
    """Wait, in vain; why."""
    with pytest.raises(BrokenBarrierError) as caught:
        barrier.wait()
    return caught.value.cause


@pytest.mark.parametrize("parties", [0, -1, 4096, 2**40, 2**70])
def test_parties_that_cannot_be_are_refused(parties: int) -> None:
    with pytest.raises(ValueError, match=f"{parties} is (not between 1 and 4095|out of range)"):
        Barrier(parties)


def test_parties_have_no_default_and_are_whole() -> None:
    with pytest.raises(TypeError):
        Barrier()  # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError):
        Barrier(2.0)  # pyright: ignore[reportArgumentType]


def test_a_single_party_passes_alone() -> None:
    barrier = Barrier(1)
    assert [barrier.wait(), barrier.wait(timeout=0), barrier.wait(timeout=1)] == [0, 0, 0]
    assert (barrier.parties, barrier.n_waiting, barrier.broken) == (1, 0, False)


@pytest.mark.parametrize("passes", [1, 10])
def test_all_pass_in_lockstep(world: World, passes: int) -> None:
    barrier, before, after = Barrier(N), AtomicInt(), AtomicInt()

    def run() -> None:
        for number in range(passes):
            before.add(1)
            assert after.load() == number * N
            barrier.wait()
            after.add(1)
            assert before.load() == (number + 1) * N
            barrier.wait()

    together(world, run)
    assert (barrier.n_waiting, barrier.broken) == (0, False)


def test_each_gets_an_index_of_its_own(world: World) -> None:
    assert sorted(together(world, Barrier(N).wait)) == [*range(N)]


def test_the_index_is_the_order_of_arrival(world: World) -> None:
    barrier = Barrier(3)
    waiters = asleep_in(world, barrier, 2)
    assert barrier.n_waiting == 2
    assert barrier.wait() == 2
    assert [waiter.result() for waiter in waiters] == [0, 1]


def test_abort_breaks_it_for_all(world: World) -> None:
    barrier = Barrier(N)

    def run() -> str:
        if barrier.wait() == N // 2:
            barrier.abort()
            return "aborted it"
        return broken_by(barrier)

    assert sorted(together(world, run)) == ["aborted"] * (N - 1) + ["aborted it"]
    assert barrier.broken


def test_abort_before_anybody_comes() -> None:
    barrier = Barrier(2)
    barrier.abort()
    with pytest.raises(BrokenBarrierError, match=r"since pid \d+ aborted it; nobody passes until reset\(\)"):
        barrier.wait(timeout=0)
    barrier.join()
    assert barrier.broken


def test_reset_frees_those_who_wait(world: World) -> None:
    barrier = Barrier(N)

    def run() -> str:
        found = "resets"
        if barrier.wait() == N // 2:
            until(lambda: barrier.n_waiting == N - 1, "all others wait")
            barrier.reset()
        else:
            with pytest.raises(ResetError):
                barrier.wait()
            found = "was reset"
        barrier.wait()
        return found

    assert sorted(together(world, run)) == ["resets"] + ["was reset"] * (N - 1)
    assert not barrier.broken


def test_abort_and_reset(world: World) -> None:
    barrier, other = Barrier(N), Barrier(N)

    def run() -> str:
        if barrier.wait() == N // 2:
            barrier.abort()
            found = "aborted it"
        else:
            found = broken_by(barrier)
        # All have left it when it is reset, and nobody comes before.
        if other.wait() == N // 2:
            barrier.reset()
        other.wait()
        barrier.wait()
        return found

    assert sorted(together(world, run)) == ["aborted"] * (N - 1) + ["aborted it"]


def test_a_timeout_breaks_it_for_all(world: World) -> None:
    barrier = Barrier(3)
    (waiter,) = asleep_in(world, barrier, 1)
    with pytest.raises(
        TimedOut, match=f"within {SOON} s: only 2 of its 3 parties came \\(.*this process.*\\); it is broken now"
    ):
        barrier.wait(timeout=SOON)
    with pytest.raises(BrokenBarrierError, match="waited there until its time was over") as caught:
        waiter.result()
    assert (caught.value.cause, barrier.broken, barrier.n_waiting) == ("timed out", True, 0)
    assert broken_by(barrier) == "timed out"


def test_a_timeout_names_who_came_and_who_of_the_known_did_not(processes: Processes) -> None:
    barrier, joined, go = Barrier(4), processes.flag(), processes.flag()

    def idle() -> None:
        barrier.join()
        joined.raise_()
        go.wait()

    missing = processes.start(idle)
    joined.wait()
    (waiter,) = asleep_in(processes, barrier, 1)
    statistics = barrier.statistics()
    with pytest.raises(TimedOut) as caught:
        barrier.wait(timeout=SOON)
    go.raise_()
    with pytest.raises(BrokenBarrierError):
        waiter.result()
    missing.result()
    assert [[peer.pid for peer in told] for told in (statistics.come, statistics.missing)] == [
        [waiter.pid],
        [missing.pid],
    ]
    come = (
        f"only 2 of its 4 parties came (pid {waiter.pid}, this process), and pid {missing.pid} not, of those it knows"
    )
    assert str(caught.value).endswith(f"within {SOON} s: {come}; it is broken now, until reset()")


def test_a_timeout_of_0_passes_or_breaks_it(world: World) -> None:
    barrier = Barrier(2)
    (waiter,) = asleep_in(world, barrier, 1)
    assert barrier.wait(timeout=0) == 1
    assert waiter.result() == 0
    with pytest.raises(TimedOut):
        barrier.wait(timeout=0)
    assert barrier.broken


@pytest.mark.parametrize("timeout", [0.001, SOON])
def test_timeout_is_never_early(timeout: float) -> None:
    start = time.monotonic()
    with pytest.raises(TimedOut):
        Barrier(2).wait(timeout=timeout)
    assert time.monotonic() - start >= timeout


def test_what_is_broken_stays_as_it_was_broken() -> None:
    barrier = Barrier(2)
    with pytest.raises(TimedOut):
        barrier.wait(timeout=0)
    barrier.abort()
    assert broken_by(barrier) == "timed out"
    barrier.reset()
    barrier.abort()
    assert broken_by(barrier) == "aborted"


def test_a_waiter_of_a_generation_that_passed_is_told_so_whatever_follows(world: World) -> None:
    barrier = Barrier(2)
    for _ in range(20):
        (waiter,) = asleep_in(world, barrier, 1)
        assert barrier.wait() == 1
        barrier.abort()
        barrier.reset()
        barrier.abort()
        assert waiter.result() == 0
        barrier.reset()


def test_nobody_slips_into_the_generation_before(world: World) -> None:
    barrier, inside, rounds = Barrier(2), AtomicInt(), 40

    def run() -> None:
        for number in range(rounds):
            barrier.wait()
            assert inside.add(1) in (2 * number, 2 * number + 1)

    partner = world.start(run)
    run()
    partner.result()


def test_a_stopped_waiter_is_still_told_of_its_own_generation(mortals: Processes) -> None:
    barrier = Barrier(2)
    waiter = mortals.start(barrier.wait)
    waiter.until_asleep()
    waiter.stop()
    assert barrier.wait() == 1
    barrier.abort()
    barrier.reset()
    # The others go on without it.
    assert [barrier.parties, mortals.start(barrier.join).result()] == [2, None]
    barrier.abort()
    waiter.resume()
    assert waiter.result() == 0


def test_the_death_of_one_who_waits_breaks_it(mortals: Processes) -> None:
    barrier = Barrier(3)
    dying, waiter = (mortals.start(barrier.wait) for _ in range(2))
    dying.until_asleep()
    waiter.until_asleep()
    dying.kill()
    with pytest.raises(
        BrokenBarrierError, match=f"since pid {dying.pid} had waited or joined, and has ended"
    ) as caught:
        waiter.result()
    assert (caught.value.cause, caught.value.pid) == ("died", dying.pid)
    assert broken_by(barrier) == "died"


def test_the_last_to_come_does_not_pass_with_the_dead(mortals: Processes) -> None:
    barrier = Barrier(2)
    dying = mortals.start(barrier.wait)
    dying.until_asleep()
    dying.kill()
    assert broken_by(barrier) == "died"


@pytest.mark.parametrize("first", ["join", "wait"])
def test_the_death_of_one_who_computes_breaks_it(mortals: Processes, first: str) -> None:
    barrier, computing = Barrier(2), mortals.flag()

    def compute() -> None:
        if first == "join":
            barrier.join()
        else:
            barrier.wait()
        computing.raise_()
        mortals.rest()

    dying = mortals.start(compute)
    if first == "wait":
        barrier.wait()
    computing.wait()
    waiter = mortals.start(broken_by, barrier)
    waiter.until_asleep()
    dying.kill()
    assert waiter.result() == "died"


def test_one_who_joins_while_others_sleep_is_watched(mortals: Processes) -> None:
    barrier, joined = Barrier(3), mortals.flag()
    waiters = [mortals.start(broken_by, barrier) for _ in range(2)]
    for waiter in waiters:
        waiter.until_asleep()

    def join() -> None:
        barrier.join()
        barrier.join()
        joined.raise_()
        mortals.rest()

    dying = mortals.start(join)
    joined.wait()
    assert barrier.n_waiting == 2
    dying.kill()
    assert [waiter.result() for waiter in waiters] == ["died", "died"]


def test_a_reset_forgets_the_dead_and_keeps_the_living(mortals: Processes) -> None:
    barrier, joined = Barrier(2), mortals.flag()

    def join() -> None:
        barrier.join()
        joined.raise_()
        mortals.rest()

    first, second = mortals.start(join), mortals.start(join)
    for _ in range(2):
        joined.wait()
    first.kill()
    assert broken_by(barrier) == "died"
    barrier.reset()
    waiter = mortals.start(broken_by, barrier)
    waiter.until_asleep()
    second.kill()
    assert waiter.result() == "died"


def test_parties_that_are_done_may_end(processes: Processes) -> None:
    barrier = Barrier(2)
    partner = processes.start(barrier.wait)
    assert sorted([barrier.wait(), partner.result()]) == [0, 1]
    assert not barrier.broken
    # But the next generation cannot be complete with it.
    assert broken_by(barrier) == "died"


def test_the_end_of_a_thread_breaks_nothing(threads: Threads) -> None:
    barrier = Barrier(2)
    for _ in range(3):
        partner = threads.start(barrier.wait)
        assert barrier.wait() + partner.result() == 1


def test_one_process_more_than_can_be_watched_is_refused(processes: Processes) -> None:
    barrier, joined = Barrier(2), processes.flag()

    def join() -> None:
        barrier.join()
        joined.raise_()
        processes.rest()

    crowd = [processes.start(join) for _ in range(64)]
    for _ in crowd:
        joined.wait()
    with pytest.raises(MisuseError, match="64 processes have waited at it or joined"):
        barrier.join()
    with pytest.raises(MisuseError, match="64 processes have waited at it or joined"):
        barrier.wait()
    crowd[0].kill()
    barrier.reset()
    barrier.join()


def test_ctrl_c_takes_one_away_and_breaks_nothing(processes: Processes) -> None:
    barrier = Barrier(2)

    def wait() -> int:
        try:
            return barrier.wait()
        except KeyboardInterrupt:
            signal.pause()
            raise

    waiter = processes.start(wait)
    waiter.until_asleep()
    waiter.signal(signal.SIGINT)
    until(lambda: barrier.n_waiting == 0, "the end of the wait")
    (other,) = asleep_in(processes, barrier, 1)
    assert barrier.wait() == 1
    assert other.result() == 0
    waiter.signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        waiter.result()


def test_a_hundred_parties(threads: Threads) -> None:
    barrier = Barrier(100)

    def run() -> list[int]:
        return [barrier.wait() for _ in range(3)]

    found = [actor.result() for actor in [threads.start(run) for _ in range(100)]]
    assert all(sorted(indices) == [*range(100)] for indices in zip(*found, strict=True))


def test_more_threads_than_parties_pass_in_groups(threads: Threads) -> None:
    barrier, count = Barrier(50), 150
    waiters = [threads.start(barrier.wait) for _ in range(count)]
    assert sorted(waiter.result() for waiter in waiters) == sorted([*range(50)] * 3)
    assert (barrier.n_waiting, barrier.broken) == (0, False)


def test_by_name() -> None:
    barrier = Barrier.create("start", 2)
    other = Barrier.open("start")
    assert other.parties == Barrier.open_or_create("start", 2).parties == 2
    with pytest.raises(MismatchError, match="parties=2"):
        Barrier.open_or_create("start", 3)
    with pytest.raises(MismatchError):
        Semaphore.open("start")
    other.abort()
    assert barrier.broken
    other.unlink()


def test_closed_handle_refuses() -> None:
    barrier = Barrier.create("start", 2)
    barrier.close()
    for use in (barrier.wait, barrier.join, barrier.abort, barrier.reset):
        with pytest.raises(ClosedError, match="'start'"):
            use()
    assert repr(barrier) == "<Barrier 'start', 0 of 2 parties, closed>"
    barrier.unlink()


def test_repr_and_statistics(world: World) -> None:
    barrier = Barrier.create("start", 2)
    (waiter,) = asleep_in(world, barrier, 1)
    who = r"\((this process|pid \d+)\)"
    assert re.fullmatch(rf"<Barrier 'start', 1 of 2 parties {who}, waiters 1>", repr(barrier))
    statistics = barrier.statistics()
    assert (len(statistics.come), statistics.missing) == (1, [])
    assert (statistics.parties, statistics.n_waiting, statistics.broken, statistics.waiters) == (2, 1, False, 1)
    assert repr(statistics) == "BarrierStatistics(parties=2, n_waiting=1, broken=False, waiters=1)"
    with pytest.raises(AttributeError):
        statistics.parties = 3  # pyright: ignore[reportAttributeAccessIssue]
    barrier.abort()
    with pytest.raises(BrokenBarrierError):
        waiter.result()
    assert re.fullmatch(r"<Barrier 'start', 0 of 2 parties, broken: pid \d+ aborted it>", repr(barrier))
    barrier.unlink()


def test_pickled_handle_is_the_same_barrier() -> None:
    barrier = Barrier(2)
    other: Barrier = pickle.loads(pickle.dumps(barrier))  # noqa: S301 - our own bytes
    other.abort()
    assert barrier.broken
    barrier.unlink()
