"""Space: the directory, who is let in, what stands there, and what is swept."""

import errno
import fcntl
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conformance.backends import PATIENCE, Flag, Processes, Threads, apart, new_interpreter, until
from underpass import (
    AccessDeniedError,
    Condition,
    CorruptedError,
    Event,
    Gate,
    Mutex,
    NotFoundError,
    Port,
    Queue,
    Semaphore,
    Space,
)

NOBODY = 65534
FLOCK = 73  # the number of the system call


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
    with pytest.raises(NotFoundError, match="does not exist; make that first"):
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
        with pytest.raises(ValueError, match="cannot be a name") as caught:
            make()
        assert ("characters" in str(caught.value)) == (f"has {len(name)}" in str(caught.value))


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


@pytest.mark.parametrize("enter", [Space, Space.look], ids=["enter", "look"])
def test_path_that_is_empty_is_refused(enter: Callable[[str], Space]) -> None:
    with pytest.raises(ValueError, match="'' cannot be a path"):
        enter("")


@apart
def test_directory_that_takes_no_directories_is_named() -> None:
    with pytest.raises(AccessDeniedError, match="/proc takes no directories"):
        Space("/proc/x")


# ── names that no handle has ────────────────────────────────────────────────────────────────────────────────────────


def test_name_of_what_cannot_be_opened_is_freed(processes: Processes) -> None:
    def leave() -> None:
        Condition.create("changed", Mutex())

    processes.start(leave).result()
    Space().sweep()
    with pytest.raises(NotFoundError, match=r"changed.*Space\.unlink\(name\)"):
        Condition.open("changed")
    Space().unlink("changed")
    assert list(Space()) == []
    Condition.create("changed").unlink()


def test_file_that_is_no_object_is_freed(private_space: Path) -> None:
    Event.create("group/flag").close()
    (private_space / "group:flag").write_bytes(b"scribbled" * 512)
    with pytest.raises(CorruptedError, match=r"Space\.unlink\(name\)"):
        Event.open("group/flag")
    Space().unlink("group/flag")
    assert list(Space()) == []


def test_only_names_that_are_there_are_freed(private_space: Path) -> None:
    with pytest.raises(NotFoundError, match="'none'"):
        Space().unlink("none")
    for name in ("", ".lives", "../x", "@1-1"):
        with pytest.raises(ValueError, match="cannot be a name"):
            Space().unlink(name)
    assert (private_space / ".lives").exists()


def test_name_that_became_somebody_elses_stays(processes: Processes) -> None:
    old, unlinked = Event.create("ready"), processes.flag()

    def succeed() -> None:
        Event.open("ready").unlink()
        Semaphore.create("ready", 3).close()
        unlinked.raise_()

    successor = processes.start(succeed)
    unlinked.wait()
    successor.result()
    with pytest.raises(NotFoundError, match="another object's name by now"):
        old.unlink()
    semaphore = Semaphore.open("ready")
    assert semaphore.value == 3
    semaphore.unlink()


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
    for use in (
        lambda: Semaphore.create("kept", 1, space=space),
        lambda: Semaphore.open("kept", space=space),
        lambda: Semaphore.open("kept", space=space, timeout=PATIENCE),
        lambda: Port.create("kept", space=space),
    ):
        with pytest.raises(NotFoundError, match=r"'kept' in .*: the space was removed; enter it anew, Space\('.*'\)"):
            use()
    with pytest.raises(NotFoundError, match="the space was removed"):
        list(space)
    again = Space(str(directory))
    with pytest.raises(NotFoundError):
        Semaphore.open("kept", space=again)
    other = Semaphore.create("kept", 5, space=again)
    assert (other.value, semaphore.value) == (5, 0)
    semaphore.release()


# Makes files there, one after the other, for ever.
MAKER = """
import os, sys
for number in range(10**12):
    try:
        os.close(os.open(f"{sys.argv[1]}/{number}", os.O_CREAT))
    except OSError:
        pass
"""


@apart
def test_a_space_in_which_others_make_files_meanwhile_is_removed(directory: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", MAKER, str(directory)]) as maker:
        try:
            for _ in range(30):
                space = Space(str(directory))
                # As many as it takes a while to remove.
                until(lambda: len(list(directory.iterdir())) > 200)
                space.remove()
        finally:
            maker.kill()
    shutil.rmtree(directory, ignore_errors=True)


@apart
def test_who_removes_a_space_that_is_another_by_now_leaves_that_alone(directory: Path) -> None:
    space = Space(str(directory))
    shutil.rmtree(directory)
    with pytest.raises(NotFoundError, match="the space was removed"):
        space.remove()
    directory.mkdir(mode=0o700)
    (directory / "notes").write_text("another's")
    with pytest.raises(NotFoundError, match="the space was removed"):
        space.remove()
    assert (directory / "notes").read_text() == "another's"


# ── who frees a name while another does ─────────────────────────────────────────────────────────────────────────────


class Rung(Exception):
    """What the signal's handler raises."""


def sleeps_in_flock(tid: int) -> bool:
    return Path(f"/proc/self/task/{tid}/syscall").read_text().startswith(f"{FLOCK} ")


@pytest.fixture
def freed_by_another(private_space: Path) -> Iterator[int]:
    """Stand for a process that was stopped while it frees a name."""
    directory = os.open(private_space, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    yield directory
    os.close(directory)


def unlinks_by_any(_: Semaphore) -> None:
    Space.default().unlink("later")


@pytest.mark.parametrize("free", [Semaphore.unlink, unlinks_by_any], ids=["own", "any"])
def test_who_waits_to_free_a_name_keeps_nobody(
    threads: Threads, freed_by_another: int, free: Callable[[Semaphore], None]
) -> None:
    actor = threads.start(free, Semaphore.create("later", 0))
    until(lambda: sleeps_in_flock(actor.tid), "the sleep of who frees it")
    fcntl.flock(freed_by_another, fcntl.LOCK_UN)
    actor.result()
    with pytest.raises(NotFoundError):
        Semaphore.open("later")


def test_a_signal_keeps_no_port_from_freeing_its_name(threads: Threads, freed_by_another: int) -> None:
    fcntl.flock(freed_by_another, fcntl.LOCK_UN)
    port, me, heard = Port.create("desk"), threading.get_native_id(), list[int]()
    fcntl.flock(freed_by_another, fcntl.LOCK_EX)
    before = signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))

    def ring() -> None:
        until(lambda: sleeps_in_flock(me), "the sleep of the main thread")
        # One that it is interrupted by, for which the system's call begins anew.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        until(lambda: not pending(me), "the signal")
        until(lambda: sleeps_in_flock(me), "its sleep again")
        fcntl.flock(freed_by_another, fcntl.LOCK_UN)

    try:
        ringer = threads.start(ring)
        port.close()
        ringer.result()
        assert heard == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)
    with pytest.raises(NotFoundError):
        Gate.open("desk")


def pending(tid: int) -> bool:
    """Say whether that signal has not been delivered yet."""
    status = Path(f"/proc/self/task/{tid}/status").read_text()
    bits = int(next(line for line in status.splitlines() if line.startswith("SigPnd:")).split()[1], 16)
    return bool(bits >> (signal.SIGUSR1 - 1) & 1)


@apart
def test_a_name_is_freed_where_there_is_no_memory_to_map() -> None:
    """A process that has no room for a second mapping of what it has."""
    queue = Queue.create("large", capacity=64, message_size=1 << 20)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + (16 << 20), resource.RLIM_INFINITY))
    queue.unlink()
    with pytest.raises(NotFoundError):
        Queue.open("large")


def test_a_signal_ends_the_wait_to_free_a_name(threads: Threads, freed_by_another: int) -> None:
    def raises(*_: object) -> None:
        raise Rung

    semaphore, me = Semaphore.create("later", 0), threading.get_native_id()
    before = signal.signal(signal.SIGUSR1, raises)

    def ring() -> None:
        until(lambda: sleeps_in_flock(me), "the sleep of the main thread")
        os.kill(os.getpid(), signal.SIGUSR1)

    try:
        ringer = threads.start(ring)
        with pytest.raises(Rung):
            semaphore.unlink()
        ringer.result()
    finally:
        signal.signal(signal.SIGUSR1, before)
    fcntl.flock(freed_by_another, fcntl.LOCK_UN)
    semaphore.unlink()
