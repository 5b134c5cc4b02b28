"""Locks of readers and writers in the lab: who is inside together, who is told of deaths, and what is told of what is left."""

import pytest

import underpass
from underpass import MisuseError, OwnerDiedError

pytest.importorskip("greenlet")

from underpass import lab
from underpass.lab import World

SCHEDULES = 2_000

any_preference = pytest.mark.parametrize("prefer", ["writers", "readers", "arrival"])


@any_preference
def test_nobody_reads_while_somebody_writes(prefer: str) -> None:
    together: set[int] = set()

    def program(world: World) -> None:
        lock = underpass.RWLock(prefer=prefer)  # pyright: ignore[reportArgumentType]
        readers, writers = underpass.AtomicInt(), underpass.AtomicInt()

        def read() -> None:
            with lock.reading():
                together.add(readers.add(1))
                assert writers.load() == 0
                readers.sub(1)

        def write() -> None:
            with lock.writing():
                assert (writers.add(1), readers.load()) == (0, 0)
                writers.sub(1)

        for part in (read, read, write, write):
            world.process(part)

    lab.explore(program, schedules=SCHEDULES, seed=1)
    assert together == {0, 1}


@any_preference
def test_a_death_is_told_to_whoever_comes_next(prefer: str) -> None:
    outcomes: set[str] = set()

    def program(world: World) -> None:
        lock = underpass.RWLock(prefer=prefer)  # pyright: ignore[reportArgumentType]

        def read() -> None:
            try:
                with lock.reading():
                    outcomes.add("read")
            except OwnerDiedError:
                outcomes.add("barred")

        def write() -> None:
            with lock.writing() as died:
                outcomes.add("repaired" if died else "written")

        world.process(write)
        world.process(read)
        world.process(read, mortal=False)
        world.process(write, mortal=False)

    lab.explore(program, schedules=SCHEDULES, kills=1, seed=1)
    assert outcomes == {"read", "barred", "written", "repaired"}


@any_preference
def test_one_of_two_upgraders_is_refused_or_reads_what_the_other_wrote(prefer: str) -> None:
    outcomes: set[tuple[str, ...]] = set()

    def program(world: World) -> None:
        lock, written = underpass.RWLock(prefer=prefer), underpass.AtomicInt()  # pyright: ignore[reportArgumentType]
        ends = list[str]()

        def upgrade() -> None:
            try:
                with lock.reading():
                    before = written.load()
                    lock.upgrade()
                    assert written.add(1) == before
                    lock.downgrade()
                    assert written.load() == before + 1
                ends.append("upgraded")
            except MisuseError:
                ends.append("refused")

        world.process(upgrade)
        world.process(upgrade)
        world.at_end(lambda: outcomes.add(tuple(sorted(ends))) or "upgraded" in ends)

    lab.explore(program, schedules=SCHEDULES, seed=1)
    assert outcomes == {("upgraded", "upgraded"), ("refused", "upgraded")}


@pytest.mark.parametrize(
    ("verb", "told"), [("reading", "itself a reader of rwlock 'table', entered"), ("writing", "rwlock 'table' locked")]
)
def test_a_block_that_is_never_left_is_a_leak(verb: str, told: str) -> None:
    def program(world: World) -> None:
        lock = underpass.RWLock.create("table")
        world.process(lambda: getattr(lock, verb)().__enter__() and None, name="visit")

    with pytest.raises(lab.Failure) as caught:
        lab.explore(program, seed=1)
    assert caught.value.trace.kind == "leak"
    assert told in caught.value.trace.summary


def test_readers_that_wait_for_each_other_are_a_deadlock() -> None:
    def program(world: World) -> None:
        first, second = underpass.RWLock.create("first"), underpass.RWLock.create("second")

        def visit(one: underpass.RWLock, other: underpass.RWLock) -> None:
            with one.reading(), other.writing():
                pass

        world.process(visit, first, second)
        world.process(visit, second, first)

    with pytest.raises(lab.Failure) as caught:
        lab.explore(program, seed=1)
    assert caught.value.trace.kind == "deadlock"
