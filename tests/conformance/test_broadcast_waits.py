"""Broadcast whose writer waits: nothing is lost, the slowest reader that lives holds it back, and the dead hold nobody."""

import gc
import os

import pytest

from tests.conformance.backends import SOON, Flag, Processes, Threads
from underpass import Broadcast, EndOfStream, MismatchError, MisuseError, TimedOut, WouldBlock, wait_any

World = Threads | Processes

EIGHT = 256
"""Bytes in which eight messages of up to 16 bytes lie."""


def made(capacity: int = EIGHT) -> Broadcast:
    return Broadcast(capacity, when_full="wait")


def numbered(first: int, last: int) -> list[bytes]:
    return [b"%d" % number for number in range(first, last)]


def publish(broadcast: Broadcast, messages: list[bytes]) -> None:
    for message in messages:
        broadcast.publish(message)


def read(broadcast: Broadcast, count: int, ready: Flag) -> list[bytes]:
    """Get so many messages of those that come from now on."""
    with broadcast.subscribe() as mine:
        ready.raise_()
        return [mine.get() for _ in range(count)]


# ── nothing is lost ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_reader_gets_every_message(world: World) -> None:
    broadcast, ready, count = made(), world.flag(), world.times(200)
    readers = [world.start(read, broadcast, count, ready) for _ in range(2)]
    for _ in readers:
        ready.wait()
    publish(broadcast, numbered(0, count))
    assert [reader.result() for reader in readers] == [numbered(0, count)] * 2


def test_who_publishes_waits_until_the_slowest_has_got_what_is_in_the_way(world: World) -> None:
    broadcast = made()
    slow, quick = broadcast.subscribe(), broadcast.subscribe()
    writer = world.start(publish, broadcast, numbered(0, 9))
    assert [quick.get() for _ in range(8)] == numbered(0, 8)
    writer.until_asleep()
    assert broadcast.statistics().published == 8
    assert slow.get() == b"0"
    writer.result()
    assert quick.get() == b"8"
    assert [slow.get_nowait() for _ in range(8)] == numbered(1, 9)
    assert slow.lost == quick.lost == 0


def test_without_readers_it_overwrites() -> None:
    broadcast = made()
    publish(broadcast, numbered(0, 20))
    assert [*map(int, drained(broadcast))] == [*range(12, 20)]


def drained(broadcast: Broadcast) -> list[bytes]:
    """All that is there, for one who comes now."""
    with broadcast.subscribe(start="oldest") as mine:
        return [mine.get_nowait() for _ in range(mine.behind)]


def test_late_joiners_begin_now_or_with_the_oldest() -> None:
    broadcast = made()
    broadcast.publish(b"before")
    now, oldest = broadcast.subscribe(), broadcast.subscribe(start="oldest")
    broadcast.publish(b"after")
    assert [oldest.get_nowait(), oldest.get_nowait(), now.get_nowait()] == [b"before", b"after", b"after"]


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 100, 112])
def test_every_length_at_every_place(size: int) -> None:
    broadcast = made()
    with broadcast.subscribe() as mine:
        for number in range(40):
            messages = [b"x" * (number % 5 * 16), bytes((number + place) % 256 for place in range(size))]
            for message in messages:
                broadcast.publish_nowait(message)
                assert mine.get_nowait() == message


# ── who waits, and what ends it ─────────────────────────────────────────────────────────────────────────────────────


def test_in_vain_it_names_who_is_behind() -> None:
    broadcast = made()
    slow, quick = broadcast.subscribe(), broadcast.subscribe()
    publish(broadcast, numbered(0, 8))
    for _ in range(7):
        quick.get_nowait()
    with pytest.raises(WouldBlock):
        broadcast.publish_nowait(b"more")
    text = r"held back by this process, 8 messages behind, this process, 1 message behind"
    for timeout in (0, SOON):
        with pytest.raises(TimedOut, match=rf"not published to within {timeout} s: {text}"):
            broadcast.publish(b"more", timeout=timeout)
    assert [(reader.pid, reader.behind) for reader in broadcast.statistics().readers] == [
        (os.getpid(), 8),
        (os.getpid(), 1),
    ]
    assert (slow.behind, quick.behind, broadcast.statistics().published) == (8, 1, 8)


def test_a_subscription_that_ends_frees_the_writer(world: World) -> None:
    broadcast, messages = made(), numbered(0, 9)
    mine = broadcast.subscribe()
    writer = world.start(publish, broadcast, messages)
    writer.until_asleep()
    mine.close()
    mine.close()
    writer.result()
    assert broadcast.statistics().readers == []


def test_a_subscription_that_is_forgotten_frees_the_writer() -> None:
    broadcast = made()
    mine = broadcast.subscribe()
    publish(broadcast, numbered(0, 8))
    assert mine.behind == 8
    del mine
    gc.collect()
    broadcast.publish_nowait(b"more")


def test_a_shutdown_ends_a_writer_that_waits(threads: Threads) -> None:
    broadcast = made()
    with broadcast.subscribe() as mine:
        publish(broadcast, numbered(0, 8))
        writer = threads.start(broadcast.publish, b"more")
        writer.until_asleep()
        broadcast.shutdown()
        with pytest.raises(EndOfStream):
            writer.result()
        assert list(mine) == numbered(0, 8)


def test_a_dead_reader_is_dropped_at_once(processes: Processes) -> None:
    broadcast, ready = made(), processes.flag()

    def stay() -> None:
        _mine = broadcast.subscribe()
        ready.raise_()
        processes.rest()

    dead, dying = processes.start(stay), processes.start(stay)
    ready.wait()
    ready.wait()
    dead.kill()
    publish(broadcast, numbered(0, 8))
    with pytest.raises(TimedOut, match=f"held back by pid {dying.pid}, 8 messages behind$"):
        broadcast.publish(b"8", timeout=SOON)
    dying.kill()
    broadcast.publish_nowait(b"8")
    assert broadcast.statistics().readers == []


def test_a_death_wakes_a_writer_that_waits(processes: Processes) -> None:
    broadcast, ready = made(), processes.flag()

    def stay() -> None:
        _mine = broadcast.subscribe()
        ready.raise_()
        processes.rest()

    dying = processes.start(stay)
    ready.wait()
    writer = processes.start(publish, broadcast, numbered(0, 9))
    writer.until_asleep()
    dying.kill()
    writer.result()


def test_a_stopped_reader_holds_the_writer_back_and_is_named(processes: Processes) -> None:
    broadcast, ready, count = made(), processes.flag(), 9
    reader = processes.start(read, broadcast, count, ready)
    ready.wait()
    reader.stop()
    publish(broadcast, numbered(0, 8))
    with pytest.raises(TimedOut, match=f"held back by pid {reader.pid}, 8 messages behind"):
        broadcast.publish(b"8", timeout=SOON)
    reader.resume()
    broadcast.publish(b"8")
    assert reader.result() == numbered(0, 9)


def test_a_forked_copy_gets_nothing_and_frees_nothing(processes: Processes) -> None:
    broadcast = made()
    mine = broadcast.subscribe()
    publish(broadcast, numbered(0, 8))

    def use() -> None:
        with mine, pytest.raises(MisuseError, match="forked from: subscribe here"):
            mine.get_nowait()

    processes.start(use).result()
    with pytest.raises(WouldBlock):
        broadcast.publish_nowait(b"more")
    assert mine.get_nowait() == b"0"


def test_a_forked_copy_is_not_the_child_s_own(processes: Processes) -> None:
    """Not where the child's own has come to the very place that the parent's had either."""
    broadcast, closed = made(), processes.flag()
    mine = broadcast.subscribe()

    def use() -> list[bytes]:
        closed.wait()
        own = broadcast.subscribe()
        with mine, pytest.raises(MisuseError, match="forked from: subscribe here"):
            mine.get_nowait()
        publish(broadcast, numbered(0, 8))
        with pytest.raises(WouldBlock):
            broadcast.publish_nowait(b"more")
        return [own.get_nowait() for _ in range(8)]

    child = processes.start(use)
    mine.close()
    closed.raise_()
    assert child.result() == numbered(0, 8)


def test_places_are_bounded(processes: Processes) -> None:
    broadcast, ready = made(), processes.flag()

    def stay() -> None:
        _mine = broadcast.subscribe()
        ready.raise_()
        processes.rest()

    dying = processes.start(stay)
    ready.wait()
    mine = [broadcast.subscribe() for _ in range(63)]
    with pytest.raises(MisuseError, match="64 subscriptions read it, and no more fit"):
        broadcast.subscribe()
    dying.kill()
    mine.append(broadcast.subscribe())
    with pytest.raises(MisuseError, match="close one"):
        broadcast.subscribe()
    mine.pop().close()
    broadcast.subscribe().close()


# ── beside others, and what it was made with ────────────────────────────────────────────────────────────────────────


def test_a_subscription_beside_others(world: World) -> None:
    broadcast, ready = made(), world.flag()

    def wait() -> bytes:
        with broadcast.subscribe() as mine:
            ready.raise_()
            assert wait_any(mine) == [mine]
            return mine.get_nowait()

    waiter = world.start(wait)
    ready.wait()
    broadcast.publish(b"one")
    assert waiter.result() == b"one"


def test_what_it_was_made_with(request: pytest.FixtureRequest) -> None:
    broadcast = Broadcast.create("news", 4096, when_full="wait")
    request.addfinalizer(broadcast.unlink)
    assert Broadcast.open("news").when_full == "wait"
    assert Broadcast(64).when_full == "overwrite"
    with pytest.raises(MismatchError, match="when_full='wait', and capacity=4096, when_full='overwrite' was asked"):
        Broadcast.open_or_create("news", 4096)
    with pytest.raises(ValueError, match="when_full='drop': pass 'overwrite' or 'wait'"):
        Broadcast(64, when_full="drop")  # type: ignore[arg-type]
