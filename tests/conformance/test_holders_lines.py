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

from tests.conformance.backends import SOON, Actor, Processes, Threads
from underpass import Mutex, OwnerDiedError, RWLock, Space, TimedOut
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
    first, second, none, written, read, entered = done.stdout.splitlines()
    assert (first, second, none) == ("<string>:4", "<string>:4", "None")
    assert "(<string>:12) for " in written
    assert "<string>" not in read
    assert entered == "<string>:17"


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
            image[:4] = (dice.randrange(0, 1 << 32, 2)).to_bytes(4, "little")
            if thread is not None:
                image[4:8] = thread
            stream.seek(SITE)
            stream.write(image)
            assert all(ord(letter) >= ord(" ") for letter in repr(mutex))
            assert mutex.statistics().state == "held"
            thread = words_of_owner(file)
    mutex.unlink()


def words_of_owner(file: Path) -> bytes:
    """The owner in the word of a mutex that nobody sleeps for."""
    return file.read_bytes()[SITE + SITE_SIZE :][:4]
