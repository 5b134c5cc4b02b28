"""Mutex whose owner inherits the priority of those who wait (Zephyr's `k_mutex`, Linux's `FUTEX_LOCK_PI`)."""

import os
import pickle
import signal
from collections.abc import Iterator

import pytest

from tests.conformance.backends import SOON, Processes, Threads, disturbed, until
from tests.conformance.lending import Owner, allowed, priority_of, until_priority, urgent, waiter
from tests.conformance.lines import Turns
from underpass import Condition, Event, MismatchError, MisuseError, Mutex, Space, TimedOut, WouldBlock, wait_any

World = Threads | Processes


@pytest.fixture
def realtime() -> Iterator[None]:
    """Leave one processor to everybody who starts from here, and let them have real-time priorities."""
    if not allowed():
        pytest.skip("this process may not use SCHED_FIFO: give it CAP_SYS_NICE or RLIMIT_RTPRIO")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture(params=[Threads, Processes], ids=["threads", "processes"])
def outside(request: pytest.FixtureRequest) -> Iterator[World]:
    """Yield a world that has a scheduler: the lab has none."""
    world: World = request.param()
    yield world
    world.close()


def lending() -> Mutex:
    return Mutex(inherit_priority=True)


@pytest.mark.usefixtures("realtime")
def test_higher_waiter_boosts_the_owner_and_a_lower_one_does_not(outside: World) -> None:
    mutex = lending()
    owner = Owner(outside, 5, mutex)
    lower = waiter(outside, 3, mutex)
    assert priority_of(owner.actor) == 5
    higher = waiter(outside, 9, mutex)
    assert priority_of(owner.actor) == 9
    owner.release()
    assert higher.result()
    assert lower.result()
    owner.actor.result()


@pytest.mark.usefixtures("realtime")
def test_an_owner_without_a_priority_gets_one(outside: World) -> None:
    mutex = lending()
    owner = Owner(outside, 0, mutex)
    ordinary = waiter(outside, 0, mutex)
    assert priority_of(owner.actor) == 0
    higher = waiter(outside, 2, mutex)
    assert priority_of(owner.actor) == 2
    owner.release()
    assert higher.result()
    assert ordinary.result()
    owner.actor.result()


@pytest.mark.usefixtures("realtime")
def test_boost_ends_when_the_higher_waiter_times_out(outside: World) -> None:
    mutex = lending()
    owner = Owner(outside, 2, mutex)
    patient = waiter(outside, 4, mutex)

    def give_up(patience: float) -> None:
        urgent(9)
        with pytest.raises(TimedOut):
            mutex.acquire(timeout=patience)

    def boosted(patience: float) -> bool:
        hasty = outside.start(give_up, patience)
        until(lambda: priority_of(owner.actor) == 9 or hasty.ended)
        seen = not hasty.ended
        hasty.result()
        until_priority(owner.actor, 4)
        return seen

    # A slow machine may take longer to look than the waiter waits.
    assert any(boosted(patience) for patience in (0.3, 2, 8))
    owner.release()
    assert patient.result()
    owner.actor.result()


@pytest.mark.usefixtures("realtime")
def test_boost_ends_when_the_higher_waiter_is_killed(processes: Processes) -> None:
    mutex = lending()
    owner = Owner(processes, 2, mutex)
    higher = processes.start(lambda: (urgent(9), mutex.acquire()))
    higher.until_asleep()
    assert priority_of(owner.actor) == 9
    higher.kill()
    until_priority(owner.actor, 2)
    owner.release()
    owner.actor.result()
    assert mutex.statistics().state == "free"


@pytest.mark.usefixtures("realtime")
def test_owner_of_four_drops_step_by_step(outside: World) -> None:
    mutexes = [lending() for _ in range(4)]
    owner = Owner(outside, 1, *mutexes)
    waiters = [waiter(outside, 2 * number, mutex) for number, mutex in enumerate(mutexes, 1)]
    for boosted in (8, 6, 4, 2):
        assert priority_of(owner.actor) == boosted
        owner.release()
    owner.actor.result()
    assert [one.result() for one in waiters] == [True] * 4


@pytest.mark.usefixtures("realtime")
def test_priority_goes_through_a_chain_of_four(outside: World) -> None:
    mutexes = [lending() for _ in range(4)]
    owners = [Owner(outside, 1, mutexes[0])]
    for number in range(1, 4):
        owners.append(Owner(outside, 1, mutexes[number], then=mutexes[number - 1]))
        owners[-1].actor.until_asleep()
    last = waiter(outside, 7, mutexes[3])
    assert [priority_of(owner.actor) for owner in owners] == [7] * 4
    for number, owner in enumerate(owners):
        # It has what the one before it gave back, and only those behind it have anything to do with the urgent one.
        assert priority_of(owner.actor) == 7
        owner.release()
        owner.actor.result()
        assert [priority_of(behind.actor) for behind in owners[number + 1 :]] == [7] * (3 - number)
    assert last.result()


@pytest.mark.usefixtures("realtime")
def test_release_hands_it_to_the_most_urgent(outside: World) -> None:
    mutex = lending()
    turns = Turns(outside, mutex, prepare=urgent)
    owner = Owner(outside, 1, mutex)
    for urgency in (0, 5, 3, 9):
        turns.come(urgency)
    owner.release()
    owner.actor.result()
    assert turns.order() == [3, 1, 2, 0]


@pytest.mark.usefixtures("realtime")
def test_release_hands_it_among_equals_to_who_came_first(threads: Threads) -> None:
    # A process's main thread looks for signals every 50 ms, and comes behind its equals then.
    mutex = lending()
    turns = Turns(threads, mutex, prepare=urgent)
    owner = Owner(threads, 1, mutex)
    for urgency in (0, 5, 3, 9, 5, 0):
        turns.come(urgency)
    owner.release()
    owner.actor.result()
    assert turns.order() == [4, 1, 3, 0, 2, 5]


@pytest.mark.usefixtures("realtime")
def test_boost_lasts_as_long_as_a_recursive_one_is_held(outside: World) -> None:
    mutex = Mutex(recursive=True, inherit_priority=True)
    owner = Owner(outside, 1, mutex, mutex, mutex)
    higher = waiter(outside, 6, mutex)
    for _ in range(3):
        assert priority_of(owner.actor) == 6
        assert not higher.ended
        owner.release()
    owner.actor.result()
    assert higher.result()


def test_fairness_beside_it_is_refused() -> None:
    with pytest.raises(ValueError, match="order of its own"):
        Mutex(inherit_priority=True, fairness="arrival")
    with pytest.raises(ValueError, match="order of its own"):
        Mutex.create("it", inherit_priority=True, fairness="priority")
    assert Mutex(inherit_priority=True, fairness="barging").statistics().inherit_priority


def test_another_kind_of_that_name_is_refused() -> None:
    made = Mutex.create("it", inherit_priority=True)
    assert Mutex.open("it").statistics() is not None
    assert Mutex.open_or_create("it", inherit_priority=True).statistics().inherit_priority
    with pytest.raises(MismatchError, match=r"inherit_priority=True, and .*inherit_priority=False was asked for"):
        Mutex.open_or_create("it")
    assert not Mutex().statistics().inherit_priority
    made.unlink()


def test_repr_and_statistics_say_so(world: World) -> None:
    mutex = lending()
    assert repr(mutex).endswith("free, inheriting priority>")
    mutex.acquire()
    sleeper = world.start(lambda: mutex.acquire() and mutex.release())
    sleeper.until_asleep()
    told = mutex.statistics()
    assert (told.state, told.inherit_priority, told.waiters) == ("held", True, 1)
    assert "held by" in repr(mutex)
    mutex.release()
    sleeper.result()
    assert mutex.statistics().state == "free"


def test_who_waits_for_whom_is_told(outside: World) -> None:
    mutex = lending()
    mutex.acquire()
    sleeper = outside.start(lambda: mutex.acquire() and mutex.release())
    sleeper.until_asleep()
    (told,) = Space.default().waits()
    assert (told.pid, [holder.pid for holder in told.holders]) == (sleeper.pid, [os.getpid()])
    mutex.release()
    sleeper.result()


def test_acquire_without_waiting_and_with_a_time_that_passes(world: World) -> None:
    mutex = lending()
    assert mutex.acquire() is True
    late = world.start(lambda: (mutex.acquire_nowait, mutex.acquire(timeout=SOON)))
    with pytest.raises(TimedOut, match="held by"):
        late.result()
    refused = world.start(mutex.acquire_nowait)
    with pytest.raises(WouldBlock, match="held by"):
        refused.result()
    mutex.release()
    assert world.start(lambda: mutex.acquire_nowait() and mutex.release()).result() is None


def test_time_that_lasts(world: World) -> None:
    mutex = lending()
    mutex.acquire()
    sleeper = world.start(lambda: mutex.acquire(timeout=20) and mutex.release())
    sleeper.until_asleep()
    mutex.release()
    sleeper.result()


def test_deadlock_with_oneself_is_told_at_once() -> None:
    mutex = lending()
    with mutex, pytest.raises(MisuseError, match="would wait for itself"):
        mutex.acquire()
    recursive = Mutex(recursive=True, inherit_priority=True)
    with recursive, recursive:
        assert recursive.owner is not None
    assert recursive.owner is None


def test_release_of_a_stranger_is_refused(world: World) -> None:
    mutex = lending()
    with pytest.raises(MisuseError, match="nobody holds it"):
        mutex.release()
    mutex.acquire()
    stranger = world.start(mutex.release)
    with pytest.raises(MisuseError, match="it is held by"):
        stranger.result()
    mutex.release()


def test_cycle_of_owners_is_told_at_once(outside: World) -> None:
    mine, others = lending(), lending()
    mine.acquire()
    other = Owner(outside, 0, others, then=mine)
    other.actor.until_asleep()
    with pytest.raises(MisuseError, match="not acquired: its owner waits"):
        others.acquire()
    assert mine.statistics().state == "held"
    mine.release()
    other.release()
    other.actor.result()


def test_mutual_exclusion(world: World) -> None:
    mutex = lending()
    turns = Turns(world, mutex)
    with mutex:
        for _ in range(4):
            turns.come()
    assert sorted(turns.order()) == [0, 1, 2, 3]
    assert mutex.owner is None


def test_signals_are_heard_while_it_waits(threads: Threads) -> None:
    mutex, go = lending(), Event()

    def hold() -> None:
        with mutex:
            go.wait()

    owner = threads.start(hold)
    until(lambda: mutex.owner is not None, "the owner")
    assert disturbed(threads, mutex.acquire, go.set) is True
    mutex.release()
    owner.result()


def test_ctrl_c_ends_the_wait(processes: Processes) -> None:
    mutex = lending()
    mutex.acquire()
    sleeper = processes.start(mutex.acquire)
    sleeper.until_asleep()
    sleeper.signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        sleeper.result()
    mutex.release()
    assert mutex.acquire_nowait()


def test_forked_child_holds_nothing(processes: Processes) -> None:
    mutex = lending()
    mutex.acquire()
    child = processes.start(mutex.release)
    with pytest.raises(MisuseError, match="it is held by"):
        child.result()
    child = processes.start(lambda: mutex.acquire() and mutex.release())
    child.until_asleep()
    mutex.release()
    child.result()


def test_condition_on_it(world: World) -> None:
    mutex = Mutex.create("it", inherit_priority=True)
    condition = Condition(mutex)

    def wait() -> bool:
        with condition:
            return condition.wait()

    waiters = [world.start(wait) for _ in range(3)]
    for one in waiters:
        one.until_asleep()
    with condition:
        assert condition.notify_all() == 3
    assert [one.result() for one in waiters] == [True] * 3
    assert mutex.statistics().state == "free"
    mutex.unlink()


def test_wait_any_is_told_of_the_release(world: World) -> None:
    mutex, other = lending(), Event()
    mutex.acquire()
    onlooker = world.start(lambda: wait_any(mutex, other) == [mutex])
    onlooker.until_asleep()
    mutex.release()
    assert onlooker.result()
    assert mutex.acquire_nowait()


def test_wait_any_is_told_after_it_was_handed_over(outside: World) -> None:
    mutex, other, taken, go = lending(), Event(), outside.flag(), outside.flag()
    mutex.acquire()

    def have() -> None:
        with mutex:
            taken.raise_()
            go.wait()

    sleeper = outside.start(have)
    sleeper.until_asleep()
    onlooker = outside.start(lambda: wait_any(mutex, other) == [mutex])
    onlooker.until_asleep()
    mutex.release()
    taken.wait()
    onlooker.until_asleep()
    go.raise_()
    assert onlooker.result()
    sleeper.result()


def test_travels(processes: Processes) -> None:
    mutex = Mutex.create("it", inherit_priority=True)
    travelled = pickle.loads(pickle.dumps(mutex))  # noqa: S301 - our own bytes
    with mutex:
        visitor = processes.start(lambda: travelled.acquire() and travelled.release())
        visitor.until_asleep()
    visitor.result()
    mutex.unlink()
