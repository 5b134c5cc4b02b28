"""Region: handed on to other processes, which outlive its maker; and sealed, so that one writes and the others read."""

import mmap
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from multiprocessing.context import ForkContext, SpawnContext
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.backends import Processes, apart, new_interpreter, until
from underpass import (
    ClosedError,
    MisuseError,
    NotFoundError,
    Region,
    Space,
)

PAGE = mmap.PAGESIZE
FORK, SPAWN = multiprocessing.get_context("fork"), multiprocessing.get_context("spawn")


def descriptors() -> set[str]:
    """Return the memfds that this process has open."""
    found: set[str] = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = str(link.readlink())
        except FileNotFoundError:
            continue
        if "underpass-region" in target:
            found.add(link.name)
    return found


# ── handed on ───────────────────────────────────────────────────────────────────────────────────────────────────────


def fill(region: Region, value: int) -> int:
    region.array(8, "uint8")[:] = value
    return sum(region[0:8])


def keep_a_view(region: Region) -> None:
    """End with a view alive in a global, and one in a cycle."""
    array = region.array(8, "uint8")
    array[:] = 3
    cycle: list[Any] = [array, memoryview(region)]
    cycle.append(cycle)
    globals()["kept"] = (array, region)


@pytest.mark.parametrize("context", [FORK, SPAWN], ids=["fork", "spawn"])
def test_through_fork_and_spawn(context: ForkContext | SpawnContext) -> None:
    region = Region(PAGE)
    process = context.Process(target=keep_a_view, args=(region,))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert region[0:8] == b"\3" * 8
    process.close()
    if context is SPAWN:
        region.unlink()  # it was pickled, so it would stay until this process ends
    region.close()
    assert not descriptors()


def test_a_view_across_a_fork(processes: Processes) -> None:
    region = Region(PAGE)
    view, closed = memoryview(region), processes.flag()

    def use() -> bytes:
        closed.wait()
        view[1] = 2
        region[2] = 3
        region.close()
        return bytes(view[0:4])

    actor = processes.start(use)
    region[0] = 1
    region.close()
    closed.raise_()
    assert actor.result() == b"\1\2\3\0"
    assert bytes(view[0:4]) == b"\1\2\3\0"


def test_views_at_the_end_of_the_interpreter() -> None:
    script = """
import os, sys, underpass
region = underpass.Region(4096)
named = underpass.Region.create("at-end", 4096)
named.unlink()
views = [memoryview(region), region.array(4, "uint8"), memoryview(named), named.array(4, "uint8")]
class Late:
    def __del__(self, views=views, region=region, write=os.write):
        views[1][0] = 1
        region.close()
        write(1, b"%d %d" % (views[0][0], views[2].nbytes))
sys.late = Late()
views.append(views)
region.close() if len(sys.argv) > 1 else None
"""
    assert new_interpreter(script) == "1 4096"
    assert new_interpreter(script, "close") == "1 4096"


def test_who_was_handed_it_keeps_it_after_its_maker_has_died(processes: Processes) -> None:
    reader, writer = os.pipe()
    opened = processes.flag()

    def make() -> None:
        region = Region(PAGE)
        region[0:4] = b"mine"
        os.write(writer, pickle.dumps(region))
        opened.wait()
        processes.die()

    maker = processes.start(make)
    pickled = os.read(reader, 4096)
    os.close(reader)
    os.close(writer)
    region: Region = pickle.loads(pickled)  # noqa: S301 - our own bytes
    opened.raise_()
    maker.die()
    assert region[0:4] == b"mine"
    with pytest.raises(NotFoundError, match=rf"creator, pid {maker.pid}, has died"):
        region.seal()
    with pytest.raises(NotFoundError, match=rf"creator, pid {maker.pid}, has died"):
        region.resize(2 * PAGE)
    with pytest.raises(NotFoundError, match=rf"creator, pid {maker.pid}, has died|creator, pid {maker.pid}, closed"):
        pickle.loads(pickled)  # noqa: S301 - our own bytes
    Space.default().sweep()
    assert list(Space.default()) == []


def test_who_comes_too_late_is_told_who_has_closed_it() -> None:
    region = Region(PAGE)
    pickled = pickle.dumps(region)
    region.close()  # it was handed on, so it waits for who comes
    again: Region = pickle.loads(pickled)  # noqa: S301 - our own bytes
    again[0] = 1
    again.unlink()
    with pytest.raises(NotFoundError, match=rf"pid {os.getpid()}, closed or unlinked it"):
        pickle.loads(pickled)  # noqa: S301 - our own bytes
    (number,) = descriptors()
    os.close(int(number))


@pytest.mark.parametrize("of_another", [False, True])
def test_unlinked_after_it_was_closed(*, of_another: bool) -> None:
    region = Region(PAGE)
    again: Region = pickle.loads(pickle.dumps(region))  # noqa: S301 - our own bytes
    region.close()
    assert len(descriptors()) == 1
    (again if of_another else region).unlink()
    del region
    assert not descriptors()
    again[0] = 1


def test_a_descriptor_that_the_program_closed() -> None:
    region = Region(PAGE)
    pickled = pickle.dumps(region)
    (number,) = map(int, descriptors())
    os.close(number)
    with pytest.raises(NotFoundError, match=r"closed its descriptor.*give the region a name"):
        pickle.loads(pickled)  # noqa: S301 - our own bytes
    other = os.open(os.devnull, os.O_RDONLY)
    if other != number:
        os.dup2(other, number)
        os.close(other)
    with pytest.raises(NotFoundError, match="closed its descriptor"):
        pickle.loads(pickled)  # noqa: S301 - our own bytes
    region.unlink()
    region.close()
    os.close(number)  # another file by now: the region has left it alone


# ── sealed ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_writes_and_the_others_read(processes: Processes) -> None:
    region = Region(PAGE)
    region[0] = 1
    region.seal()
    region.seal()
    assert (region.sealed, region.readonly, region.statistics().sealed) == (True, False, True)
    written, seen = processes.flag(), processes.flag()

    def read() -> tuple[int, int]:
        arrived: Region = pickle.loads(pickled)  # noqa: S301 - our own bytes
        assert arrived.sealed
        for handle in (region, arrived):
            assert handle.readonly
            assert memoryview(handle).readonly
            assert not handle.array(1, "uint8").flags.writeable
            with pytest.raises(TypeError, match="read-only"):
                handle[0] = 9
            with pytest.raises(MisuseError, match="another process is its writer"):
                handle.seal()
        first = arrived[0]
        seen.raise_()
        written.wait()
        return first, arrived[0]

    pickled = pickle.dumps(region)
    late: Region = pickle.loads(pickled)  # noqa: S301 - our own bytes
    assert late.readonly  # though this process is the writer
    reader = processes.start(read)
    seen.wait()
    region[0] = 2
    written.raise_()
    assert reader.result() == (1, 2)
    with pytest.raises(MisuseError, match="sealed"):
        region.resize(2 * PAGE)
    region.unlink()


def test_the_kernel_lets_nobody_map_it_to_write() -> None:
    region = Region(PAGE)
    (number,) = map(int, descriptors())
    mmap.mmap(number, PAGE).close()
    with pytest.raises(PermissionError):
        os.ftruncate(number, 0)
    region.seal()
    for change in (
        lambda: mmap.mmap(number, PAGE),
        lambda: os.pwrite(number, b"x", 0),
        lambda: os.ftruncate(number, 2 * PAGE),
        lambda: os.ftruncate(number, 0),
    ):
        with pytest.raises(PermissionError):
            change()
    mmap.mmap(number, PAGE, prot=mmap.PROT_READ).close()
    region[0] = 1


def test_a_handle_that_was_there_before_reads_from_then_on(processes: Processes) -> None:
    region = Region(PAGE)
    sealed = processes.flag()

    def use() -> bool:
        mine: Region = pickle.loads(pickled)  # noqa: S301 - our own bytes
        mine[0] = 4
        opened.raise_()
        sealed.wait()
        assert mine[0] == 4
        return mine.readonly

    opened, pickled = processes.flag(), pickle.dumps(region)
    actor = processes.start(use)
    opened.wait()
    region.seal()
    sealed.raise_()
    assert actor.result() is True
    region.unlink()


# ── what stays ──────────────────────────────────────────────────────────────────────────────────────────────────────


@apart
def test_nothing_is_left_of_one_that_is_killed(private_space: Path) -> None:
    script = """
import os, signal, pickle, underpass
region, named = underpass.Region(4096), underpass.Region(8192)
pickle.dumps(region)
os.kill(os.getpid(), signal.SIGKILL)
"""
    died = subprocess.run([sys.executable, "-c", script], check=False)
    assert died.returncode == -signal.SIGKILL
    assert len(Space(private_space).sweep()) in {0, 2}  # who enters sweeps, too
    assert list(Space.default()) == []


def test_views_resizes_and_the_end_in_threads_at_once() -> None:
    region, errors = Region(PAGE), list[BaseException]()

    def use(number: int) -> None:
        try:
            for turn in range(100):
                view = memoryview(region)
                view[number] = turn
                if number == 0:
                    region.resize(PAGE * (2 + turn))
        except ClosedError:
            pass
        except BaseException as error:  # noqa: BLE001 - told below
            errors.append(error)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: len(region) > 20 * PAGE)
    region.close()
    for thread in threads:
        thread.join()
    assert not errors, errors
