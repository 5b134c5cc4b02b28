"""Latch: Java's CountDownLatch and C++'s latch, between threads, processes and the lab's."""

import pickle
import time

import pytest

from tests.conformance.backends import SOON, Processes, Threads, until
from underpass import ClosedError, ExistsError, MismatchError, MisuseError, NotFoundError, TimedOut, WouldBlock
from underpass.sync import Latch

World = Threads | Processes


def test_it_opens_when_all_have_come(world: World) -> None:
    latch = Latch(3)
    waiters = [world.start(latch.wait) for _ in range(3)]
    for waiter in waiters:
        waiter.until_asleep()
    latch.count_down()
    assert latch.count == 2
    assert latch.statistics().waiters >= 3
    assert not any(waiter.ended for waiter in waiters)
    latch.count_down(2)
    assert [waiter.result() for waiter in waiters] == [True] * 3
    assert latch.count == 0


def test_who_comes_later_passes(world: World) -> None:
    latch = Latch(1)
    world.start(latch.count_down).result()
    assert latch.wait() is True
    assert latch.wait(timeout=0) is True
    assert latch.wait_nowait() is True
    assert world.start(latch.wait).result() is True


def test_none_to_come() -> None:
    assert Latch(0).wait() is True


def test_many_arrive_at_once(world: World) -> None:
    latch = Latch(6)
    waiter = world.start(latch.wait)
    for actor in [world.start(latch.count_down) for _ in range(6)]:
        actor.result()
    assert waiter.result() is True


def test_more_than_are_to_come_counts_nothing(world: World) -> None:
    latch = Latch(2)
    with pytest.raises(MisuseError, match=r"more would arrive than the 2 that it waits for"):
        latch.count_down(3)
    assert latch.count == 2
    world.start(latch.count_down, 2).result()
    with pytest.raises(MisuseError, match="would arrive than the 0"):
        latch.count_down()
    assert latch.count == 0


def test_in_vain() -> None:
    latch = Latch(2)
    with pytest.raises(WouldBlock, match="2 are still to come"):
        latch.wait_nowait()
    with pytest.raises(TimedOut):
        latch.wait(timeout=0)
    before = time.monotonic()
    with pytest.raises(TimedOut, match=rf"not open within {SOON} s: 2 are still to come"):
        latch.wait(timeout=SOON)
    assert time.monotonic() - before >= SOON


def test_who_gives_up_takes_nobody_along(world: World) -> None:
    latch = Latch(1)
    waiter = world.start(latch.wait)
    waiter.until_asleep()
    with pytest.raises(TimedOut):
        latch.wait(timeout=SOON)
    assert not waiter.ended
    latch.count_down()
    assert waiter.result() is True


def test_who_dies_asleep_keeps_nobody_back(mortals: Processes) -> None:
    latch = Latch(1)
    waiters = [mortals.start(latch.wait) for _ in range(3)]
    for waiter in waiters:
        waiter.until_asleep()
    waiters[0].kill()
    latch.count_down()
    assert [waiter.result() for waiter in waiters[1:]] == [True, True]


def test_who_has_arrived_may_die(mortals: Processes) -> None:
    latch = Latch(2)

    def arrive() -> None:
        latch.count_down()
        mortals.rest()

    dead = mortals.start(arrive)
    until(lambda: latch.count == 1, "the arrival")
    dead.kill()
    assert latch.count == 1
    waiter = mortals.start(latch.wait)
    waiter.until_asleep()
    latch.count_down()
    assert waiter.result() is True


def test_names_and_handles(world: World) -> None:
    latch = Latch.create("latch", 2)
    try:
        with pytest.raises(ExistsError):
            Latch.create("latch", 2)
        with pytest.raises(MismatchError, match="count"):
            Latch.open_or_create("latch", 3)
        other = Latch.open("latch")
        other.count_down()
        assert latch.count == 1
        again = pickle.loads(pickle.dumps(latch))  # noqa: S301 - our own bytes
        assert again.count == 1
        # What it was made with, not what is left of it.
        Latch.open_or_create("latch", 2).close()
        world.start(Latch.open("latch").count_down).result()
        assert latch.wait() is True
    finally:
        latch.unlink()
    with pytest.raises(NotFoundError):
        Latch.open("latch")


def test_what_it_says() -> None:
    latch = Latch(2)
    assert "2 to come" in repr(latch)
    assert repr(latch.statistics()) == "LatchStatistics(count=2, waiters=0)"
    latch.count_down(2)
    assert repr(latch).startswith("<Latch ")
    assert ", open" in repr(latch)
    latch.close()
    with pytest.raises(ClosedError):
        latch.wait()
    with pytest.raises(ClosedError):
        latch.count_down()


@pytest.mark.parametrize("count", [-1, 2**31, 2**40])
def test_a_count_out_of_range_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"count={count} is not between 0 and 2147483647"):
        Latch(count)


@pytest.mark.parametrize("n", [3, 2**31, 2**40])
def test_more_than_are_to_come_do_not_arrive(n: int) -> None:
    latch = Latch(2)
    with pytest.raises(MisuseError, match="more would arrive than the 2") as caught:
        latch.count_down(n)
    assert str(2**32 - 1) not in str(caught.value)
    assert latch.statistics().count == 2


@pytest.mark.parametrize("n", [0, -1])
def test_fewer_than_one_do_not_arrive(n: int) -> None:
    with pytest.raises(ValueError, match=f"n={n} is below 1"):
        Latch(1).count_down(n)
