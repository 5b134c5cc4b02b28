"""Notification: what Zephyr's suite asserts of `k_event`, sel4test of polling, and what the API adds."""

import os
import pickle
import random
import signal
import threading
import time

import pytest

from tests.conformance.backends import SOON, Processes, Threads, sleeps_in_library, until
from underpass import ClosedError, MismatchError, Notification, Semaphore, TimedOut, WouldBlock

World = Threads | Processes
EVERY = 2**64 - 1


def test_notify_adds_and_set_replaces_and_both_return_the_bits_before() -> None:
    notification = Notification()
    assert notification.notify(0x0123) == 0
    assert notification.notify(0x4000) == 0x0123
    assert notification.set(0x5678) == 0x4123
    assert notification.bits == 0x5678
    assert notification.set(0) == 0x5678
    assert notification.bits == 0


def test_set_under_a_mask_leaves_the_others() -> None:
    notification = Notification()
    notification.notify(0xFF00)
    assert notification.set(0x1234, 0x0FF0) == 0xFF00
    assert notification.bits == 0xF230


def test_clear_returns_the_bits_before() -> None:
    notification = Notification()
    notification.notify(0b1110)
    assert notification.clear(0b0011) == 0b1110
    assert notification.clear() == 0b1100
    assert notification.clear(0) == notification.bits == 0


def test_default_bit_is_the_first() -> None:
    notification = Notification()
    notification.notify()
    assert notification.wait() == 1


def test_any() -> None:
    notification = Notification()
    notification.notify(0x1234)
    with pytest.raises(WouldBlock, match="bits are 0x1234, and any of 0x2448"):
        notification.wait_nowait(0x2448)
    assert notification.wait_nowait(0x0235) == 0x0234
    assert notification.bits == 0x1000


def test_all_that_are_incomplete_take_nothing() -> None:
    notification = Notification()
    notification.notify(0b0111)
    with pytest.raises(WouldBlock, match="all of 0xf"):
        notification.wait_nowait(0b1111, all=True)
    with pytest.raises(TimedOut):
        notification.wait(0b1001, all=True, timeout=0)
    assert notification.bits == 0b0111
    assert notification.wait(0b0101, all=True) == 0b0101
    assert notification.bits == 0b0010


def test_a_poll_returns_each_notification_once() -> None:
    notification = Notification()
    with pytest.raises(WouldBlock):
        notification.wait_nowait()
    notification.notify(0b100)
    notification.notify(0b001)
    assert notification.wait_nowait() == 0b101
    with pytest.raises(WouldBlock):
        notification.wait_nowait()


def test_without_consume_the_bits_stay() -> None:
    notification = Notification()
    notification.notify(0b11)
    assert notification.wait(0b01, consume=False) == 0b01
    assert notification.wait(0b11, all=True, consume=False) == 0b11
    assert notification.bits == 0b11


def test_a_clear_before_the_wait_drops_old_bits() -> None:
    notification = Notification()
    notification.notify(0b1)
    notification.clear()
    with pytest.raises(TimedOut):
        notification.wait(0b1, timeout=SOON)


def test_waiting_for_nothing_returns_at_once() -> None:
    notification = Notification()
    assert notification.wait(0) == notification.wait_nowait(0, all=True) == 0


@pytest.mark.parametrize("bits", [-1, 2**64, 2**70])
def test_bits_that_are_no_flags_are_refused(bits: int) -> None:
    notification = Notification()
    for use in (notification.notify, notification.set, notification.clear, notification.wait, notification.wait_nowait):
        with pytest.raises(ValueError, match="64 flags"):
            use(bits)
    with pytest.raises(ValueError, match="64 flags"):
        notification.set(0, bits)
    with pytest.raises(TypeError):
        notification.notify(1.0)  # pyright: ignore[reportArgumentType]
    assert notification.bits == 0


def test_all_64_flags() -> None:
    notification = Notification()
    for bit in range(64):
        assert notification.notify(1 << bit) == (1 << bit) - 1
    assert notification.wait(EVERY, all=True) == EVERY


@pytest.mark.parametrize("timeout", [0.001, SOON])
def test_timeout_is_never_early(timeout: float) -> None:
    notification = Notification()
    start = time.monotonic()
    with pytest.raises(TimedOut, match=f"within {timeout} s"):
        notification.wait(timeout=timeout)
    assert time.monotonic() - start >= timeout
    assert notification.statistics().waiters == 0


def test_notify_wakes_a_waiter(world: World) -> None:
    notification = Notification()
    waiter = world.start(notification.wait, 0b110)
    waiter.until_asleep()
    assert notification.statistics().waiters == 1
    notification.notify(0b1001)
    waiter.until_asleep()
    assert notification.notify(0b1010) == 0b1001
    assert waiter.result() == 0b010
    assert notification.bits == 0b1001


def test_all_are_collected_over_several_posts(world: World) -> None:
    notification = Notification()
    waiter = world.start(lambda: notification.wait(0b111, all=True))
    waiter.until_asleep()
    for bit in (0b001, 0b010):
        notification.notify(bit)
        assert not waiter.ended
    notification.notify(0b1100)
    assert waiter.result() == 0b111
    assert notification.bits == 0b1000


@pytest.mark.parametrize("consume", [True, False])
def test_one_set_wakes_all_waiters_and_any_waiters_alike(world: World, consume: bool) -> None:  # noqa: FBT001
    notification = Notification()
    wishes = [(0b011, True), (0b001, False), (0b110, False), (0b111, True), (0b1000, False)]

    def wait(bits: int, all_of_them: bool) -> int:  # noqa: FBT001
        return notification.wait(bits, all=all_of_them, consume=consume)

    waiters = [world.start(wait, *wish) for wish in wishes]
    for waiter in waiters:
        waiter.until_asleep()
    assert notification.statistics().waiters == 5
    notification.set(0b10111)
    assert [waiter.result() for waiter in waiters[:4]] == [0b011, 0b001, 0b110, 0b111]
    assert notification.bits == (0b10000 if consume else 0b10111)
    waiters[4].until_asleep()
    notification.notify(0b1000)
    assert waiters[4].result() == 0b1000


def test_a_pulse_reaches_all_who_wait(world: World) -> None:
    notification = Notification()
    waiters = [world.start(lambda: notification.wait(1, consume=False)) for _ in range(4)]
    for waiter in waiters:
        waiter.until_asleep()
    notification.notify(1)
    notification.clear()
    assert [waiter.result() for waiter in waiters] == [1] * 4


def test_who_comes_later_takes_nothing_from_sleepers(world: World) -> None:
    notification = Notification()
    waiter = world.start(notification.wait, 1)
    waiter.until_asleep()
    notification.notify(1)
    with pytest.raises(WouldBlock):
        notification.wait_nowait(1)
    assert waiter.result() == 1


def test_a_pulse_reaches_all_of_a_crowd(threads: Threads) -> None:
    notification, count = Notification(), 150
    waiters = [threads.start(lambda: notification.wait(2, consume=False)) for _ in range(count)]
    for waiter in waiters:
        waiter.until_asleep()
    assert notification.statistics().waiters == count
    notification.notify(2)
    notification.clear(2)
    assert [waiter.result() for waiter in waiters] == [2] * count
    assert notification.statistics().waiters == 0


def test_a_crowd_that_shrinks_hides_nobody(threads: Threads, dice: random.Random) -> None:
    notification, flags = Notification(), [1 << dice.randrange(64) for _ in range(100)]
    waiters = [(flag, threads.start(notification.wait, flag)) for flag in flags]
    for _, waiter in waiters:
        waiter.until_asleep()
    for flag in dice.sample(sorted(set(flags)), len(set(flags))):
        notification.notify(flag)
        woken = [waiter for wanted, waiter in waiters if wanted == flag]
        assert [waiter.result() for waiter in woken] == [flag] * len(woken)
    assert notification.bits == 0


def test_two_ping_pong(world: World) -> None:
    notification, turns = Notification(), world.times(2_000)

    def play() -> None:
        for _ in range(turns):
            notification.wait(0b01)
            notification.notify(0b10)

    partner = world.start(play)
    for _ in range(turns):
        notification.notify(0b01)
        notification.wait(0b10)
    partner.result()
    assert notification.bits == 0


def test_every_flag_has_its_own_conversation(world: World) -> None:
    notification, turns = Notification(), world.times(300)

    def echo(bit: int) -> int:
        for _ in range(turns):
            notification.wait(1 << bit)
            notification.notify(1 << bit + 32)
        return bit

    def ask(bit: int) -> int:
        for _ in range(turns):
            notification.notify(1 << bit)
            notification.wait(1 << bit + 32)
        return bit

    actors = [world.start(role, bit) for bit in range(3) for role in (echo, ask)]
    assert [actor.result() for actor in actors] == [0, 0, 1, 1, 2, 2]
    assert notification.bits == 0


def test_killed_waiter_swallows_no_flag(mortals: Processes) -> None:
    notification = Notification()
    waiters = [mortals.start(notification.wait, 1) for _ in range(2)]
    for waiter in waiters:
        waiter.until_asleep()
    for waiter in waiters:
        waiter.kill()
    notification.notify(1)
    assert notification.wait(1, timeout=20) == 1
    assert notification.statistics().waiters == 0


def test_slots_of_the_dead_are_used_again(processes: Processes) -> None:
    notification = Notification()

    def wait_in_many_threads() -> None:
        for _ in range(64):
            threading.Thread(target=notification.wait, daemon=True).start()
        notification.wait()

    dying = processes.start(wait_in_many_threads)
    until(lambda: notification.statistics().waiters == 65, "65 waiters")
    dying.kill()
    waiter = processes.start(notification.wait, 1)
    waiter.until_asleep()
    notification.notify(1)
    assert waiter.result() == 1


def test_ctrl_c_ends_a_wait_and_takes_nothing(processes: Processes) -> None:
    notification = Notification()
    waiter = processes.start(notification.wait, 1)
    waiter.until_asleep()
    waiter.signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        waiter.result()
    notification.notify(1)
    assert notification.wait_nowait() == 1


def test_wait_goes_on_after_a_handler_that_notifies_itself(threads: Threads) -> None:
    notification, me, asleep = Notification(), threading.get_native_id(), Semaphore(0)
    before = signal.signal(signal.SIGUSR1, lambda _number, _frame: notification.notify(1))

    def disturb() -> None:
        until(lambda: sleeps_in_library(os.getpid(), me), "the sleep of the main thread")
        os.kill(os.getpid(), signal.SIGUSR1)
        asleep.acquire()

    try:
        actor = threads.start(disturb)
        assert notification.wait(1) == 1
        asleep.release()
        actor.result()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_by_name() -> None:
    notification = Notification.create("news")
    notification.notify(2)
    other = Notification.open("news")
    assert Notification.open_or_create("news").bits == other.bits == 2
    with pytest.raises(MismatchError):
        Semaphore.open("news")
    other.unlink()


def test_closed_handle_refuses() -> None:
    notification = Notification.create("news")
    notification.close()
    for use in (notification.notify, notification.clear, notification.wait, notification.wait_nowait):
        with pytest.raises(ClosedError, match="'news'"):
            use()
    assert "closed" in repr(notification)
    notification.unlink()


def test_repr_and_statistics(world: World) -> None:
    notification = Notification.create("news")
    notification.notify(0x10)
    assert repr(notification) == "<Notification 'news', bits 0x10>"
    waiter = world.start(notification.wait, 1)
    waiter.until_asleep()
    assert repr(notification) == "<Notification 'news', bits 0x10, waiters 1>"
    statistics = notification.statistics()
    assert (statistics.bits, statistics.waiters) == (0x10, 1)
    with pytest.raises(AttributeError):
        statistics.bits = 3  # pyright: ignore[reportAttributeAccessIssue]
    notification.notify(1)
    waiter.result()
    notification.unlink()


def test_pickled_handle_is_the_same_notification() -> None:
    notification = Notification()
    other: Notification = pickle.loads(pickle.dumps(notification))  # noqa: S301 - our own bytes
    other.notify(5)
    assert notification.wait() == 5
    notification.unlink()
