"""RWLock: who waits for whom, as `Space.waits` tells it."""

from collections.abc import Callable

from tests.conformance.backends import Processes, Threads, in_vain, until
from tests.conformance.test_rwlock import Inside, asleep, pass_through
from underpass import Event, RWLock, Space
from underpass.waiting import Waiter

World = Threads | Processes


def waits() -> list[Waiter]:
    return Space.default().waits()


def told() -> dict[int, tuple[str, set[int]]]:
    """What each waiter does, and whom it waits for."""
    return {waiter.tid: (waiter.operation, {holder.tid or 0 for holder in waiter.holders}) for waiter in waits()}


def test_readers_and_writers_wait_for_those_inside(world: World) -> None:
    lock = RWLock()
    readers = [Inside(world, lock.reading) for _ in range(2)]
    inside = {reader.actor.tid for reader in readers}
    writer, behind = asleep(world, lock.writing), asleep(world, lock.reading)
    assert told() == {writer.tid: ("write", inside), behind.tid: ("read", inside)}
    assert all(waiter.kind == "RWLock" and waiter.cycle is None for waiter in waits())
    for reader in readers:
        reader.leave()
    assert writer.result()
    assert behind.result()


def test_all_wait_for_the_writer_and_know_for_how_long(world: World) -> None:
    lock = RWLock()
    writer = Inside(world, lock.writing)
    others = [asleep(world, block) for block in (lock.reading, lock.writing)]
    assert [holders for _, holders in told().values()] == [{writer.actor.tid}] * 2
    assert all(holder.held_for is not None for waiter in waits() for holder in waiter.holders)
    writer.leave()
    assert all(other.result() for other in others)


def test_who_upgrades_waits_for_the_other_readers(world: World) -> None:
    lock = RWLock()
    reader = Inside(world, lock.reading)

    def upgrade() -> bool:
        with lock.reading():
            return lock.upgrade()

    upgrader = world.start(upgrade)
    upgrader.until_asleep()
    assert told() == {upgrader.tid: ("upgrade", {reader.actor.tid})}
    reader.leave()
    assert upgrader.result()


def test_two_that_read_what_the_other_wants_to_write_are_a_cycle(world: World) -> None:
    one, two, seen = RWLock(), RWLock(), Event()
    inside, go = world.flag(), world.flag()

    def cross(mine: RWLock, wait: Callable[[], object]) -> None:
        with mine.reading():
            inside.raise_()
            go.wait()
            wait()

    actors = [
        world.start(cross, one, lambda: in_vain(lambda timeout: two.writing(timeout=timeout).__enter__(), seen)),
        world.start(cross, two, lambda: pass_through(one.writing)),
    ]
    inside.wait()
    inside.wait()
    go.raise_(2)
    until(lambda: [waiter.cycle for waiter in waits()] == [1, 1], "the cycle")
    seen.set()
    for actor in actors:
        actor.result()
