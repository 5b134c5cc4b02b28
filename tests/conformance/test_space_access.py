"""Space between users: who is let in, by owner, group and mode; and what those are told who are not."""

import errno
import grp
import os
import pickle
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.conformance.backends import Processes, apart
from underpass import (
    AccessDeniedError,
    Gate,
    MismatchError,
    NotFoundError,
    PeerDiedError,
    Port,
    Queue,
    Semaphore,
    Space,
    TimedOut,
)

T = TypeVar("T")

# Numbers that nobody has here: two users of one group, and one who is not in it.
ANN, BOB, EVE = 47_001, 47_002, 47_003
CREW = 47_100

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become two other users")


def become(user: int, *groups: int) -> None:
    """Be somebody else, for good: after the import, as a server that drops its rights does."""
    os.setgroups(groups)
    os.setgid(user)
    os.setuid(user)
    os.umask(0o077)


def act(world: Processes, user: int, groups: list[int], action: Callable[[], T]) -> T:
    """Run the action as that user, in a process of its own."""

    def run() -> T:
        become(user, *groups)
        return action()

    return world.start(run).result()


@pytest.fixture
def shared_parent(directory: Path) -> Iterator[Path]:
    """Make a directory where anybody may make a space, as /dev/shm is one."""
    directory.mkdir()
    directory.chmod(0o1777)
    yield directory / "space"
    shutil.rmtree(directory, ignore_errors=True)


# ── private spaces ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_private_space_of_another_user_is_refused_with_owner_and_remedy(
    processes: Processes, shared_parent: Path
) -> None:
    act(processes, ANN, [], lambda: Space(str(shared_parent)).path)

    def intrude() -> None:
        with pytest.raises(AccessDeniedError) as caught:
            Space(str(shared_parent))
        assert caught.value.errno == errno.EACCES
        assert caught.value.filename == str(shared_parent)
        for told in (f"belongs to uid {ANN}", "mode 0700", f"runs as uid {BOB}", "group="):
            assert told in str(caught.value)

    act(processes, BOB, [CREW], intrude)


@pytest.mark.parametrize("kind", ["directory", "link", "open", "file"])
def test_squatted_default_directory_is_refused(processes: Processes, kind: str, shared_parent: Path) -> None:
    place = Path(f"/dev/shm/underpass-{ANN}")  # noqa: S108 - where the default space is
    assert not place.exists()
    match kind:
        case "directory":  # Eve made it first
            place.mkdir(mode=0o777)
            place.chmod(0o777)
            os.chown(place, EVE, EVE)
        case "link":  # to a directory of Ann's own
            shared_parent.mkdir(mode=0o700)
            os.chown(shared_parent, ANN, ANN)
            place.symlink_to(shared_parent)
        case "open":  # Ann's, and anybody may write there
            place.mkdir()
            place.chmod(0o777)
            os.chown(place, ANN, ANN)
        case _:
            place.write_bytes(b"")

    def enter() -> str:
        os.environ.pop("UNDERPASS_DIR")
        with pytest.raises(AccessDeniedError) as caught:
            Semaphore(1)
        with pytest.raises(AccessDeniedError):
            Space.default()
        assert str(place) in str(caught.value)
        return str(caught.value)

    try:
        text = act(processes, ANN, [], enter)
    finally:
        if place.is_dir() and not place.is_symlink():
            place.rmdir()
        else:
            place.unlink()
    expected = {"directory": f"uid {EVE}", "link": "symbolic link", "open": "chmod 700", "file": "not a directory"}
    assert expected[kind] in text


# ── spaces of a group ───────────────────────────────────────────────────────────────────────────────────────────────


def crew(path: Path) -> Space:
    return Space(str(path), group=CREW)


def test_group_space_belongs_to_its_group_whoever_made_it(processes: Processes, shared_parent: Path) -> None:
    def make() -> None:
        Queue.create("jobs", 4, 64, space=crew(shared_parent)).put(b"from Ann")
        with pytest.raises(AccessDeniedError, match=f"not in the group with gid {EVE}"):
            Space(str(shared_parent) + "-2", group=EVE)

    act(processes, ANN, [CREW], make)
    assert [path.name for path in shared_parent.parent.iterdir()] == ["space"]
    status = shared_parent.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (ANN, CREW, 0o2770)
    for name in (".lives", "jobs"):
        status = (shared_parent / name).stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (ANN, CREW, 0o660)

    def work() -> None:
        jobs = Queue.open("jobs", space=crew(shared_parent))
        assert jobs.get(timeout=0) == b"from Ann"
        jobs.put(b"from Bob")
        Semaphore.create("bobs", 1, space=crew(shared_parent))

    act(processes, BOB, [CREW], work)
    act(processes, ANN, [CREW], lambda: Semaphore.open("bobs", space=crew(shared_parent)).acquire(timeout=0))
    assert (shared_parent / "bobs").stat().st_uid == BOB

    def intrude() -> None:
        for enter in (lambda: crew(shared_parent), lambda: Space(str(shared_parent))):
            with pytest.raises(AccessDeniedError, match=f"uid {ANN}, gid {CREW}, with mode 0770.*runs as uid {EVE}"):
                enter()

    act(processes, EVE, [], intrude)


def test_members_are_told_what_to_pass(processes: Processes, shared_parent: Path) -> None:
    act(processes, ANN, [CREW], lambda: crew(shared_parent).path)

    def enter() -> None:
        with pytest.raises(AccessDeniedError, match=f"belongs to uid {ANN}.*pass group={CREW} if you trust"):
            Space(str(shared_parent))
        with pytest.raises(AccessDeniedError, match=f"its group is gid {CREW}, and gid {BOB} was asked for"):
            Space(str(shared_parent), group=BOB)

    act(processes, BOB, [CREW], enter)
    shared_parent.chmod(0o770)
    with pytest.raises(AccessDeniedError, match="chmod 2770"):
        crew(shared_parent)
    shared_parent.chmod(0o2777)
    with pytest.raises(AccessDeniedError, match="mode 0777 allows more than 0770"):
        crew(shared_parent)


def test_users_of_a_group_wake_each_other_and_see_each_other_die(processes: Processes, shared_parent: Path) -> None:
    ready, never = processes.flag(), processes.flag()

    def work() -> None:
        become(BOB, CREW)
        space = crew(shared_parent)
        Semaphore.open("go", space=space).acquire()
        lease = Queue.open("jobs", space=space).take(timeout=10)
        port = Port.create("bob", space=space, admit=lambda peer: peer.uid == ANN)
        request = port.receive(timeout=10)
        assert (request.peer.uid, request.data) == (ANN, b"ping")
        request.reply(b"pong")
        ready.raise_()
        never.wait()
        lease.done()

    def supervise() -> None:
        become(ANN, CREW)
        space = crew(shared_parent)
        go = Semaphore.create("go", 0, space=space)
        jobs = Queue.create("jobs", 4, 64, space=space)
        jobs.put(b"job")
        ready.raise_()
        worker_waits.wait()
        go.release()
        gate = Gate.open("bob", space=space, timeout=10)
        assert gate.call(b"ping", timeout=10) == b"pong"
        with pytest.raises(TimedOut):
            jobs.get(timeout=0)
        ready.raise_()
        killed.wait()
        assert jobs.get(timeout=10) == b"job"
        with pytest.raises(PeerDiedError):
            gate.call(b"ping", timeout=10)

    worker_waits, killed = processes.flag(), processes.flag()
    ann = processes.start(supervise)
    ready.wait()
    bob = processes.start(work)
    bob.until_asleep()
    worker_waits.raise_()
    ready.wait()
    ready.wait()
    bob.kill()
    killed.raise_()
    ann.result()


def test_object_of_its_owner_in_a_group_space_is_refused_with_owner_and_remedy(
    processes: Processes, shared_parent: Path
) -> None:
    def make() -> None:
        space = crew(shared_parent)
        Queue.create("mine", 4, 64, space=space, mode=0o600)
        Semaphore.open_or_create("mine-too", 1, space=space, mode=0o600)

    act(processes, ANN, [CREW], make)
    assert [(shared_parent / name).stat().st_mode & 0o777 for name in ("mine", "mine-too")] == [0o600, 0o600]

    def intrude() -> None:
        space = crew(shared_parent)
        for opener in (
            lambda: Queue.open("mine", space=space),
            lambda: Semaphore.open("mine-too", space=space),
            lambda: Semaphore.open_or_create("mine-too", 1, space=space),
        ):
            with pytest.raises(AccessDeniedError) as caught:
                opener()
            assert str(caught.value.filename).startswith(f"{shared_parent}/mine")
            for told in ("'mine", f"uid {ANN}", "mode 0600", f"uid {BOB}", "mode=0o660", "chmod 660"):
                assert told in str(caught.value)

    act(processes, BOB, [CREW], intrude)
    act(processes, ANN, [CREW], lambda: Queue.open("mine", space=crew(shared_parent)).put(b"x"))


def test_handles_travel_between_users_of_a_group(processes: Processes, shared_parent: Path) -> None:
    def make() -> bytes:
        space = crew(shared_parent)
        return pickle.dumps((space, Queue.create("jobs", 4, 64, space=space)))

    sent = act(processes, ANN, [CREW], make)

    def receive() -> None:
        space, queue = pickle.loads(sent)  # noqa: S301 - from a process that we started
        assert isinstance(space, Space)
        queue.put(b"by a handle")
        assert [info.name for info in space] == ["jobs"]

    act(processes, BOB, [CREW], receive)
    assert (
        act(processes, ANN, [CREW], lambda: Queue.open("jobs", space=crew(shared_parent)).get(timeout=0))
        == b"by a handle"
    )

    def intercept() -> None:
        with pytest.raises(AccessDeniedError, match=f"uid {ANN}"):
            pickle.loads(sent)  # noqa: S301 - from a process that we started

    act(processes, EVE, [], intercept)
    shutil.rmtree(shared_parent)

    def come_late() -> None:
        with pytest.raises(NotFoundError, match="does not exist"):
            pickle.loads(sent)  # noqa: S301 - from a process that we started

    act(processes, BOB, [CREW], come_late)
    assert not shared_parent.exists()


@apart
def test_group_by_name(directory: Path) -> None:
    name, number = next((group.gr_name, group.gr_gid) for group in grp.getgrall() if group.gr_gid != 0)
    Space(str(directory), group=name)
    assert directory.stat().st_gid == number
    with pytest.raises(ValueError, match="group='no such group' does not exist"):
        Space(str(directory) + "-2", group="no such group")
    for group in (-1, 2**32 - 1, 2**70):
        with pytest.raises(ValueError, match=r"group|range"):
            Space(str(directory) + "-2", group=group)


# ── modes of spaces and objects ─────────────────────────────────────────────────────────────────────────────────────


@apart
def test_modes_are_what_was_asked_for_whatever_the_umask(directory: Path) -> None:
    os.umask(0o077)
    space = Space(str(directory), mode=0o777)
    assert directory.stat().st_mode & 0o7777 == 0o777
    Queue.create("open", 1, 1, space=space)
    Queue.create("mine", 1, 1, space=space, mode=0o600)
    Semaphore.create("ours", 1, space=space, mode=0o660)
    modes = {path.name: path.stat().st_mode & 0o7777 for path in directory.iterdir()}
    assert modes == {".lives": 0o666, "open": 0o666, "mine": 0o600, "ours": 0o660}


def test_socket_of_a_port_has_its_mode(processes: Processes, shared_parent: Path) -> None:
    def make() -> list[int]:
        space = crew(shared_parent)
        with Port.create("all", space=space), Port.create("own", space=space, mode=0o600):
            sockets = [path for path in shared_parent.iterdir() if path.name.startswith("~")]
            return sorted(path.stat().st_mode & 0o777 for path in sockets)

    assert act(processes, ANN, [CREW], make) == [0o600, 0o660]


@pytest.mark.parametrize("mode", [0, 0o400, 0o640, 0o700, 0o1600, -1, 2**40])
def test_modes_that_nobody_could_use_are_refused(mode: int) -> None:
    for make in (
        lambda: Semaphore.create("x", 1, mode=mode),
        lambda: Semaphore.open_or_create("x", 1, mode=mode),
        lambda: Queue.create("x", mode=mode),
        lambda: Queue.open_or_create("x", mode=mode),
        lambda: Port.create("x", mode=mode),
    ):
        with pytest.raises(ValueError, match=r"mode=.* pass 0o600, 0o660 or 0o666"):
            make()


@pytest.mark.parametrize("mode", [0, 0o600, 0o1700, 0o2770, -1, 2**40])
def test_space_modes_that_nobody_could_use_are_refused(directory: Path, mode: int) -> None:
    with pytest.raises(ValueError, match=r"mode is not between 0o700 and 0o777"):
        Space(str(directory), mode=mode)
    assert not directory.exists()


# ── a directory that is there already ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("entered", [True, False])
def test_other_arguments_than_those_of_a_space_that_is_there_are_refused(
    processes: Processes, directory: Path, *, entered: bool
) -> None:
    place = str(directory)

    def differ() -> None:
        if entered:
            assert Space(place).path == place
        with pytest.raises(MismatchError, match=r"mode=0o700, and mode=0o755 was asked for") as caught:
            Space(place, mode=0o755)
        assert (caught.value.expected, caught.value.found) == ("mode=0o755", "there with mode=0o700")
        with pytest.raises(AccessDeniedError, match=r"does not share it with its group|its group is gid"):
            Space(place, group=grp.getgrgid(os.getgid()).gr_name)
        assert Space(place, mode=0o700).path == place
        directory.chmod(0o755)
        with pytest.raises(
            AccessDeniedError, match=r"mode 0755 allows more than 0700: chmod 700 it, or pass mode=0o755"
        ):
            Space(place)
        space = Space(place, mode=0o755)
        assert space.path == place
        space.remove()

    processes.start(lambda: Space(place).path).result()
    processes.start(differ).result()


@pytest.mark.parametrize("sticky", [True, False])
def test_directory_that_others_use_is_not_to_be_changed_for_a_space(directory: Path, *, sticky: bool) -> None:
    """`/tmp`, or `/`: chmod of it would be the ruin of the machine."""
    directory.mkdir()
    directory.chmod(0o1777 if sticky else 0o755)
    if not sticky:
        (directory / "etc").mkdir()
    with pytest.raises(AccessDeniedError, match=r"is no space, and others use it: pass a directory of") as caught:
        Space(str(directory))
    assert "chmod" not in str(caught.value)
    if not sticky:
        (directory / "etc").rmdir()
        with pytest.raises(AccessDeniedError, match="chmod 700 it"):
            Space(str(directory))
    directory.rmdir()


# ── paths ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@apart
def test_sockets_work_however_long_the_path_and_the_name_are(directory: Path) -> None:
    directory.mkdir()
    deep = directory / ("d" * 200) / ("e" * 200)
    deep.mkdir(parents=True)
    space = Space(str(deep / "space"))
    name = "n" * 200
    with Port.create(name, space=space) as port:
        server = threading.Thread(target=lambda: port.receive(timeout=10).reply(b"pong"))
        server.start()
        assert Gate.open(name, space=space).call(b"ping", timeout=10) == b"pong"
        server.join()


@apart
def test_directory_above_a_space_that_is_missing_or_none_is_named(directory: Path) -> None:
    place = directory / "deep" / "space"
    with pytest.raises(
        NotFoundError, match=rf"{place} cannot be made: {directory} does not exist; make that first"
    ) as caught:
        Space(str(place))
    assert isinstance(caught.value, FileNotFoundError)
    directory.mkdir()
    with pytest.raises(NotFoundError, match=rf"{directory}/deep does not exist"):
        Space(str(place))
    (directory / "deep").write_bytes(b"")
    with pytest.raises(AccessDeniedError, match=rf"a directory above it, {directory}/deep, is none"):
        Space(str(place))
