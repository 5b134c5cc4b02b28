"""What runs out: bytes and files of a tmpfs, mappings, descriptors. Each is an error that says how much, of what, and what helps."""

import ctypes
import errno
import os
import resource
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conformance.backends import Processes, until
from underpass import Broadcast, Gate, Notification, OutOfSpaceError, Pipe, Port, Queue, Region, Semaphore, Space

NEW_MOUNTS, NEW_USERS = 0x0002_0000, 0x1000_0000
SIZE = 16 << 20
PAGE = 4096


def in_tmpfs(world: Processes, path: Path, test: Callable[[], object], options: str = f"size={SIZE}") -> None:
    """Run the case where ``path`` is a tmpfs that nobody else sees, and that goes with its process."""

    def run() -> str | None:
        libc = ctypes.CDLL(None, use_errno=True)
        outside = os.geteuid()
        if libc.unshare(NEW_MOUNTS | (NEW_USERS if outside else 0)) != 0:
            return "a mount namespace is not permitted"
        if outside:
            Path("/proc/self/uid_map").write_text(f"{outside} {outside} 1")
        for command in (
            ["mount", "--make-rprivate", "/"],
            ["mount", "-t", "tmpfs", "-o", f"{options},mode=0700", "tmpfs", str(path)],
        ):
            if subprocess.run(command, check=False, capture_output=True).returncode != 0:
                return "mounting a tmpfs is not permitted"
        os.chdir(path)
        test()
        return None

    path.mkdir()
    refusal = world.start(run).result()
    assert list(path.iterdir()) == []
    if refusal:
        pytest.skip(refusal)


def told(error: OutOfSpaceError, number: int, remedy: str) -> None:
    """Every limit says in attributes and text what was needed, free and possible, and what helps."""
    assert error.errno == number
    assert error.strerror == os.strerror(number)
    assert error.need > error.free >= 0
    assert error.limit >= error.free
    assert remedy in error.remedy
    assert error.remedy in str(error)
    for amount in (error.need, error.free, error.limit):
        assert str(amount) in str(error)


# ── a file system that is full ──────────────────────────────────────────────────────────────────────────────────────


def use_in_threads(queue: Queue) -> None:
    """Use it in many threads: each needs a place in the table of lives, which grows, or is told that it cannot."""

    def use() -> None:
        with suppress(OutOfSpaceError):
            queue.peek()

    threads = [threading.Thread(target=use) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def fill_with_queues(space: Space) -> list[Queue]:
    queues: list[Queue] = []
    for capacity, message_size in ((4, 100_000), (1, 1)):
        with suppress(OutOfSpaceError):
            for _ in range(10_000):
                queues.append(Queue.create(f"queue{len(queues)}", capacity, message_size, space=space))
    return queues


def test_full_space_is_an_error_and_never_a_bus_error(processes: Processes, directory: Path) -> None:
    def fill() -> None:
        space = Space(str(directory))
        with pytest.raises(OutOfSpaceError, match="'huge' in") as caught:
            Queue.create("huge", 1000, 100_000, space=space)
        told(caught.value, errno.ENOSPC, "UNDERPASS_DIR")
        assert caught.value.need > 100_000_000
        assert SIZE > caught.value.free > 0
        assert caught.value.limit == SIZE
        with pytest.raises(OutOfSpaceError, match="bytes"):
            Queue.create("gigantic", 2**28, 2**30, space=space)
        queues = fill_with_queues(space)
        for make in (
            lambda: Semaphore.create("no-room", 1, space=space),
            lambda: Port.create("no-room", space=space),
            lambda: Queue.open_or_create("no-room", space=space),
        ):
            with pytest.raises(OutOfSpaceError) as caught:
                make()
            told(caught.value, errno.ENOSPC, "UNDERPASS_DIR")
        assert len(list(space)) == len(queues) > 40
        for queue in queues:  # what exists has all its bytes
            for _ in range(queue.capacity):
                queue.put_nowait(b"x" * queue.message_size)
        use_in_threads(queues[0])
        queues.pop(0).unlink()
        Semaphore.create("fits", 1, space=space)

    in_tmpfs(processes, directory, fill)


def test_container_with_64_megabytes_of_shared_memory(processes: Processes, directory: Path) -> None:
    def fill() -> None:
        space, frame = Space(str(directory)), 16 << 20
        makers: list[Callable[[], object]] = [
            lambda: Queue.create("frames", 8, frame, space=space),
            lambda: Region.create("frames", 8 * frame, space=space),
            lambda: Broadcast.create("frames", 8 * frame, space=space),
            lambda: Pipe.create("frames", 8 * frame, space=space),
        ]
        for make in makers:
            with pytest.raises(OutOfSpaceError, match="'frames' in") as caught:
                make()
            told(caught.value, errno.ENOSPC, "--shm-size")
            assert caught.value.limit == 64 << 20
        assert list(space) == []
        queue = Queue.create("frames", 3, frame, space=space)
        for _ in range(3):
            queue.put_nowait(bytes(frame))  # each byte that was promised is there
        assert sum(map(len, queue.get_many())) == 3 * frame

    in_tmpfs(processes, directory, fill, options=f"size={64 << 20}")


def test_space_without_room_for_the_table_of_lives_is_an_error(processes: Processes, directory: Path) -> None:
    def enter() -> None:
        ballast = Path("ballast")
        ballast.write_bytes(b"x" * (SIZE - PAGE))
        with pytest.raises(OutOfSpaceError) as caught:
            Space(str(directory))
        told(caught.value, errno.ENOSPC, "UNDERPASS_DIR")
        assert list(Path().iterdir()) == [ballast]

    in_tmpfs(processes, directory, enter)


def test_full_space_has_no_room_for_a_crowd_and_tells_who_comes(processes: Processes, directory: Path) -> None:
    def crowd() -> None:
        notification = Notification.create("crowd", space=Space(str(directory)))
        first_row = [
            threading.Thread(target=notification.wait, args=(1,), kwargs={"consume": False}, daemon=True)
            for _ in range(63)
        ]
        for thread in first_row:
            thread.start()
        until(lambda: notification.statistics().waiters == 63, "the first row is full")
        rest = directory / "rest"
        with suppress(OSError), rest.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(PAGE))
        with pytest.raises(
            OutOfSpaceError, match="not notified: a further waiter needs 4096 bytes, and none is free"
        ) as refused:
            notification.wait(1, timeout=5)
        told(refused.value, errno.ENOSPC, "unlink")
        rest.unlink()
        further = threading.Thread(target=notification.wait, args=(1,))
        further.start()
        until(lambda: notification.statistics().waiters == 64, "there is room again")
        notification.notify(1)
        for thread in (*first_row, further):
            thread.join()
        notification.close()

    in_tmpfs(processes, directory, crowd, options="size=4m")


def test_file_system_without_room_for_another_file_is_an_error(processes: Processes, directory: Path) -> None:
    def fill() -> None:
        space = Space(str(directory))
        kept: list[Semaphore] = []

        def crowd() -> None:
            while True:
                kept.append(Semaphore(1, limit=1))

        with pytest.raises(OutOfSpaceError) as caught:
            crowd()
        told(caught.value, errno.ENOSPC, "nr_inodes")
        assert (caught.value.need, caught.value.limit) == (1, 64)
        kept.pop().close()
        Semaphore.create("fits", 1, space=space)

    in_tmpfs(
        processes, directory, lambda: (os.environ.update(UNDERPASS_DIR=str(directory)), fill()), "size=16m,nr_inodes=64"
    )


# ── mappings ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_process_with_as_many_mappings_as_it_may_have(processes: Processes) -> None:
    most = int(Path("/proc/sys/vm/max_map_count").read_text())
    if most > 1 << 20:
        pytest.skip(f"vm.max_map_count is {most}: more than a test should use up")

    def map_all() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        held = Semaphore(1)
        private_anonymous_unreserved = 0x2 | 0x20 | 0x4000
        start = libc.mmap(None, 2 * most * PAGE, 0, private_anonymous_unreserved, -1, 0)
        # Each page that may be read splits the mapping around it.
        page = start
        while libc.mprotect(page, PAGE, 1) == 0:
            page += 2 * PAGE
        assert ctypes.get_errno() == errno.ENOMEM
        while (
            libc.mmap(None, PAGE, 1 + page // PAGE % 2, private_anonymous_unreserved, -1, 0)
            != ctypes.c_void_p(-1).value
        ):
            page += PAGE
        with pytest.raises(OutOfSpaceError) as caught:
            Semaphore(1)
        told(caught.value, errno.ENOMEM, "vm.max_map_count")
        assert (caught.value.need, caught.value.limit) == (1, most)
        assert "needs 1 mapping of this process" in str(caught.value)
        held.acquire(timeout=0)
        held.close()
        libc.munmap(ctypes.c_void_p(start), ctypes.c_size_t(2 * most * PAGE))
        Semaphore(1).close()

    processes.start(map_all).result()


def test_process_without_address_space(processes: Processes) -> None:
    def reserve() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = (pages * PAGE) + (64 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        with pytest.raises(OutOfSpaceError) as caught:
            Queue(1, 100 << 20)
        told(caught.value, errno.ENOMEM, "ulimit -v")
        assert caught.value.limit == limit
        Semaphore(1).close()

    Semaphore(1).close()
    processes.start(reserve).result()


# ── descriptors ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_process_without_a_descriptor_left(processes: Processes) -> None:
    def use_up() -> None:
        kept = Semaphore.create("kept", 1)
        port = Port.create("desk")
        bound = Gate.open("desk")
        unbound = Gate.open("desk")

        def call() -> bytes:
            server = threading.Thread(target=lambda: port.receive(timeout=10).reply(b"pong"))
            server.start()
            try:
                return bound.call(b"ping", timeout=10)
            finally:
                server.join()

        call()
        in_use = max(int(link.name) for link in Path("/proc/self/fd").iterdir())
        resource.setrlimit(resource.RLIMIT_NOFILE, (64 + in_use, 128 + in_use))
        taken: list[int] = []
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))
        for operation in (
            lambda: Semaphore(1),
            lambda: Semaphore.create("new", 1),
            lambda: Semaphore.open("kept"),
            lambda: Queue.open_or_create("jobs"),
            Port,
            lambda: Gate.open("desk"),
            lambda: unbound.call(b"x"),
            lambda: Semaphore.open("later", timeout=1),
            lambda: Space().sweep(),
            lambda: list(Space()),
        ):
            with pytest.raises(OutOfSpaceError) as caught:
                operation()
            told(caught.value, errno.EMFILE, "ulimit -n")
            assert (caught.value.need, caught.value.free, caught.value.limit) == (1, 0, 64 + in_use)
            assert f"up to {128 + in_use}" in caught.value.remedy
            assert f"needs 1 descriptor, and 0 of {64 + in_use} are free" in str(caught.value)
        # What is held is used without one.
        kept.acquire(timeout=0)
        kept.release()
        assert call() == b"pong"
        for descriptor in taken:
            os.close(descriptor)
        with suppress(TimeoutError):
            unbound.call(b"x", timeout=0)
        Semaphore.open("kept").unlink()
        port.close()

    processes.start(use_up).result()


def test_ten_thousand_objects_need_no_descriptors(processes: Processes) -> None:
    def crowd() -> int:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
        semaphores = [Semaphore(1) for _ in range(8_000)]
        queues = [Queue(2, 16) for _ in range(2_000)]
        for _ in range(2):
            for semaphore in semaphores:
                semaphore.acquire(timeout=0)
                semaphore.release()
            for queue in queues:
                queue.put(b"x", timeout=0)
                queue.get(timeout=0)
        assert len(list(Path("/proc/self/fd").iterdir())) < 100
        return len(list(Space()))

    assert processes.start(crowd).result() == 10_000
    Space().sweep()
