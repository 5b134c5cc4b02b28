"""Where a lock was taken: told once somebody waits behind whoever takes it, and always with UNDERPASS_DEBUG=1."""

import inspect
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import pytest

import underpass
from tests.conformance.backends import SOON, Actor, Processes, Threads
from underpass import Mutex, OwnerDiedError, RWLock, Semaphore, Space, TimedOut
from underpass.sync import SpinLock

World = Threads | Processes

# Where the header of an object says it.
SITE, SITE_SIZE = 256, 128


def next_line() -> str:
    """How the line after the caller's is told."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return f"{Path(__file__).name}:{frame.f_back.f_lineno + 1}"


class Line:
    """Two that sleep for a lock which this thread holds: once it is given back, one has it, with the other behind."""

    def __init__(self, world: World, hold: Callable[[], AbstractContextManager[object]]) -> None:
        self._hold, self._here, self._go = hold, world.flag(), world.flag()
        with hold():
            self.actors: list[Actor[str]] = []
            for _ in range(2):
                self.actors.append(world.start(self._come))
                self.actors[-1].until_asleep()
        self._here.wait()

    def _come(self) -> str:
        line = next_line()
        with self._hold():
            self._here.raise_()
            self._go.wait()
        return line

    def end(self) -> str:
        """Let all go; the line on which each had come."""
        self._go.raise_(2)
        (line,) = {actor.result() for actor in self.actors}
        return line


def timed_out(acquire: Callable[[], object]) -> str:
    with pytest.raises(TimedOut) as caught:
        acquire()
    return str(caught.value)


@pytest.mark.parametrize("fairness", ["barging", "arrival", "priority"])
def test_who_took_a_mutex_with_others_behind_is_named_with_the_line(
    world: World, fairness: Literal["barging", "arrival", "priority"]
) -> None:
    mutex = Mutex.create("jobs.lock", fairness=fairness)
    line = Line(world, mutex.holding)
    text = timed_out(lambda: mutex.acquire(timeout=SOON))
    shown, statistics, (waiter,) = repr(mutex), mutex.statistics(), Space.default().waits()
    told = line.end()
    assert re.search(rf"held by .*\({re.escape(told)}\) for [\d.]+ s$", text), text
    assert f"({told}) for " in shown
    assert (statistics.line, statistics.state) == (told, "held")
    assert statistics.owner is not None
    assert statistics.held_for is not None
    assert statistics.held_for >= SOON
    assert [holder.line for holder in waiter.holders] == [told]
    free = mutex.statistics()
    assert (free.owner, free.held_for, free.line) == (None, None, None)
    mutex.unlink()


def test_the_record_of_a_long_wait_says_of_the_holder_what_the_error_says(
    threads: Threads, caplog: pytest.LogCaptureFixture
) -> None:
    mutex = Mutex()
    line = Line(threads, mutex.holding)
    before = underpass.warn_waiting(SOON / 4)
    # Who is let run too late finds that its time is over, and says nothing of it.
    for patience in (SOON, 1, 20):
        text = timed_out(lambda patience=patience: mutex.acquire(timeout=patience))
        if caplog.records:
            break
    underpass.warn_waiting(before)
    told = re.search(rf"held by thread \d+ of this process \({re.escape(line.end())}\) for ", text)
    assert told, text
    assert all(told[0] in record.getMessage() for record in caplog.records)
    assert caplog.records


def test_a_spin_lock_and_a_writer_are_named_with_the_line(world: World) -> None:
    spin, table = SpinLock(), RWLock()
    line = Line(world, lambda: spin)
    text = timed_out(lambda: spin.acquire(timeout=SOON))
    assert f"({line.end()}) for " in text
    line = Line(world, table.writing)
    text = timed_out(lambda: table.reading(timeout=SOON).__enter__())
    assert f"({line.end()}) for " in text


def test_a_tenure_that_nobody_waited_for_is_not_told_the_line_of_the_one_before(threads: Threads) -> None:
    mutex, taken, go = Mutex(), threads.flag(), threads.flag()

    def hold_twice() -> None:
        mutex.acquire()  # with one behind it, or not; then in any case nobody waits
        mutex.release()
        ahead.wait()
        mutex.acquire()
        taken.raise_()
        go.wait()
        mutex.release()

    ahead = threads.flag()
    mutex.acquire()
    actor = threads.start(hold_twice)
    actor.until_asleep()
    mutex.release()
    ahead.raise_()
    taken.wait()
    assert mutex.statistics().line is None
    assert "test_holders_lines.py" not in timed_out(lambda: mutex.acquire(timeout=SOON))
    go.raise_()
    actor.result()


def test_a_reader_that_came_behind_others_is_named_with_the_line(world: World) -> None:
    table = RWLock(prefer="readers")
    here, go = world.flag(), world.flag()

    def come() -> str:
        line = next_line()
        with table.reading():
            here.raise_()
            go.wait()
        return line

    def write() -> None:
        with table.writing():
            pass

    with table.writing():
        reader = world.start(come)
        reader.until_asleep()
        writer = world.start(write)
        writer.until_asleep()
    here.wait()
    text, shown, statistics = (
        timed_out(lambda: table.writing(timeout=SOON).__enter__()),
        repr(table),
        table.statistics(),
    )
    go.raise_()
    told = reader.result()
    assert re.search(rf"read by .*\({re.escape(told)}\) for [\d.]+ s, and .* waits to write$", text), text
    assert f"({told}) for " in shown
    (holder,) = statistics.holders
    assert holder.line == told
    assert holder.held_for is not None
    writer.result()


def test_of_a_reader_that_came_before_anybody_waited_a_least_time_is_told_and_not_of_the_next(world: World) -> None:
    table = RWLock()
    here, go, over = world.flag(), world.flag(), world.flag()

    def read_twice() -> None:
        with table.reading():
            here.raise_()
            go.wait()
        with table.reading():
            here.raise_()
            over.wait()

    reader = world.start(read_twice)
    here.wait()
    unknown = table.statistics().holders
    text = timed_out(lambda: table.writing(timeout=SOON).__enter__())
    known = table.statistics().holders
    go.raise_()
    here.wait()
    shown, (after,) = repr(table), table.statistics().holders
    over.raise_()
    reader.result()
    assert [(holder.held_for, holder.line) for holder in unknown] == [(None, None)]
    assert re.search(r"read by .* for at least [\d.]+ s$", text), text
    assert [(holder.held_for is not None, holder.line) for holder in known] == [(True, None)]
    assert (after.held_for, after.line) == (None, None)
    assert " for " not in shown


def test_of_many_readers_the_first_three_are_named(threads: Threads) -> None:
    table, here, go = RWLock(), threads.flag(), threads.flag()

    def read() -> None:
        with table.reading():
            here.raise_()
            go.wait()

    readers = [threads.start(read) for _ in range(5)]
    for _ in readers:
        here.wait()
    text = timed_out(lambda: table.writing(timeout=SOON).__enter__())
    go.raise_(len(readers))
    assert text.count("of this process for at least") == 3
    assert text.endswith(" and 2 more")
    for reader in readers:
        reader.result()


def test_a_reader_that_was_killed_is_told_no_more(processes: Processes) -> None:
    table, here = RWLock(), processes.flag()

    def read() -> None:
        with table.reading():
            here.raise_()
            processes.flag().wait()

    reader = processes.start(read)
    here.wait()
    timed_out(lambda: table.writing(timeout=SOON).__enter__())
    reader.kill()
    assert (table.statistics().holders, table.statistics().state) == ([], "free")
    with table.writing(timeout=0):
        pass
    with table.reading():
        (mine,) = table.statistics().holders
        assert (mine.pid, mine.held_for, mine.line) == (os.getpid(), None, None)
    reader.abandon()


def test_who_holds_units_of_a_leased_semaphore_is_named_with_the_line_and_the_time(processes: Processes) -> None:
    units, here, go = Semaphore.create("seats", 1, leased=True), processes.flag(), processes.flag()

    def come() -> str:
        line = next_line()
        units.acquire()
        here.raise_()
        go.wait()
        units.release()
        return line

    units.acquire()
    unknown = units.statistics().holders
    actors = [processes.start(come) for _ in range(2)]
    for actor in actors:
        actor.until_asleep()
    known = units.statistics().holders
    units.release()
    here.wait()
    text, shown = timed_out(lambda: units.acquire(timeout=SOON)), repr(units)
    ((peer, count),) = units.statistics().holders
    lines = {holder.line for waiter in Space.default().waits() for holder in waiter.holders}
    go.raise_(2)
    (told,) = {actor.result() for actor in actors}
    ((mine, _),) = unknown
    assert (mine.pid, mine.held_for, mine.line) == (os.getpid(), None, None)
    ((mine, _),) = known
    assert (mine.held_for is not None, mine.line) == (True, None)
    assert (peer.pid in {actor.pid for actor in actors}, peer.line, count) == (True, told, 1)
    assert lines == {told}
    who = rf"held by pid {peer.pid} \({re.escape(told)}\) for [\d.]+ s"
    assert re.search(rf"its value is 0, {who}$", text), text
    assert re.search(who, shown), shown
    units.unlink()


def test_a_holder_of_units_that_was_killed_is_told_no_more(processes: Processes) -> None:
    units, here = Semaphore(1, leased=True), processes.flag()

    def hold() -> None:
        units.acquire()
        here.raise_()
        processes.flag().wait()

    holder = processes.start(hold)
    here.wait()
    text = timed_out(lambda: units.acquire(timeout=SOON))
    assert f"held by pid {holder.pid} for at least " in text
    holder.kill()
    assert units.statistics().holders == []
    units.acquire(timeout=0)
    ((mine, _),) = units.statistics().holders
    assert (mine.pid, mine.held_for, mine.line) == (os.getpid(), None, None)
    units.release()
    holder.abandon()


def test_statistics_of_a_spin_lock_name_its_owner() -> None:
    spin = SpinLock()
    free = spin.statistics()
    with spin:
        held = spin.statistics()
    assert (free.owner, free.held_for, free.line) == (None, None, None)
    assert held.owner is not None
    assert (held.owner.pid, held.held_for, held.line) == (os.getpid(), None, None)


def test_a_line_that_died_with_its_owner_is_told_of_the_dead(processes: Processes) -> None:
    mutex, taken = Mutex(), processes.flag()
    line = ""

    def come() -> None:
        mutex.acquire()
        taken.raise_()
        processes.flag().wait()

    mutex.acquire()
    owners = [processes.start(come) for _ in range(2)]
    for owner in owners:
        owner.until_asleep()
    mutex.release()
    taken.wait()
    line = mutex.statistics().line
    assert line is not None
    (dead,) = (owner for owner in owners if mutex.owner is not None and owner.pid == mutex.owner.pid)
    dead.kill()
    with pytest.raises(OwnerDiedError):
        mutex.acquire()
    assert f"left by pid {dead.pid} ({line})" in repr(mutex)
    for owner in owners:
        owner.abandon()


PROGRAM = """
import underpass
mutex = underpass.Mutex(recursive=True)
mutex.acquire()
mutex.acquire()
print(mutex.statistics().line)
mutex.release()
print(mutex.statistics().line)
mutex.release()
print(mutex.statistics().line)
table = underpass.RWLock()
with table.writing():
    print(repr(table))
    table.downgrade()
    print(repr(table))
with table.reading():
    with table.reading():
        print(repr(table))
condition = underpass.Condition(mutex)
with condition:
    print(mutex.statistics().line)
"""


def test_with_debug_the_first_level_of_every_tenure_is_told() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | {"UNDERPASS_DEBUG": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    first, second, none, written, downgraded, read, entered = done.stdout.splitlines()
    assert (first, second, none) == ("<string>:4", "<string>:4", "None")
    assert "(<string>:12) for " in written
    assert "(<string>:14) for " in downgraded
    assert "(<string>:16) for " in read
    assert entered == "<string>:20"


AWAITING = """
import asyncio
import underpass
async def main():
    mutex, table = underpass.Mutex(), underpass.RWLock()
    async with mutex.aio.recovering():
        print(mutex.statistics().line)
    async with mutex.aio.holding():
        print(mutex.statistics().line)
    async with table.aio.writing():
        print(table)
asyncio.run(main())
"""


def test_a_block_of_a_task_is_told_where_the_program_enters_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", AWAITING],
        env=os.environ | {"UNDERPASS_DEBUG": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    recovering, holding, written = done.stdout.splitlines()
    assert (recovering, holding) == ("<string>:6", "<string>:8")
    assert "(<string>:10) for " in written


def test_without_debug_nothing_is_written_down_while_nobody_waits() -> None:
    mutex, table = Mutex(), RWLock()
    with mutex, table.writing():
        assert mutex.statistics().line is None
        assert "test_holders_lines.py" not in repr(table)


def test_whatever_stands_there_is_told_as_text(private_space: Path) -> None:
    dice = random.Random(7)
    mutex = Mutex.create("jobs.lock")
    (file,) = (path for path in private_space.iterdir() if not path.name.startswith("."))
    with mutex, file.open("r+b", buffering=0) as stream:
        thread = None
        for _ in range(2_000):
            image = bytearray(dice.randbytes(SITE_SIZE))
            image[15] |= 0x80  # in the time: its holder has written it down
            if thread is not None:
                image[:4] = thread
            stream.seek(SITE)
            stream.write(image)
            assert all(ord(letter) >= ord(" ") for letter in repr(mutex))
            assert mutex.statistics().state == "held"
            thread = words_of_owner(file)
    mutex.unlink()


def words_of_owner(file: Path) -> bytes:
    """The owner in the word of a mutex that nobody sleeps for."""
    return file.read_bytes()[SITE + SITE_SIZE :][:4]
