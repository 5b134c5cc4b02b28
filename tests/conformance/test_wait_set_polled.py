"""WaitSet as loops poll it: readable until a look finds nothing, by one descriptor or by two."""

import select
import signal
from collections.abc import Iterator, Sequence

import pytest

from tests.conformance.backends import PATIENCE, Processes, Threads
from underpass import Queue, Semaphore, WaitSet, _core

World = Threads | Processes


@pytest.fixture
def members() -> Iterator[WaitSet]:
    """Make a set, and close it."""
    with WaitSet() as members:
        yield members


def is_readable(descriptor: int, seconds: float = 0) -> bool:
    """Say what other loops would be told."""
    return bool(select.select([descriptor], [], [], seconds)[0])


def lease(queue: Queue, taken: Semaphore) -> None:
    """Lease what is there until the end of the process."""
    job = queue.take()
    taken.release()
    signal.pause()
    del job


def look_until_quiet(members: WaitSet, descriptors: Sequence[int], ready: list[object]) -> None:
    """Look as often as a descriptor says so: each look finds the same."""
    while any(is_readable(descriptor) for descriptor in descriptors):
        assert members.ready() == ready


@pytest.mark.parametrize("parted", [False, True], ids=["one descriptor", "two"])
def test_a_descriptor_is_readable_until_a_look_finds_nothing(world: World, *, parted: bool) -> None:
    units, go = Semaphore(0), world.flag()
    with WaitSet() as members:
        descriptors = members.filenos() if parted else (members.fileno(),)

        def is_told() -> bool:
            return any(is_readable(descriptor) for descriptor in descriptors)

        members.add(units)
        assert members.ready() == []

        def partner() -> None:
            go.wait()
            units.release(2)

        actor = world.start(partner)
        # Processes that come are told of as well.
        look_until_quiet(members, descriptors, [])
        go.raise_()
        actor.result()
        for _ in range(5):
            assert is_told()
            assert members.ready() == [units]
        units.acquire()
        units.acquire()
        assert members.ready() == []
        look_until_quiet(members, descriptors, [])
        units.release()
        assert is_told(), "a ring by this process itself"
        for _ in range(5):
            assert members.ready() == [units]
            assert is_told()
        units.acquire()
        look_until_quiet(members, descriptors, [])


def test_who_waits_in_a_set_of_two_descriptors_is_told_as_well(threads: Threads, members: WaitSet) -> None:
    units = Semaphore(0)
    own, others = members.filenos()
    members.add(units)
    waiter = threads.start(members.wait)
    waiter.until_asleep()
    units.release()
    assert waiter.result() == [units]
    # And so is who polls.
    assert is_readable(own) or is_readable(others)
    assert members.ready() == [units]


def test_an_end_is_heard_by_who_finds_something_at_each_look(processes: Processes, members: WaitSet) -> None:
    units, queue, taken = Semaphore(0), Queue(), Semaphore(0)
    queue.put(b"a")
    members.filenos()
    owner = processes.start(lease, queue, taken)
    taken.acquire()
    members.add(units)
    members.add(queue)
    owner.kill()
    for _ in range(8):
        # The bell is rung again before each look.
        units.release()
        ready = members.ready()
        assert units in ready
        if queue in ready:
            return
    pytest.fail("its end was not heard")


@pytest.mark.parametrize("parted", [False, True], ids=["one descriptor", "two"])
def test_who_polls_has_to_look_at_all_from_time_to_time(*, parted: bool) -> None:
    _core.set_recheck(0.01)
    try:
        with WaitSet() as members:
            last = members.filenos()[1] if parted else members.fileno()
            units = Semaphore(0)
            members.add(units)
            for _ in range(3):
                assert members.ready() == []
                assert is_readable(last, PATIENCE)
            assert members.ready() == []
            members.remove(units)
            # It tells once or twice more at most, of what was a member.
            assert members.ready() == []
            looks = 0
            while is_readable(last, 0.05):
                assert members.ready() == []
                looks += 1
                assert looks <= 2
    finally:
        _core.set_recheck(None)
