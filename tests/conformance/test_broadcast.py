"""Broadcast: Zephyr's winstream in messages, between threads, processes and the lab's."""

import pickle
import select
import time

import pytest

from tests.conformance.backends import SOON, Flag, Processes, Threads
from underpass import (
    Broadcast,
    ClosedError,
    EndOfStream,
    ExistsError,
    MessageTooLongError,
    MismatchError,
    MisuseError,
    Queue,
    Subscription,
    TimedOut,
    WouldBlock,
    wait_any,
)
from underpass import select as select_any

World = Threads | Processes


def read(broadcast: Broadcast, count: int, ready: Flag) -> list[bytes]:
    """Get so many messages of those that come from now on."""
    with broadcast.subscribe() as mine:
        ready.raise_()
        return [mine.get() for _ in range(count)]


def drained(subscription: Subscription) -> list[bytes]:
    """What is there now."""
    got = list[bytes]()
    while True:
        try:
            got.append(subscription.get_nowait())
        except WouldBlock:
            return got


def numbered(first: int, last: int) -> list[bytes]:
    return [b"%d" % number for number in range(first, last)]


# ── what readers get ────────────────────────────────────────────────────────────────────────────────────────────────


def test_all_readers_get_every_message(world: World) -> None:
    broadcast, ready = Broadcast(4096), world.flag()
    readers = [world.start(read, broadcast, 3, ready) for _ in range(3)]
    for _ in readers:
        ready.wait()
    for message in (b"one", b"", b"three"):
        broadcast.publish(message)
    assert [reader.result() for reader in readers] == [[b"one", b"", b"three"]] * 3


def test_one_publish_wakes_all_who_sleep(world: World) -> None:
    broadcast, ready = Broadcast(4096), world.flag()
    readers = [world.start(read, broadcast, 1, ready) for _ in range(3)]
    for reader in readers:
        reader.until_asleep()
    assert broadcast.statistics().waiters >= 3
    broadcast.publish(b"news")
    assert [reader.result() for reader in readers] == [[b"news"]] * 3


def test_late_joiners_begin_now_or_with_the_oldest() -> None:
    broadcast = Broadcast(4096)
    broadcast.publish(b"before")
    now, oldest = broadcast.subscribe(), broadcast.subscribe(start="oldest")
    broadcast.publish(b"after")
    assert drained(now) == [b"after"]
    assert drained(oldest) == [b"before", b"after"]
    assert drained(Broadcast(4096).subscribe(start="oldest")) == []


def test_a_slow_reader_is_told_exactly_what_it_lost() -> None:
    broadcast = Broadcast(256)  # eight messages of up to 16 bytes
    slow, slower = broadcast.subscribe(), broadcast.subscribe()
    for message in numbered(0, 10):
        broadcast.publish(message)
    assert (slow.lost, slow.behind) == (0, 10)
    assert slow.get_nowait() == b"2"
    assert (slow.lost, slow.behind) == (2, 7)
    for message in numbered(10, 20):
        broadcast.publish(message)
    assert drained(slow) == numbered(12, 20)
    assert (slow.lost, slow.behind) == (11, 0)
    assert drained(slower) == numbered(12, 20)
    assert slower.lost == slower.statistics().lost == 12
    assert broadcast.statistics().kept == 8


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 15, 16, 17, 31, 100, 112])
def test_every_length_at_every_place(size: int) -> None:
    broadcast = Broadcast(256)
    mine = broadcast.subscribe()
    for number in range(40):
        message = bytes((number + place) % 256 for place in range(size))
        broadcast.publish(b"x" * (number % 5 * 16))
        broadcast.publish(message)
        assert drained(mine)[-1] == message


def test_the_longest_message() -> None:
    broadcast = Broadcast(4096)
    assert broadcast.message_size == 4096 // 2 - 16
    longest = b"x" * broadcast.message_size
    with broadcast.subscribe() as mine:
        broadcast.publish(longest)
        assert mine.get() == longest
        with pytest.raises(MessageTooLongError, match=r"2033 bytes are more than its message_size of 2032") as raised:
            broadcast.publish(longest + b"x")
    assert (raised.value.size, raised.value.limit) == (2033, 2032)
    assert broadcast.statistics().published == 1


def test_into_a_buffer() -> None:
    broadcast, small, large = Broadcast(4096), bytearray(3), bytearray(8)
    mine = broadcast.subscribe()
    broadcast.publish(memoryview(b"wheel"))
    with pytest.raises(MisuseError, match="has 5 bytes, and the buffer 3"):
        mine.get_into(small)
    assert mine.get_into(large) == 5
    assert large == b"wheel\0\0\0"


# ── when there is nothing ───────────────────────────────────────────────────────────────────────────────────────────


def test_in_vain() -> None:
    broadcast = Broadcast(4096)
    mine = broadcast.subscribe(start="oldest")
    with pytest.raises(WouldBlock):
        mine.get_nowait()
    with pytest.raises(TimedOut, match="nobody publishes there yet"):
        mine.get(timeout=0)
    before = time.monotonic()
    broadcast.publish(b"one")
    assert mine.get(timeout=0) == b"one"
    with pytest.raises(TimedOut, match=rf"gave nothing within {SOON} s: 1 message published so far, by pid \d+"):
        mine.get(timeout=SOON)
    assert time.monotonic() - before >= SOON


def test_shutdown_ends_readers_after_what_is_there(world: World) -> None:
    broadcast, ready = Broadcast(4096), world.flag()

    def drain() -> list[bytes]:
        with broadcast.subscribe() as mine:
            ready.raise_()
            return list(mine)

    reader = world.start(drain)
    ready.wait()
    broadcast.publish(b"last")
    broadcast.shutdown()
    broadcast.shutdown()
    assert reader.result() == [b"last"]
    with pytest.raises(EndOfStream, match="not published to: it was shut down"):
        broadcast.publish(b"more")
    late = broadcast.subscribe(start="oldest")
    assert list(late) == [b"last"]
    for attempt in (late.get, late.get_nowait):
        with pytest.raises(EndOfStream):
            attempt()


# ── beside others ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_wait_any_and_select(world: World) -> None:
    broadcast, ready, jobs = Broadcast(4096), world.flag(), Queue()

    def wait() -> tuple[int, bytes, bytes]:
        with broadcast.subscribe() as mine:
            ready.raise_()
            assert wait_any(jobs, mine) == [mine]
            first = mine.get_nowait()
            ready.raise_()
            place, second = select_any(jobs.get, mine.get)
            return place, bytes(second), first

    waiter = world.start(wait)
    ready.wait()
    broadcast.publish(b"one")
    ready.wait()
    broadcast.publish(b"two")
    assert waiter.result() == (1, b"two", b"one")


def test_it_is_no_member_itself() -> None:
    with pytest.raises(TypeError, match="wait for a subscription"):
        wait_any(Broadcast(64))


# ── handles ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_names(request: pytest.FixtureRequest) -> None:
    broadcast = Broadcast.create("news", 4096)
    request.addfinalizer(broadcast.unlink)
    broadcast.publish(b"one")
    assert Broadcast.open("news").subscribe(start="oldest").get(timeout=0) == b"one"
    assert Broadcast.open_or_create("news", 4096).capacity == 4096
    with pytest.raises(ExistsError):
        Broadcast.create("news")
    with pytest.raises(MismatchError, match="capacity=4096, when_full='overwrite', and capacity=64"):
        Broadcast.open_or_create("news", 64)


def test_it_travels_and_its_subscriptions_do_not(request: pytest.FixtureRequest) -> None:
    broadcast = Broadcast.create("news", 4096)
    request.addfinalizer(broadcast.unlink)
    other: Broadcast = pickle.loads(pickle.dumps(broadcast))  # noqa: S301 - our own bytes
    mine = other.subscribe()
    broadcast.publish(b"one")
    assert mine.get(timeout=0) == b"one"
    with pytest.raises(TypeError, match="hand on the broadcast"):
        pickle.dumps(mine)
    with pytest.raises(MisuseError, match="unlink the broadcast"):
        mine.unlink()


def test_a_closed_one_is_refused() -> None:
    broadcast = Broadcast(4096)
    with broadcast.subscribe() as mine:
        pass
    with pytest.raises(ClosedError):
        mine.get_nowait()
    other = broadcast.subscribe()
    broadcast.publish(b"still")
    broadcast.close()
    with pytest.raises(ClosedError):
        broadcast.publish(b"more")
    assert other.get_nowait() == b"still"  # it has a handle of its own


def test_a_descriptor_for_other_loops() -> None:
    broadcast = Broadcast(4096)
    mine = broadcast.subscribe()
    try:
        assert not select.select([mine], [], [], 0)[0]
        broadcast.publish(b"one")
        assert select.select([mine], [], [], 0)[0] == [mine]
        assert drained(mine) == [b"one"]
        assert not select.select([mine], [], [], 0)[0]
        broadcast.shutdown()
        assert select.select([mine], [], [], 0)[0] == [mine]
    finally:
        mine.close()


@pytest.mark.parametrize("capacity", [0, 63, -1, 2**31 + 1, 2**70])
def test_capacities_that_are_none(capacity: int) -> None:
    with pytest.raises(ValueError, match=r"is not between 64 and|more than 64 bits"):
        Broadcast(capacity)


def test_bad_arguments() -> None:
    broadcast = Broadcast(64)
    with pytest.raises(ValueError, match="pass 'now' or 'oldest'"):
        broadcast.subscribe(start="yesterday")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="carries bytes"):
        broadcast.publish("text")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="timeout=-1"):
        broadcast.publish(b"", timeout=-1)
