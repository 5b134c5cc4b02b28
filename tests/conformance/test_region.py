"""Region: shared memory as buffers and arrays, which views pin and which one process can seal."""

import errno
import gc
import mmap
import multiprocessing
import os
import pickle
import platform
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from tests.conformance.backends import Processes, new_interpreter
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
def test_views_outlive_close(*, named: bool) -> None:
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
    buffer = cast("memoryview", region)  # numpy's types know few buffers
    arrays = [np.ndarray(4, "uint8", buffer=buffer), np.ndarray(4, "uint8", buffer=memoryview(region))]
    assert region.statistics().views == 0
    region.resize(64 * PAGE)
    arrays.append(np.ndarray(4, "uint8", buffer=buffer))
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
    region[0] = 7
    assert region[0:2] == b"\7\0"
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


def limited(size: int) -> Path | None:
    """Make a control group in this one that has so much memory; none where that is not allowed."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        base, limit = ("memory", "memory.limit_in_bytes") if controllers else ("", "memory.max")
        group = Path("/sys/fs/cgroup", base, path.lstrip("/"), f"underpass-{os.getpid()}")
        with suppress(OSError):
            group.mkdir()
            try:
                (group / limit).write_text(str(size))
            except OSError:
                group.rmdir()
                raise
            return group
    return None


def test_more_than_a_control_group_has(processes: Processes, request: pytest.FixtureRequest) -> None:
    limit = 64 << 20
    group = limited(limit)
    if group is None:
        pytest.skip("control groups are not writable here")
    request.addfinalizer(group.rmdir)

    def make() -> None:
        lines = Path("/proc/meminfo").read_text().splitlines()
        swap = next(int(line.split()[1]) << 10 for line in lines if line.startswith("SwapFree"))
        size = 2 * limit + swap
        with pytest.raises(OutOfSpaceError, match="bytes of its group's memory") as raised:
            Region(size)
        told(raised.value, errno.ENOMEM, "memory.max")
        assert (raised.value.limit, raised.value.need) == (limit, size)
        region = Region(1 << 20)
        region[-1] = 1
        with pytest.raises(OutOfSpaceError, match="bytes of its group's memory"):
            region.resize(size)
        region.close()

    def enter_and_make() -> bool:
        try:
            (group / "cgroup.procs").write_text(str(os.getpid()))
        except OSError:
            return False
        try:
            make()
        finally:
            (group.parent / "cgroup.procs").write_text(str(os.getpid()))
        return True

    if not processes.start(enter_and_make).result():
        pytest.skip("control groups cannot be entered here")


def test_huge_pages_or_what_helps() -> None:
    """On a machine that has reserved none it is told how many to reserve."""
    size = 2**21 * 2**19  # a tebibyte: no machine that runs this has reserved so much
    with pytest.raises(OutOfSpaceError, match=r"vm\.nr_hugepages=\d+.*huge=False") as raised:
        Region(size, huge=True)
    told(raised.value, raised.value.errno or 0, "huge=False")
    assert not descriptors()


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


# A child in which a signal seems to end each search for so many bytes or more, as some kernels' searches end.
INTERRUPTED = """
import ctypes, signal, struct, sys
from underpass import Region
limit, named = int(sys.argv[1]), sys.argv[2] == "True"
Region(1).close()
FALLOCATE, EINTR, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 285, 4, 38, 22, 2
LOAD, JUMP_IF_EQUAL, JUMP_IF_AS_MUCH, RETURN, ALLOW, ERRNO = 0x20, 0x15, 0x35, 0x06, 0x7FFF0000, 0x00050000
program = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in [
        (LOAD, 0, 0, 0),
        (JUMP_IF_EQUAL, 0, 3, FALLOCATE),
        (LOAD, 0, 0, 16 + 3 * 8),
        (JUMP_IF_AS_MUCH, 0, 1, limit),
        (RETURN, 0, 0, ERRNO | EINTR),
        (RETURN, 0, 0, ALLOW),
    ]
)
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(Program(6, program)), 0, 0):
    print("refused")
    sys.exit()
def make():
    return Region.create("frames", 3 << 20) if named else Region(3 << 20)
"""


def interrupted(script: str, limit: int, *, named: bool) -> str:
    if platform.machine() != "x86_64":
        pytest.skip("the filter knows the numbers of x86-64")
    told = new_interpreter(INTERRUPTED + script, str(limit), str(named))
    if told == "refused":
        pytest.skip("this process may not install a seccomp filter")
    return told


@pytest.mark.parametrize("named", [False, True])
def test_signals_while_room_is_found(*, named: bool) -> None:
    script = """
region = make()
region.resize(9 << 20)
region[-1] = 7
print(len(region), region[-2:])
if named:
    region.unlink()
"""
    assert interrupted(script, 1 << 20, named=named) == f"{9 << 20} b'\\x00\\x07'"


@pytest.mark.parametrize("named", [False, True])
def test_a_handler_that_raises_while_room_is_found(*, named: bool) -> None:
    """Of that room nothing is found, so it would be looked for for ever."""
    script = """
class Stopped(Exception):
    pass
def stop(*_):
    raise Stopped
signal.signal(signal.SIGALRM, stop)
signal.setitimer(signal.ITIMER_REAL, 0.02)
try:
    make()
except Stopped:
    print("stopped")
"""
    assert interrupted(script, 1 << 16, named=named) == "stopped"
    assert [info.name for info in Space.default() if info.name] == []


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
    array = np.from_dlpack(region)
    region[3] = 7
    assert (array[3], array.dtype, array.shape) == (7, np.uint8, (16,))
    assert region.__dlpack_device__() == (1, 0)
    region.close()
    assert array[3] == 7


# ── longer ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("named", [False, True])
def test_it_grows_under_views(processes: Processes, *, named: bool) -> None:
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
    with pytest.raises(MisuseError, match="read only view of region 'frames'"):
        reader.resize(200)
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
    with pytest.raises(CorruptedError, match=r"frames.*fewer than"):
        Region.open("frames")
    region.unlink()


def test_nothing_to_wait_for() -> None:
    with pytest.raises(TypeError, match="nothing to wait for"):
        Region(1).fileno()
