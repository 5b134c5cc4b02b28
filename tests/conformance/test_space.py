"""Space: the directory, who is let in, what stands there, what is swept, and files that are not what they should be."""

import errno
import functools
import os
import pickle
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conformance.backends import Flag, ProcessActor, Processes
from underpass import (
    AccessDeniedError,
    CorruptedError,
    MismatchError,
    NotFoundError,
    OutOfSpaceError,
    Port,
    Queue,
    Semaphore,
    Space,
    UnderpassError,
)

NOBODY = 65534
# Where the fields of a header lie.
MAGIC, VERSION, KIND, SPACE, PARAMETERS, HEADER = 0, 8, 12, 16, 48, 256


@pytest.fixture
def directory(private_space: Path) -> Iterator[Path]:
    """Name a directory beside the test's own space that does not exist yet."""
    path = private_space.with_name(private_space.name + "-other")
    yield path
    shutil.rmtree(path, ignore_errors=True)


def apart(test: Callable[..., None]) -> Callable[..., None]:
    """Run the case in a process of its own: a process keeps the descriptors of each space that it enters."""

    @functools.wraps(test)
    def run(**fixtures: object) -> None:
        actor = ProcessActor(functools.partial(test, **fixtures), ())
        try:
            actor.result()
        finally:
            actor.abandon()

    return run


def patch(path: Path, offset: int, data: bytes) -> None:
    """Write over some bytes of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def new_interpreter(script: str, *args: str) -> str:
    """Run a script in an interpreter of its own; what it prints."""
    done = subprocess.run([sys.executable, "-c", script, *args], check=True, capture_output=True, text=True)
    return done.stdout.strip()


# ── who is let in ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_default_space_is_where_the_environment_says(private_space: Path) -> None:
    assert Space.default().path == Space().path == str(private_space)
    semaphore = Semaphore.create("group/name", 1)
    assert (private_space / "group:name").stat().st_mode & 0o777 == 0o600
    semaphore.unlink()


@pytest.mark.parametrize("mode", [0o700, 0o750], ids=oct)
@apart
def test_directory_is_made_with_its_mode(directory: Path, mode: int) -> None:
    before = os.umask(0o077)
    try:
        space = Space(str(directory), mode=mode)
    finally:
        os.umask(before)
    assert directory.stat().st_mode & 0o777 == mode
    assert str(directory) in repr(space)
    copy: Space = pickle.loads(pickle.dumps(space))  # noqa: S301 - our own bytes
    assert copy.path == str(directory)


@apart
def test_space_that_allows_more_is_refused(directory: Path) -> None:
    directory.mkdir()
    directory.chmod(0o755)
    with pytest.raises(AccessDeniedError, match=r"mode 0755 allows more than 0700: chmod 700"):
        Space(str(directory))
    Space(str(directory), mode=0o755)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a directory somebody else's")
def test_space_of_somebody_else_is_refused(directory: Path) -> None:
    directory.mkdir(mode=0o700)
    os.chown(directory, NOBODY, NOBODY)
    with pytest.raises(PermissionError, match=f"belongs to uid {NOBODY}") as caught:
        Space(str(directory))
    assert isinstance(caught.value, AccessDeniedError)
    assert caught.value.errno == errno.EACCES


def test_symbolic_link_and_file_are_refused(directory: Path, private_space: Path) -> None:
    directory.symlink_to(private_space)
    with pytest.raises(AccessDeniedError, match="symbolic link"):
        Space(str(directory))
    directory.unlink()
    directory.write_bytes(b"")
    with pytest.raises(AccessDeniedError, match="not a directory"):
        Space(str(directory))
    directory.unlink()
    with pytest.raises(OSError, match="No such file"):
        Space(str(directory / "deep"))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a" * 201,
        "/a",
        "a/",
        "a//b",
        "..",
        "a/../b",
        ".",
        "./a",
        ".lives",
        "a:b",
        "@a",
        "~a",
        "ä",
        "a b",
        "a\0b",
        "a\n",
    ],
)
def test_names_that_are_none_are_refused(name: str) -> None:
    for make in (lambda: Semaphore.create(name, 1), lambda: Semaphore.open(name), lambda: Port.create(name)):
        with pytest.raises(ValueError, match="cannot be a name"):
            make()


@pytest.mark.parametrize("name", ["a", "a" * 200, "a/b/c", "A-1_2.x", "a..b", "0"])
def test_names_that_are_some_are_kept(name: str) -> None:
    queue = Queue.create(name, 1, 1)
    assert (queue.name, [info.name for info in Space()]) == (name, [name])
    queue.unlink()


# ── what stands there ───────────────────────────────────────────────────────────────────────────────────────────────


def test_space_tells_what_exists(processes: Processes) -> None:
    made, never = processes.flag(), processes.flag()
    queue = Queue.create("jobs", 4, 64)
    anonymous = Semaphore(1)

    def make() -> None:
        port = Port.create("desk")
        queue.put(b"x")
        made.raise_()
        never.wait()
        port.close()

    maker = processes.start(make)
    made.wait()
    infos = {info.name: info for info in Space()}
    assert sorted(infos, key=str) == [None, "desk", "jobs"]
    jobs, desk = infos["jobs"], infos["desk"]
    assert (jobs.kind, jobs.creator, jobs.state) == ("Queue", os.getpid(), "alive")
    assert jobs.attached == sorted([os.getpid(), maker.pid])
    assert jobs.size > 4 * 64
    assert (desk.kind, desk.creator, desk.attached, desk.state) == ("Port", maker.pid, [maker.pid], "alive")
    assert (infos[None].kind, infos[None].file[0]) == ("Semaphore", "@")
    maker.kill()
    (desk,) = [info for info in Space() if info.name == "desk"]
    assert (desk.state, desk.attached) == ("orphaned", [])
    anonymous.close()
    Port.create("desk").close()
    queue.unlink()
    Space().sweep()
    assert list(Space()) == []


def make_and_wait(made: Flag, never: Flag) -> None:
    """Make one of each, and wait to be killed."""
    objects = [Semaphore(1), Queue(4, 64), Port(), Semaphore.create("kept", 1)]
    made.raise_()
    never.wait()
    del objects


def test_sweep_removes_what_the_dead_left_and_nothing_else(processes: Processes, private_space: Path) -> None:
    made, never = processes.flag(), processes.flag()
    mine = Semaphore(1)
    makers = [processes.start(make_and_wait, made, never)]
    made.wait()
    assert Space().sweep() == []
    makers[0].kill()
    before = {info.file for info in Space()}
    swept = Space().sweep()
    assert len(swept) == 3
    assert before - {info.file for info in Space()} == set(swept)
    assert {info.name: info.state for info in Space()} == {None: "alive", "kept": "orphaned"}
    assert not [path for path in private_space.iterdir() if path.name.startswith("~")]
    mine.acquire()
    kept = Semaphore.open("kept")
    kept.acquire(timeout=0)
    kept.unlink()


def test_who_enters_sweeps(processes: Processes, private_space: Path) -> None:
    made, never = processes.flag(), processes.flag()
    maker = processes.start(make_and_wait, made, never)
    made.wait()
    maker.kill()
    new_interpreter("import underpass; underpass.Space()")
    assert [path.name for path in private_space.iterdir() if path.name != ".lives"] == ["kept"]
    Semaphore.open("kept").unlink()


def test_process_that_ends_leaves_nothing_anonymous(private_space: Path) -> None:
    script = """if True:
        import pickle, underpass
        objects = [underpass.Semaphore(1), underpass.Queue(), underpass.Port()]
        pickle.dumps(objects[:2])
        print(len(list(underpass.Space())))
    """
    assert new_interpreter(script) == "3"
    assert [path.name for path in private_space.iterdir()] == [".lives"]


@apart
def test_removed_space_can_be_made_anew(directory: Path) -> None:
    space = Space(str(directory))
    semaphore = Semaphore.create("kept", 1, space=space)
    space.remove()
    assert not directory.exists()
    semaphore.acquire(timeout=0)
    with pytest.raises(OSError, match="kept"):
        Semaphore.create("kept", 1, space=space)
    with pytest.raises(OSError, match="kept"):
        Semaphore.open("kept", space=space)
    again = Space(str(directory))
    with pytest.raises(NotFoundError):
        Semaphore.open("kept", space=again)
    other = Semaphore.create("kept", 5, space=again)
    assert (other.value, semaphore.value) == (5, 0)
    semaphore.release()


def test_many_objects_need_no_descriptors(processes: Processes) -> None:
    def crowd() -> int:
        in_use = max(int(link.name) for link in Path("/proc/self/fd").iterdir())
        resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 16, in_use + 16))
        objects = [Semaphore(1) for _ in range(2_000)]
        for semaphore in objects:
            semaphore.acquire(timeout=0)
        return len(list(Space()))

    assert processes.start(crowd).result() == 2_000
    assert len(Space().sweep()) in {0, 2_000}


# ── a file system that is full ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def tiny() -> Iterator[Path]:
    """Mount a tmpfs of 2 MiB, where the system lets us."""
    path = Path(tempfile.mkdtemp(prefix="underpass-tiny-"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", str(path)]
    try:
        if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
            pytest.skip("mounting a tmpfs is not permitted")
        yield path
        subprocess.run(["umount", "--lazy", str(path)], check=True)  # noqa: S607 - where it is differs
    finally:
        path.rmdir()


def test_full_space_is_an_error_and_never_a_bus_error(processes: Processes, tiny: Path) -> None:
    def fill() -> None:
        space = Space(str(tiny))
        with pytest.raises(OutOfSpaceError, match="UNDERPASS_DIR") as caught:
            Queue.create("huge", 1000, 10_000, space=space)
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.need > 10_000_000 > caught.value.free > 0
        queues: list[Queue] = []
        for capacity, message_size in ((4, 10_000), (1, 1)):
            with suppress(OutOfSpaceError):
                for _ in range(10_000):
                    queues.append(Queue.create(f"queue{len(queues)}", capacity, message_size, space=space))
        with pytest.raises(OutOfSpaceError):
            Semaphore.create("no-room", 1, space=space)
        assert len(list(space)) == len(queues) > 3
        for queue in queues:  # what exists has all its bytes
            for _ in range(queue.capacity):
                queue.put_nowait(b"x" * queue.message_size)
        # Threads need places in the table of lives, which grows.
        late: list[OutOfSpaceError] = []

        def use() -> None:
            try:
                queues[0].peek()
            except OutOfSpaceError as error:
                late.append(error)

        threads = [threading.Thread(target=use) for _ in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        queues.pop(0).unlink()
        Semaphore.create("fits", 1, space=space)

    processes.start(fill).result()


def test_space_without_room_for_the_table_of_lives_is_an_error(processes: Processes, tiny: Path) -> None:
    (tiny / "ballast").write_bytes(b"x" * (2 * 1024 * 1024 - 4096))

    def enter() -> None:
        with pytest.raises(OutOfSpaceError):
            Space(str(tiny))

    processes.start(enter).result()
    assert [path.name for path in tiny.iterdir()] == ["ballast"]


# ── files that are not what they should be ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("offset", "data", "error", "text"),
    [
        (MAGIC, b"notours!", CorruptedError, "first bytes"),
        (VERSION, b"\x63", MismatchError, "layout version 99.*layout version"),
        (KIND, b"\x63", CorruptedError, "kind 99"),
        (KIND, b"\x02", MismatchError, "is a Semaphore, and a Queue"),
        (SPACE, b"\0" * 8, MismatchError, "another space"),
        (PARAMETERS, b"\xff" * 8, CorruptedError, "out of range"),
        (PARAMETERS, b"\xff\xff", CorruptedError, ""),
        (PARAMETERS + 8, b"\xff\xff", CorruptedError, ""),
        (PARAMETERS + 8, b"\xff" * 8, CorruptedError, "out of range"),
    ],
)
def test_damaged_header_is_told(
    private_space: Path, offset: int, data: bytes, error: type[UnderpassError], text: str
) -> None:
    queue = Queue.create("jobs", 4, 64)
    patch(private_space / "jobs", offset, data)
    with pytest.raises(error, match=f"(?s)jobs.*{text}|{text}.*jobs"):
        Queue.open("jobs")
    with pytest.raises(UnderpassError):
        Queue.open_or_create("jobs", 4, 64)
    queue.unlink()


@pytest.mark.parametrize("size", [0, 1, HEADER - 1, HEADER, HEADER + 64, 4096])
def test_truncated_file_is_told(private_space: Path, size: int) -> None:
    Queue.create("jobs", 64, 256).close()
    os.truncate(private_space / "jobs", size)
    with pytest.raises(CorruptedError, match="jobs"):
        Queue.open("jobs")
    (info,) = Space()
    assert info.state in ({"corrupted"} if size < HEADER else {"alive", "corrupted"})
    (private_space / "jobs").unlink()


def test_what_is_no_object_is_told(private_space: Path) -> None:
    (private_space / "text").write_text("hello " * 100)
    with pytest.raises(CorruptedError, match="text"):
        Semaphore.open("text")
    (info,) = Space()
    assert (info.name, info.kind, info.state, info.creator) == ("text", "unknown", "corrupted", 0)
    (private_space / "text").unlink()
    (private_space / "link").symlink_to("/etc/hostname")
    with pytest.raises(OSError, match="link"):
        Semaphore.open("link")
    (private_space / "link").unlink()


def test_object_of_another_kind_is_told() -> None:
    semaphore = Semaphore.create("seats", 1)
    for opener in (lambda: Queue.open("seats"), lambda: Queue.open_or_create("seats")):
        with pytest.raises(MismatchError, match="a Semaphore, and a Queue was asked for"):
            opener()
    semaphore.unlink()


@apart
def test_object_of_another_space_is_told(directory: Path, private_space: Path) -> None:
    Queue.create("jobs", 4, 64).put(b"x")
    Space(str(directory))
    shutil.copy(private_space / "jobs", directory / "jobs")
    with pytest.raises(MismatchError, match="another space"):
        Queue.open("jobs", space=Space(str(directory)))
    Queue.open("jobs").unlink()


@pytest.mark.parametrize("size", [0, 100, HEADER, 10_000, None])
def test_damaged_table_of_lives_is_told(directory: Path, size: int | None) -> None:
    new_interpreter("import sys, underpass; underpass.Space(sys.argv[1])", str(directory))
    if size is None:
        patch(directory / ".lives", MAGIC, b"notours!")
    else:
        os.truncate(directory / ".lives", size)
    with pytest.raises(CorruptedError, match=r"\.lives"):
        Space(str(directory))


def test_random_header_never_crashes_who_opens(processes: Processes, private_space: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - shown when it fails
    dice = random.Random(seed)
    queue, path = Queue.create("jobs", 4, 64), private_space / "jobs"
    whole = path.read_bytes()

    def open_often() -> int:
        refused = 0
        for _ in range(500):
            patch(path, 0, whole[:HEADER])
            for _ in range(dice.randrange(1, 5)):
                patch(path, dice.randrange(PARAMETERS + 64), dice.randbytes(dice.choice([1, 1, 4, 8])))
            try:
                Queue.open("jobs").close()
            except UnderpassError:
                refused += 1
        return refused

    assert processes.start(open_often).result() > 0
    queue.unlink()
