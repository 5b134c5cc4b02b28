"""Broadcast: what a death changes, and for whom."""

import os
import random

import pytest

from tests.conformance.backends import Flag, Processes
from underpass import Broadcast, MisuseError, PeerDiedError, WouldBlock


def publish(broadcast: Broadcast, messages: list[bytes], done: Flag, never: Flag) -> None:
    """Publish these and wait to be killed."""
    for message in messages:
        broadcast.publish(message)
    done.raise_()
    never.wait()


def test_another_is_refused_until_the_writer_has_died(processes: Processes) -> None:
    broadcast, done, never = Broadcast(4096), processes.flag(), processes.flag()
    writer = processes.start(publish, broadcast, [b"one"], done, never)
    done.wait()
    assert broadcast.statistics().writer == writer.pid
    for attempt in (lambda: broadcast.publish(b"two"), broadcast.shutdown):
        with pytest.raises(MisuseError, match=f"pid {writer.pid} publishes here"):
            attempt()
    mine = broadcast.subscribe(start="oldest")
    writer.kill()
    assert broadcast.statistics().writer is None
    broadcast.publish(b"two")
    assert broadcast.statistics().writer == os.getpid()
    assert [mine.get_nowait(), mine.get_nowait()] == [b"one", b"two"]


def test_a_death_is_told_once_after_what_is_there(processes: Processes) -> None:
    broadcast, done, never = Broadcast(4096), processes.flag(), processes.flag()
    mine = broadcast.subscribe()
    writer = processes.start(publish, broadcast, [b"one"], done, never)
    done.wait()
    writer.kill()
    assert mine.get() == b"one"
    with pytest.raises(PeerDiedError, match=f"its writer, pid {writer.pid}, has died") as raised:
        mine.get()
    assert raised.value.pid == writer.pid
    with pytest.raises(WouldBlock):
        mine.get_nowait()


def test_a_death_wakes_who_sleeps_and_a_successor_is_heard(processes: Processes) -> None:
    broadcast, done, never, told = (Broadcast(4096), processes.flag(), processes.flag(), processes.flag())

    def read() -> tuple[bytes, int, bytes]:
        with broadcast.subscribe() as mine:
            told.raise_()
            first = mine.get()
            with pytest.raises(PeerDiedError) as raised:
                mine.get()
            told.raise_()
            return first, raised.value.pid, mine.get()

    readers = [processes.start(read) for _ in range(3)]
    for _ in readers:
        told.wait()
    writer = processes.start(publish, broadcast, [b"one"], done, never)
    done.wait()
    for reader in readers:
        reader.until_asleep()
    writer.kill()
    for _ in readers:
        told.wait()
    broadcast.publish(b"two")
    assert [reader.result() for reader in readers] == [(b"one", writer.pid, b"two")] * 3


def test_dead_readers_leave_nothing(processes: Processes) -> None:
    broadcast = Broadcast(4096)
    readers = [processes.start(lambda: broadcast.subscribe().get()) for _ in range(3)]
    for reader in readers:
        reader.until_asleep()
        reader.kill()
    broadcast.publish(b"one")
    assert broadcast.subscribe(start="oldest").get_nowait() == b"one"


def test_a_forked_childs_copy_goes_on_by_itself(processes: Processes) -> None:
    broadcast = Broadcast(4096)
    mine = broadcast.subscribe()
    for message in (b"one", b"two"):
        broadcast.publish(message)
    assert mine.get() == b"one"
    assert processes.start(mine.get).result() == b"two"
    assert mine.get() == b"two"


def whole(message: bytes) -> int:
    """The number of a patterned message; torn is told."""
    number = int.from_bytes(message[:4], "little")
    assert message == number.to_bytes(4, "little") * (len(message) // 4)
    assert len(message) == 4 * (1 + number % 200)
    return number


def test_no_message_is_torn_whenever_its_writer_dies(processes: Processes) -> None:
    broadcast, begun = Broadcast(2048), processes.flag()
    dice = random.Random(7)

    def scribble(first: int) -> None:
        number = first
        while True:
            broadcast.publish(number.to_bytes(4, "little") * (1 + number % 200))
            number += 1
            if number == first + 3:
                begun.raise_()

    mine = broadcast.subscribe()
    got = before = 0
    for turn in range(6):
        writer = processes.start(scribble, before + 1)
        begun.wait()
        for _ in range(dice.randrange(50, 400)):
            lost = mine.lost
            number = whole(mine.get())
            got += 1
            assert number == before + 1 + mine.lost - lost, turn
            before = number
        writer.kill()
        while True:
            lost = mine.lost
            try:
                number = whole(mine.get())
            except PeerDiedError:
                # A message that was begun and never published may have made room for itself by giving up all that was there.
                before += mine.lost - lost
                break
            assert number == before + 1 + mine.lost - lost
            got, before = got + 1, number
    assert got + mine.lost == before == broadcast.statistics().published
