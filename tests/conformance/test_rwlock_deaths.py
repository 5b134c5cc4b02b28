"""RWLock: readers and writers that die, inside and while they wait. No wake comes late: the re-check is off."""

import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

import pytest

from tests.conformance.backends import Actor, Processes, Threads, until
from tests.conformance.test_rwlock import Inside, Prefer, any_preference, asleep, is_refused, pass_through
from underpass import MisuseError, OwnerDiedError, RWLock, TimedOut

World = Threads | Processes


class Mortal:
    """Somebody who holds the lock until it is told to end, and ends with it."""

    def __init__(self, world: World, block: Callable[[], AbstractContextManager[object]]) -> None:
        self._inside, self._go = world.flag(), world.flag()
        self.actor = world.start(self._hold, block)
        self._inside.wait()

    def _hold(self, block: Callable[[], AbstractContextManager[object]]) -> None:
        block().__enter__()
        self._inside.raise_()
        self._go.wait()

    def die(self) -> None:
        self._go.raise_()
        self.actor.result()


def left_behind(world: World, lock: RWLock) -> Actor[None]:
    """A writer that has ended while it wrote."""
    writer = Mortal(world, lock.writing)
    writer.die()
    until(lambda: lock.statistics().state == "writer died", "the death of the writer")
    return writer.actor


def read_and_tell(lock: RWLock) -> int | None:
    """Who has died, according to a reader."""
    try:
        with lock.reading():
            return None
    except OwnerDiedError as error:
        return error.pid


def write_and_tell(lock: RWLock) -> int | None:
    """Who has died, according to a writer that repairs."""
    with lock.writing() as died:
        return None if died is None else died.pid


@any_preference
def test_a_reader_that_dies_reads_no_more(world: World, prefer: Prefer) -> None:
    lock = RWLock(prefer=prefer)
    readers = [Mortal(world, lock.reading) for _ in range(2)]
    writer = asleep(world, lock.writing)
    readers[0].die()
    assert not writer.ended
    readers[1].die()
    assert writer.result()
    assert lock.statistics().state == "free"


def test_a_dead_reader_is_nobodys_obstacle_though_nobody_waited(world: World) -> None:
    lock = RWLock()
    reader = Mortal(world, lock.reading)
    reader.die()
    until(lambda: not lock.statistics().holders, "its end")
    with lock.writing(timeout=0) as died:
        assert died is None


def test_a_writer_that_waits_is_told_of_a_reader_that_came_later(world: World) -> None:
    lock = RWLock(prefer="readers")
    first = Inside(world, lock.reading)
    writer = asleep(world, lock.writing)
    second = Mortal(world, lock.reading)
    first.leave()
    assert not writer.ended
    second.die()
    assert writer.result()


def test_a_writer_that_waits_is_told_of_readers_that_were_let_in_before_it(world: World) -> None:
    lock = RWLock(prefer="readers")
    writer = Inside(world, lock.writing)
    inside, go = world.flag(), world.flag()

    def read_and_end() -> None:
        lock.reading().__enter__()
        inside.raise_()
        go.wait()

    readers = [world.start(read_and_end) for _ in range(2)]
    for reader in readers:
        reader.until_asleep()
    waiting = asleep(world, lock.writing)
    writer.leave()
    inside.wait()
    inside.wait()
    go.raise_(2)
    assert waiting.result()


@any_preference
def test_a_reader_that_upgraded_dies_as_a_writer(world: World, prefer: Prefer) -> None:
    lock = RWLock(prefer=prefer)

    def upgrade_and_end() -> None:
        lock.reading().__enter__()
        lock.upgrade()

    dead = world.start(upgrade_and_end)
    dead.result()
    until(lambda: lock.statistics().state == "writer died", "its death")
    assert write_and_tell(lock) == dead.pid
    assert lock.statistics().state == "free"


def test_a_writer_that_was_downgraded_dies_as_a_reader(world: World) -> None:
    lock = RWLock()

    def downgrade_and_end() -> None:
        lock.writing().__enter__()
        lock.downgrade()

    world.start(downgrade_and_end).result()
    until(lambda: lock.statistics().state == "free", "its death")
    assert write_and_tell(lock) is None


@any_preference
def test_after_a_dead_writer_nobody_reads_until_it_is_repaired(world: World, prefer: Prefer) -> None:
    lock = RWLock.create("table", prefer=prefer)
    dead = left_behind(world, lock)
    for _ in range(2):
        with pytest.raises(OwnerDiedError, match=r"not held for reading: its owner, .*: enter it with writing\(\)"):
            lock.reading().__enter__()
    with lock.writing(timeout=0) as died:
        assert died is not None
        assert died.pid == dead.pid
        assert died.name == "table"
        with pytest.raises(MisuseError, match="leave the block first"):
            lock.downgrade()
    assert read_and_tell(lock) is None
    assert write_and_tell(lock) is None
    lock.unlink()


def test_an_exception_leaves_it_as_it_was_found(world: World) -> None:
    lock = RWLock()
    dead = left_behind(world, lock)
    for _ in range(2):
        with suppress(ZeroDivisionError), lock.writing() as died:
            assert died is not None
            assert died.pid == dead.pid
            raise ZeroDivisionError
        assert lock.statistics().state == "writer died"
        assert read_and_tell(lock) == dead.pid
    assert write_and_tell(lock) == dead.pid
    with suppress(ZeroDivisionError), lock.writing() as died:
        assert died is None
        raise ZeroDivisionError
    assert lock.statistics().state == "free"


def test_who_dies_while_it_repairs_is_the_one_that_died(world: World) -> None:
    lock = RWLock()
    first = left_behind(world, lock)
    second = left_behind(world, lock)
    assert read_and_tell(lock) == second.pid
    assert first.tid != second.tid
    assert write_and_tell(lock) == second.pid


@any_preference
def test_all_who_wait_are_told_when_a_writer_dies(world: World, prefer: Prefer) -> None:
    lock = RWLock(prefer=prefer)
    writer = Mortal(world, lock.writing)
    readers = [world.start(read_and_tell, lock) for _ in range(2)]
    other = world.start(write_and_tell, lock)
    for actor in (*readers, other):
        actor.until_asleep()
    writer.die()
    # Readers are told at once, or come after the repair.
    assert other.result() == writer.actor.pid
    assert {reader.result() for reader in readers} <= {writer.actor.pid, None}
    assert lock.statistics().state == "free"


def test_readers_are_told_though_nobody_repairs(world: World) -> None:
    lock = RWLock()
    writer = Mortal(world, lock.writing)
    readers = [world.start(read_and_tell, lock) for _ in range(2)]
    for reader in readers:
        reader.until_asleep()
    writer.die()
    assert [reader.result() for reader in readers] == [writer.actor.pid] * 2


@pytest.mark.parametrize("prefer", ["writers", "arrival"])
def test_readers_go_on_when_the_writer_before_them_is_killed(mortals: Processes, prefer: Prefer) -> None:
    lock = RWLock(prefer=prefer)
    reader = Inside(mortals, lock.reading)
    writer = mortals.start(pass_through, lock.writing)
    writer.until_asleep()
    behind = asleep(mortals, lock.reading)
    writer.kill()
    assert behind.result()
    reader.leave()
    assert lock.statistics().state == "free"


@any_preference
def test_a_killed_waiter_is_passed_over(mortals: Processes, prefer: Prefer) -> None:
    lock = RWLock(prefer=prefer)
    writer = Inside(mortals, lock.writing)
    waiting = [mortals.start(pass_through, block) for block in (lock.writing, lock.reading)]
    for waiter in waiting:
        waiter.until_asleep()
    others = [asleep(mortals, block) for block in (lock.writing, lock.reading)]
    for waiter in waiting:
        waiter.kill()
    writer.leave()
    assert all(other.result() for other in others)
    assert lock.statistics().state == "free"


def test_nobody_is_there_after_a_killed_waiter(mortals: Processes) -> None:
    lock = RWLock()
    with lock.reading():
        writer = mortals.start(pass_through, lock.writing)
        writer.until_asleep()
        writer.kill()
        # Nobody was told: who comes finds it.
        assert mortals.start(pass_through, lock.reading).result()
    with lock.writing(timeout=0):
        pass


def test_a_killed_upgrader_is_no_obstacle(mortals: Processes) -> None:
    lock = RWLock()

    def upgrade() -> None:
        with lock.reading():
            lock.upgrade()

    with lock.reading():
        first = mortals.start(upgrade)
        first.until_asleep()
        behind = asleep(mortals, lock.writing)
        first.kill()
        with pytest.raises(TimedOut):
            assert mortals.start(pass_through, lambda: lock.writing(timeout=0)).result()
        assert lock.upgrade(timeout=0)
        assert not behind.ended
    assert behind.result()


def test_a_killed_reader_and_a_killed_writer(mortals: Processes) -> None:
    lock, never = RWLock(), mortals.flag()

    def stay(block: Callable[[], AbstractContextManager[object]]) -> None:
        with block():
            never.wait()

    reader = mortals.start(stay, lock.reading)
    until(lambda: lock.statistics().readers == 1, "the reader")
    waiting = asleep(mortals, lock.writing)
    reader.kill()
    assert waiting.result()
    writer = mortals.start(stay, lock.writing)
    until(lambda: lock.statistics().state == "written", "the writer")
    told = mortals.start(read_and_tell, lock)
    told.until_asleep()
    writer.kill()
    assert told.result() == writer.pid
    assert not is_refused(lock.writing)


def test_the_error_travels(world: World) -> None:
    lock = RWLock()
    dead = left_behind(world, lock)
    with pytest.raises(OwnerDiedError) as caught:
        lock.reading().__enter__()
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes
    assert (copy.pid, str(copy)) == (dead.pid, str(caught.value))
