"""RWLock: who is inside together, who comes next, upgrade and downgrade."""

import os
import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal

import pytest

from tests.conformance.backends import SOON, Actor, Processes, Threads, disturbed, until
from underpass import AtomicInt, ClosedError, MismatchError, MisuseError, RWLock, TimedOut, WouldBlock

World = Threads | Processes
Prefer = Literal["writers", "readers", "arrival"]
Block = Callable[[], AbstractContextManager[object]]

PREFERENCES: tuple[Prefer, ...] = ("writers", "readers", "arrival")
any_preference = pytest.mark.parametrize("prefer", PREFERENCES)
# As many as read at a time.
PLACES = 63


class Inside:
    """Somebody in a block, until it is told to leave."""

    def __init__(self, world: World, block: Block) -> None:
        self._inside, self.go = world.flag(), world.flag()
        self.actor = world.start(self._stay, block)
        self._inside.wait()

    def _stay(self, block: Block) -> None:
        with block():
            self._inside.raise_()
            self.go.wait()

    def leave(self) -> None:
        self.go.raise_()
        self.actor.result()


def pass_through(block: Block) -> bool:
    with block():
        return True


def asleep(world: World, block: Block) -> Actor[bool]:
    """Somebody who waits to enter a block, and leaves it at once."""
    actor = world.start(pass_through, block)
    actor.until_asleep()
    return actor


def is_refused(block: Callable[..., AbstractContextManager[object]]) -> bool:
    try:
        with block(timeout=0):
            return False
    except TimedOut:
        return True


@any_preference
def test_readers_are_inside_together_and_a_writer_alone(world: World, prefer: Prefer) -> None:
    lock = RWLock(prefer=prefer)
    readers = [Inside(world, lock.reading) for _ in range(2)]
    with lock.reading():
        assert lock.statistics().readers == 3
    assert is_refused(lock.writing)
    for reader in readers:
        reader.leave()
    writer = Inside(world, lock.writing)
    assert is_refused(lock.reading)
    assert is_refused(lock.writing)
    writer.leave()
    assert lock.statistics().state == "free"


@any_preference
def test_nothing_is_half_written_for_anybody(world: World, prefer: Prefer) -> None:
    lock, first, second = RWLock(prefer=prefer), AtomicInt(), AtomicInt()

    def write() -> None:
        for _ in range(30):
            with lock.writing():
                first.add(1)
                second.add(1)

    def read() -> None:
        for _ in range(30):
            with lock.reading():
                assert first.load() == second.load()

    actors = [world.start(part) for part in (write, read, write, read)]
    for actor in actors:
        actor.result()
    assert first.load() == second.load() == 60
    assert lock.statistics().state == "free"


@any_preference
def test_a_writer_waits_for_the_last_reader(world: World, prefer: Prefer) -> None:
    lock = RWLock(prefer=prefer)
    readers = [Inside(world, lock.reading) for _ in range(2)]
    writer = asleep(world, lock.writing)
    readers[0].leave()
    assert lock.statistics().readers == 1
    assert not writer.ended
    readers[1].leave()
    assert writer.result()


@any_preference
def test_readers_and_writers_wait_for_a_writer(world: World, prefer: Prefer) -> None:
    lock = RWLock(prefer=prefer)
    writer = Inside(world, lock.writing)
    others = [asleep(world, block) for block in (lock.reading, lock.writing, lock.reading)]
    assert lock.statistics().waiters == 3
    writer.leave()
    assert all(other.result() for other in others)
    assert repr(lock).endswith(", free>")


@pytest.mark.parametrize(("prefer", "turns"), [("writers", "wrr"), ("readers", "rrw"), ("arrival", "rwr")])
def test_who_comes_after_a_writer(world: World, prefer: Prefer, turns: str) -> None:
    lock, number = RWLock(prefer=prefer), AtomicInt()

    def enter(block: Block) -> int:
        with block():
            return number.add(1)

    writer = Inside(world, lock.writing)
    actors: list[Actor[int]] = []
    for block in (lock.reading, lock.writing, lock.reading):
        actors.append(world.start(enter, block))
        actors[-1].until_asleep()
    writer.leave()
    kinds = dict(zip((actor.result() for actor in actors), "rwr", strict=True))
    assert "".join(kinds[turn] for turn in range(3)) == turns
    if prefer == "arrival":
        assert [actor.result() for actor in actors] == [0, 1, 2]


@pytest.mark.parametrize(("prefer", "waits"), [("writers", True), ("readers", False), ("arrival", True)])
def test_a_reader_that_comes_while_a_writer_waits(world: World, prefer: Prefer, *, waits: bool) -> None:
    lock = RWLock(prefer=prefer)
    reader = Inside(world, lock.reading)
    writer = asleep(world, lock.writing)
    assert is_refused(lock.reading) is waits
    reader.leave()
    assert writer.result()


@pytest.mark.parametrize("prefer", ["writers", "arrival"])
def test_readers_go_on_once_the_writer_before_them_has_given_up(world: World, prefer: Prefer) -> None:
    lock = RWLock(prefer=prefer)
    reader = Inside(world, lock.reading)

    def give_up(timeout: float) -> None:
        with pytest.raises(TimedOut), lock.writing(timeout=timeout):
            pass

    def came_behind(patience: float) -> bool:
        writer = world.start(give_up, patience)
        until(lambda: writer.asleep or writer.ended)
        behind = world.start(pass_through, lock.reading)
        until(lambda: behind.asleep or behind.ended)
        slept = not behind.ended and not writer.ended
        writer.result()
        assert behind.result()
        return slept

    # A slow machine may take longer to bring the reader there than the writer waits.
    assert any(came_behind(patience) for patience in (0.2, 1, 5))
    reader.leave()


@any_preference
def test_who_reads_reads_again_whoever_waits(world: World, prefer: Prefer) -> None:
    lock = RWLock(prefer=prefer)
    with lock.reading():
        writer = asleep(world, lock.writing)
        with lock.reading(timeout=0), lock.reading():
            assert lock.statistics().readers == 1
        assert not writer.ended
    assert writer.result()


def test_a_thread_does_not_wait_for_itself() -> None:
    lock = RWLock.create("table")
    with lock.writing():
        with pytest.raises(MisuseError, match=r"this thread writes .*: downgrade\(\) makes a reader"), lock.reading():
            pass
        with pytest.raises(MisuseError, match="writes already"), lock.writing():
            pass
        with pytest.raises(MisuseError, match="writes already"):
            lock.upgrade()
    with lock.reading():
        with pytest.raises(MisuseError, match=r"this thread reads .*: upgrade\(\) makes a writer"), lock.writing():
            pass
        with pytest.raises(MisuseError, match="does not hold it so, it is read by"):
            lock.downgrade()
    with pytest.raises(MisuseError, match=r"rwlock 'table' not upgraded: .*, it is free: call it inside reading\(\)"):
        lock.upgrade()
    assert lock.statistics().state == "free"
    lock.unlink()


@any_preference
def test_upgrade_waits_for_the_other_readers(world: World, prefer: Prefer) -> None:
    lock = RWLock(prefer=prefer)
    reader = Inside(world, lock.reading)
    go = world.flag()

    def upgrade() -> bool:
        with lock.reading(), lock.reading():
            assert lock.upgrade() is True
            go.wait()
        return True

    upgrader = world.start(upgrade)
    upgrader.until_asleep()
    reader.leave()
    until(lambda: lock.statistics().state == "written", "the upgrade")
    assert is_refused(lock.reading)
    go.raise_()
    assert upgrader.result()
    assert lock.statistics().state == "free"


@pytest.mark.parametrize("prefer", ["writers", "arrival"])
def test_upgrade_goes_before_those_who_wait(world: World, prefer: Prefer) -> None:
    lock, written = RWLock(prefer=prefer), AtomicInt()
    reader = Inside(world, lock.reading)

    def write() -> int:
        with lock.writing():
            return written.add(1)

    def upgrade() -> int:
        with lock.reading():
            begun.raise_()
            go.wait()
            lock.upgrade()
            return written.add(1)

    begun, go = world.flag(), world.flag()
    upgrader = world.start(upgrade)
    begun.wait()
    writer = world.start(write)
    writer.until_asleep()
    go.raise_()
    until(lambda: lock.statistics().waiters == 2, "the upgrader's sleep")
    reader.leave()
    assert (upgrader.result(), writer.result()) == (0, 1)


def test_the_second_of_two_upgraders_is_refused_at_once(world: World) -> None:
    lock = RWLock()
    with lock.reading():
        inside = world.flag()

        def upgrade() -> bool:
            with lock.reading():
                inside.raise_()
                return lock.upgrade()

        first = world.start(upgrade)
        inside.wait()
        first.until_asleep()
        for upgrade_too in (lock.upgrade, lock.upgrade_nowait):
            with pytest.raises(MisuseError, match=rf"pid {first.pid} upgrades already and waits until this thread"):
                upgrade_too()
        assert not first.ended
    assert first.result() is True


def test_whoever_is_not_upgraded_reads_on(world: World) -> None:
    lock = RWLock()
    reader = Inside(world, lock.reading)
    with lock.reading():
        with pytest.raises(WouldBlock):
            lock.upgrade_nowait()
        for timeout in (0, SOON):
            with pytest.raises(TimedOut, match=f"not upgraded within {timeout}(.0)? s: read by "):
                lock.upgrade(timeout=timeout)
        assert lock.statistics().readers == 2
        # Nobody waits any more: others may read.
        assert world.start(pass_through, lock.reading).result()
    reader.leave()


@any_preference
def test_downgrade_lets_readers_in_and_no_writer(world: World, prefer: Prefer) -> None:
    lock = RWLock(prefer=prefer)
    with lock.writing():
        writer = asleep(world, lock.writing)
        lock.downgrade()
        assert lock.statistics().state == "read"
        assert not writer.ended
        with pytest.raises(MisuseError):
            lock.downgrade()
    assert writer.result()
    with lock.writing():
        reader = asleep(world, lock.reading)
        lock.downgrade()
        assert reader.result()
    assert lock.statistics().state == "free"


def test_up_and_down_again_in_one_block() -> None:
    lock = RWLock()
    with lock.reading():
        assert lock.upgrade(timeout=0)
        lock.downgrade()
        assert lock.upgrade_nowait()
        assert lock.statistics().state == "written"
    assert lock.statistics().state == "free"
    with lock.writing():
        lock.downgrade()
        lock.upgrade()
    assert lock.statistics().state == "free"


def test_more_readers_than_places_wait_for_one(threads: Threads) -> None:
    lock = RWLock()
    readers = [Inside(threads, lock.reading) for _ in range(PLACES)]
    late = asleep(threads, lock.reading)
    assert is_refused(lock.reading)
    readers.pop().leave()
    assert late.result()
    writer = asleep(threads, lock.writing)
    for reader in readers:
        reader.leave()
    assert writer.result()


def test_errors_name_the_holders(processes: Processes) -> None:
    lock = RWLock.create("table")
    writer = Inside(processes, lock.writing)
    told = f"rwlock 'table' not held for reading within 0 s: written by pid {writer.actor.pid}"
    with pytest.raises(TimedOut, match=told):
        lock.reading(timeout=0).__enter__()
    assert repr(lock) == f"<RWLock 'table', written by pid {writer.actor.pid}>"
    writer.leave()
    readers = [Inside(processes, lock.reading) for _ in range(2)]
    waiter = asleep(processes, lock.writing)
    with pytest.raises(TimedOut) as caught:
        lock.reading(timeout=SOON).__enter__()
    text = str(caught.value)
    assert all(f"pid {reader.actor.pid}" in text for reader in readers)
    assert text.endswith(f", and pid {waiter.pid} waits to write")
    holders = lock.statistics().holders
    assert {holder.pid for holder in holders} == {reader.actor.pid for reader in readers}
    assert all(holder.alive for holder in holders)
    for reader in readers:
        reader.leave()
    assert waiter.result()
    lock.unlink()


def test_statistics_and_repr() -> None:
    lock = RWLock.create("table", prefer="arrival")
    assert repr(lock) == "<RWLock 'table', free>"
    assert repr(lock.statistics()) == "RWLockStatistics(state='free', prefer='arrival', readers=0, waiters=0)"
    with lock.reading():
        assert repr(lock) == f"<RWLock 'table', read by thread {os.getpid()} of this process>"
    lock.close()
    assert repr(lock) == "<RWLock 'table', free, closed>"
    lock.unlink()


def test_preferences() -> None:
    with pytest.raises(ValueError, match="prefer='both' is none of"):
        RWLock(prefer="both")  # pyright: ignore[reportArgumentType]
    lock = RWLock.create("table", prefer="readers")
    assert RWLock.open("table").statistics().prefer == "readers"
    assert RWLock.open_or_create("table", prefer="readers").statistics().prefer == "readers"
    with pytest.raises(MismatchError, match="exists with prefer='readers', and prefer='writers' was asked for"):
        RWLock.open_or_create("table")
    lock.unlink()


def test_a_handle_travels() -> None:
    lock = RWLock.create("table")
    other: RWLock = pickle.loads(pickle.dumps(lock))  # noqa: S301 - our own bytes
    # A second handle is no second holder: the thread would wait for itself.
    with lock.writing(), pytest.raises(MisuseError), other.writing():
        pass
    with other.reading():
        assert lock.statistics().readers == 1
    lock.unlink()


def test_a_block_ends_though_its_handle_was_closed() -> None:
    lock = RWLock.create("table")
    other = RWLock.open("table")
    for block in (lock.reading, lock.writing):
        entered = block()
        entered.__enter__()
        if block == lock.writing:
            lock.close()
        entered.__exit__(None, None, None)
    with pytest.raises(ClosedError):
        lock.reading().__enter__()
    with other.writing(timeout=0):
        pass
    other.unlink()


def test_a_child_holds_nothing_of_its_parents(processes: Processes) -> None:
    lock = RWLock()
    with lock.reading():

        def use() -> bool:
            with pytest.raises(MisuseError):
                lock.upgrade()
            return is_refused(lock.writing)

        assert processes.start(use).result()
        assert lock.statistics().readers == 1


@pytest.mark.parametrize("verb", ["reading", "writing"])
def test_signals_do_not_end_a_wait(threads: Threads, verb: str) -> None:
    lock = RWLock()
    writer = Inside(threads, lock.writing)
    assert disturbed(threads, lambda: pass_through(getattr(lock, verb)), writer.go.raise_)
    writer.actor.result()
