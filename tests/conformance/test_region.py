"""Region: shared memory as buffers and arrays, which views pin and which one process can seal."""

import ctypes
import errno
import gc
import mmap
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conformance.backends import Processes, apart, new_interpreter, until
from tests.conformance.test_limits import in_tmpfs, told
from underpass import (
    ClosedError,
    CorruptedError,
    ExistsError,
    MismatchError,
    MisuseError,
    NotFoundError,
    OutOfSpaceError,
    Region,
    Space,
)

PAGE = mmap.PAGESIZE


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


def mappings() -> int:
    """Count the mappings of memfds of regions."""
    return Path("/proc/self/maps").read_text().count("memfd:underpass-region")


# ── one process ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_is_a_buffer_of_zeroes() -> None:
    region = Region(5000)
    assert len(region) == 5000
    view = memoryview(region)
    assert (view.nbytes, view.format, view.ndim, view.readonly) == (5000, "B", 1, False)
    assert not any(view)
    view[4990:] = b"0123456789"
    assert region[4990:4992] == b"01"
    assert region[-1] == ord("9")
    region[0:3] = b"abc"
    region[3] = ord("d")
    assert bytes(view[:5]) == b"abcd\0"
    assert repr(region).endswith(", 5000 bytes>")
    with pytest.raises(IndexError):
        region[5000]
    with pytest.raises(ValueError, match="different structures"):
        region[0:3] = b"four"


@pytest.mark.parametrize("named", [False, True])
def test_views_outlive_close(named: bool) -> None:
    region = Region.create("frames", PAGE) if named else Region(PAGE)
    view, array = memoryview(region), region.array(4, "uint8", offset=4)
    assert region.statistics().views == 1
    if named:
        region.unlink()
    region.close()
    region.close()
    assert not descriptors()
    array[:] = 7
    del region
    gc.collect()
    assert bytes(view[:9]) == b"\0\0\0\0\7\7\7\7\0"


def test_what_took_the_address_and_gave_the_buffer_back() -> None:
    """As numpy does, which crashes with other shared memory."""
    region = Region(PAGE)
    arrays = [np.ndarray(4, "uint8", buffer=region), np.ndarray(4, "uint8", buffer=memoryview(region))]
    assert region.statistics().views == 0
    region.resize(64 * PAGE)
    arrays.append(np.ndarray(4, "uint8", buffer=region))
    region.close()
    for number, array in enumerate(arrays):
        array[number] = 7
    assert bytes(arrays[0]) == b"\7\7\7\0"


def test_the_last_view_lets_the_memory_go() -> None:
    before = mappings()
    region = Region(PAGE)
    view, array = memoryview(region), region.array(4, "uint8")
    region.close()
    del region
    view.release()
    assert mappings() == before + 1
    del array
    assert mappings() == before


def test_close_lets_the_memory_go_where_nobody_looks() -> None:
    before = mappings()
    region = Region(PAGE)
    region.close()
    assert (mappings(), descriptors()) == (before, set())


def test_what_is_closed_says_so() -> None:
    region = Region(PAGE)
    region.close()
    for use in (
        lambda: memoryview(region),
        lambda: len(region),
        lambda: region[0],
        lambda: region.array(1),
        region.seal,
        lambda: region.resize(2 * PAGE),
        lambda: pickle.dumps(region),
    ):
        with pytest.raises(ClosedError, match="closed here"):
            use()
    assert region.closed
    assert "closed" in repr(region)


@pytest.mark.parametrize("size", [0, -1, 2**46 + 1, 2**64])
def test_sizes_out_of_range(size: int) -> None:
    with pytest.raises(ValueError, match=r"between 1 and 2\*\*46|more than 64 bits"):
        Region(size)


def test_more_than_the_machine_has() -> None:
    with pytest.raises(OutOfSpaceError, match="anonymous region") as raised:
        Region(2**46)
    told(raised.value, errno.ENOMEM, "end processes")
    assert not descriptors()
    assert list(Space.default()) == []


def test_huge_pages_or_what_helps() -> None:
    """On a machine that has reserved none it is told how many to reserve."""
    size = 2**21 * 2**19  # a tebibyte: no machine that runs this has reserved so much
    with pytest.raises(OutOfSpaceError, match=r"vm\.nr_hugepages=\d+.*huge=False") as raised:
        Region(size, huge=True)
    told(raised.value, raised.value.errno or 0, "huge=False")
    assert not descriptors()


def test_a_region_of_huge_pages() -> None:
    try:
        region = Region(3 << 20, huge=True)
    except OutOfSpaceError as error:
        pytest.skip(f"no huge pages on this machine: {error.remedy}")
    region[0:2], region[-1] = b"ab", 7
    assert (len(region), region.statistics().huge, region[0:2]) == (3 << 20, True, b"ab")
    with pytest.raises(MisuseError, match="huge pages"):
        region.resize(8 << 20)


def test_a_full_tmpfs_is_told(processes: Processes, tmp_path: Path) -> None:
    def fill() -> None:
        space = Space(Path.cwd() / "space")
        region = Region.create("frames", 1 << 20, space=space)
        for make in (
            lambda: Region.create("more", 64 << 20, space=space),
            lambda: region.resize(64 << 20),
        ):
            with pytest.raises(OutOfSpaceError) as raised:
                make()
            told(raised.value, errno.ENOSPC, "remount,size=")
        assert [info.name for info in space] == ["frames"]
        assert len(region) == 1 << 20
        region.resize(2 << 20)
        region[-1] = 1

    in_tmpfs(processes, tmp_path / "small", fill)


# ── arrays ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_arrays_are_in_place() -> None:
    region = Region(PAGE)
    floats = region.array((3, 4), offset=8)
    assert (floats.dtype, floats.shape, floats.flags.owndata) == (np.float64, (3, 4), False)
    floats[2, 3] = 1.5
    assert region.array(1, np.float64, offset=8 + 11 * 8)[0] == 1.5
    pairs = region.array([2], np.dtype([("a", "<u2"), ("b", "<u4")]), offset=200)
    pairs["b"] = 9
    assert region[202:206] == b"\x09\0\0\0"
    assert region.array((0, 5)).size == 0
    assert region.array((), "uint8", offset=202)[()] == 9


@pytest.mark.parametrize(
    ("shape", "dtype", "offset", "error", "text"),
    [
        ((17,), "uint8", 0, ValueError, r"needs 17 bytes from offset 0, and region .* has 16.*resize"),
        ((2,), "float64", 1, ValueError, "needs 16 bytes from offset 1"),
        ((0,), "uint8", 17, ValueError, "offset 17"),
        ((2**40, 2**40), "uint8", 0, ValueError, "1208925819614629174706176 bytes"),
        ((2**62,) * 3, "uint8", 0, ValueError, "more than 2"),
        ((-1, 2), "uint8", 0, ValueError, "negative"),
        ((1,), "uint8", -1, ValueError, "offset=-1 is negative"),
        ((1,), object, 0, TypeError, "objects of Python"),
        ((1,), "S", 0, ValueError, "items of no bytes"),
        ((1,), "nonsense", 0, TypeError, "nonsense"),
        (("a",), "uint8", 0, TypeError, "str"),
        (1.5, "uint8", 0, TypeError, "float"),
    ],
)
def test_arrays_that_cannot_be(shape: Any, dtype: Any, offset: int, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Region(16).array(shape, dtype, offset=offset)


def test_it_speaks_dlpack() -> None:
    region = Region(16)
    array = np.from_dlpack(region)  # type: ignore[arg-type,unused-ignore]
    region[3] = 7
    assert (array[3], array.dtype, array.shape) == (7, np.uint8, (16,))
    assert region.__dlpack_device__() == (1, 0)
    region.close()
    assert array[3] == 7


# ── longer ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("named", [False, True])
def test_it_grows_under_views(processes: Processes, named: bool) -> None:
    region = Region.create("frames", PAGE) if named else Region(PAGE)
    view, looking, grown = memoryview(region), processes.flag(), processes.flag()

    def look() -> tuple[int, bytes]:
        old = memoryview(region)
        looking.raise_()
        grown.wait()
        assert old.nbytes == PAGE
        return len(region), region[-3:]

    other = processes.start(look)
    looking.wait()
    region.resize(3 * PAGE + 5)
    assert (len(region), view.nbytes) == (3 * PAGE + 5, PAGE)
    region[-3:], region[0] = b"end", 7
    assert view[0] == 7
    grown.raise_()
    assert other.result() == (3 * PAGE + 5, b"end")
    region.resize(3 * PAGE + 5)
    with pytest.raises(ValueError, match="never shrinks"):
        region.resize(PAGE)
    if named:
        assert len(Region.open("frames")) == 3 * PAGE + 5
        region.unlink()
        with pytest.raises(NotFoundError, match="name of 'frames'"):
            region.resize(9 * PAGE)


def test_of_several_that_resize_the_longest_counts(processes: Processes) -> None:
    region = Region.create("frames", PAGE)
    sizes = [PAGE * number for number in range(2, 12)]

    def grow(size: int) -> None:
        try:
            region.resize(size)
        except ValueError as error:
            assert "never shrinks" in str(error)  # noqa: PT017 - either may be
        assert len(region) >= size

    for actor in [processes.start(partial(grow, size)) for size in sizes]:
        actor.result()
    assert len(region) == max(sizes)
    region.unlink()


# ── names ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_by_name(processes: Processes) -> None:
    region = Region.create("frames", 100)
    region[0:5] = b"hello"
    with pytest.raises(ExistsError, match="a Region"):
        Region.create("frames", 100)
    assert processes.start(lambda: Region.open("frames")[0:5]).result() == b"hello"
    assert Region.open_or_create("frames", 100)[0:5] == b"hello"
    with pytest.raises(MismatchError, match=r"size=100, and size=101"):
        Region.open_or_create("frames", 101)
    with pytest.raises(MisuseError, match="readonly=True"):
        region.seal()
    (info,) = Space.default()
    assert (info.name, info.kind, info.size) == ("frames", "Region", 4196)
    region.unlink()
    region[0] = 1
    with pytest.raises(NotFoundError):
        Region.open("frames")


def test_opened_to_be_read() -> None:
    region = Region.create("frames", 100)
    reader = Region.open("frames", readonly=True)
    assert (reader.readonly, region.readonly, reader.sealed) == (True, False, False)
    assert "read only view of region 'frames'" in str(pytest.raises(MisuseError, reader.resize, 200).value)
    view = memoryview(reader)
    assert view.readonly
    with pytest.raises(TypeError, match="read-only"):
        reader[0] = 1
    assert not reader.array(1, "uint8").flags.writeable
    region[0] = 5
    region.resize(2 * PAGE)
    assert (view[0], len(reader), reader.readonly) == (5, 2 * PAGE, True)
    again = pickle.loads(pickle.dumps(reader))  # noqa: S301 - our own bytes
    assert again.readonly
    region.unlink()


def test_the_mapping_of_who_reads_is_read_only() -> None:
    region = Region.create("frames", PAGE)
    script = """
import ctypes, underpass
array = underpass.Region.open("frames", readonly=True).array(1, "uint8")
ctypes.memset(array.ctypes.data, 1, 1)
"""
    died = subprocess.run([sys.executable, "-c", script], check=False)
    assert died.returncode == -signal.SIGSEGV
    assert region[0] == 0
    region.unlink()


def test_a_file_that_is_too_short(private_space: Path) -> None:
    region = Region.create("frames", 4 * PAGE)
    os.truncate(private_space / "frames", 2 * PAGE)
    with pytest.raises(CorruptedError, match="frames.*fewer than"):
        Region.open("frames")
    region.unlink()


def test_nothing_to_wait_for() -> None:
    with pytest.raises(TypeError, match="nothing to wait for"):
        Region(1).fileno()


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


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_through_fork_and_spawn(method: Any) -> None:
    context = multiprocessing.get_context(method)
    region = Region(PAGE)
    process = context.Process(target=keep_a_view, args=(region,))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert region[0:8] == b"\3" * 8
    process.close()
    if method == "spawn":
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


def test_a_descriptor_that_the_program_closed() -> None:
    region = Region(PAGE)
    pickled = pickle.dumps(region)
    (number,) = map(int, descriptors())
    os.close(number)
    with pytest.raises(NotFoundError, match="closed its descriptor.*give the region a name"):
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
