"""Programs that close descriptors they do not know: daemons, and whoever reads the table of lives. They are not dead."""

import os
import pickle
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conformance.backends import PATIENCE, Processes, new_interpreter, until
from tests.crash.test_lives import NAMESPACE, has_ended, line_of
from underpass import Queue, Semaphore, Space, TimedOut, UnderpassError, WaitSet, WouldBlock, _core

# What library daemons do after their fork; then the numbers are taken by files of the program.
CLOSE_ALL = """
import os
os.closerange(3, 4096)
others = [os.open(os.devnull, os.O_RDWR) for _ in range(40)]
"""
COPY_TABLE = """
import os, pathlib
pathlib.Path(os.environ["UNDERPASS_DIR"], ".lives").read_bytes()
"""
# Takes a lease, loses its lock, and then does as it is told, line by line.
HOLDER = """
import sys, underpass
jobs = underpass.Queue.open("jobs")
lease = jobs.take()
kept = underpass.Semaphore(0)
{lose}
print("lost", flush=True)
for line in sys.stdin:
    exec(line)
    print("did it", flush=True)
"""
LOSSES = pytest.mark.parametrize("lose", [CLOSE_ALL, COPY_TABLE], ids=["closes all", "reads the table"])


class Holder:
    """A process that holds a lease of the queue ``jobs``, and has lost its record lock."""

    def __init__(self, worker: "subprocess.Popen[str]") -> None:
        self.worker = worker
        assert line_of(worker) == "lost"

    def do(self, line: str) -> None:
        """Let it run one line."""
        assert self.worker.stdin is not None
        self.worker.stdin.write(line + "\n")
        self.worker.stdin.flush()
        assert line_of(self.worker) == "did it"


@contextmanager
def holder(lose: str, *prefix: str) -> Generator[Holder]:
    command = [*prefix, sys.executable, "-c", HOLDER.format(lose=lose)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        try:
            yield Holder(worker)
        finally:
            worker.kill()


@pytest.fixture
def jobs() -> Iterator[Queue]:
    queue = Queue.create("jobs", 4, 64)
    queue.put(b"work")
    yield queue
    queue.unlink()
    Space.default().sweep()  # what killed holders left


@pytest.fixture
def no_recheck() -> Iterator[None]:
    """Turn the re-check off: whoever is told here is told by the kernel."""
    _core.set_recheck(None)
    yield
    _core.set_recheck(1.0)


def is_leased(jobs: Queue) -> bool:
    """Say whether somebody who looks for himself leaves the lease alone."""
    try:
        jobs.take(timeout=0).put_back()
    except UnderpassError:
        return True
    return False


@LOSSES
def test_process_that_lost_its_lock_is_not_dead(jobs: Queue, lose: str) -> None:
    with holder(lose) as other:
        assert is_leased(jobs)
        assert Space.default().sweep() == []
        other.do("kept.release(); kept.acquire(); lease.done()")
        assert jobs.depth == 0


@LOSSES
def test_end_of_a_process_that_lost_its_lock_is_told(processes: Processes, jobs: Queue, lose: str) -> None:
    with holder(lose) as other:
        getter = processes.start(jobs.get)
        getter.until_asleep()
        other.worker.kill()
        assert getter.result() == b"work"
    assert len(Space.default().sweep()) == 1


@LOSSES
@pytest.mark.usefixtures("no_recheck")
def test_end_of_a_process_that_lost_its_lock_is_told_at_descriptors(jobs: Queue, lose: str) -> None:
    with holder(lose) as other, WaitSet() as members:
        members.add(jobs)
        with pytest.raises(TimedOut):
            members.wait(timeout=0)
        other.worker.kill()
        assert members.wait() == [jobs]
    assert len(Space.default().sweep()) == 1


@LOSSES
def test_process_that_lost_its_lock_uses_and_makes_objects(jobs: Queue, lose: str) -> None:
    with holder(lose) as other:
        other.do(
            "underpass.Queue.create('made', 1, 8).put(b'x'); underpass.Semaphore.open_or_create('both', 1).close()"
        )
        other.do("assert len(list(underpass.Space.default())) == 4; assert underpass.Space.default().sweep() == []")
        other.do("underpass.Port.create('desk').close()")
        for name, kind in (("made", Queue), ("both", Semaphore)):
            kind.open(name).unlink()
        assert is_leased(jobs)


def test_files_that_took_the_numbers_stay_open(private_space: Path) -> None:
    script = f"""
import sys, underpass
space = underpass.Space(sys.argv[1])
{CLOSE_ALL}
space.remove()
del space
underpass.Space(sys.argv[1]).remove()  # entering it forgets the first one
print({{os.readlink(f"/proc/self/fd/{{other}}") for other in others}})
"""
    assert new_interpreter(script, f"{private_space}-other") == f"{{{os.devnull!r}}}"


def test_slot_of_a_process_that_lost_its_lock_is_not_given_away(processes: Processes, jobs: Queue) -> None:
    """By another process, since a slot comes round after 4,096 others."""
    next_process = 384 + 8
    again = f"""
import os, struct
table = os.open(os.environ["UNDERPASS_DIR"] + "/.lives", os.O_RDWR)
after, = struct.unpack("I", os.pread(table, 4, {next_process}))
os.pwrite(table, struct.pack("I", after - 1), {next_process})
"""
    with holder(CLOSE_ALL):
        new_interpreter(again)

        def newcomer() -> bool:
            Semaphore(1).acquire()
            return is_leased(jobs)

        assert processes.start(newcomer).result()
        assert is_leased(jobs)


def test_lock_is_taken_again_where_threads_cannot_be_seen(jobs: Queue) -> None:
    tried = subprocess.run([*NAMESPACE, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no pid namespace for this user: {tried.stderr.strip()}")
    repair = "\nunderpass.Semaphore(1).close()"  # whatever makes or opens an object
    for lose in (CLOSE_ALL + repair, COPY_TABLE + repair):
        with holder(lose, *NAMESPACE, "--kill-child"):
            assert is_leased(jobs)
        assert jobs.take(timeout=PATIENCE).put_back() is None


DAEMON = """
import os, pickle, sys, underpass
orders, report = underpass.Queue.open("orders"), underpass.Queue.open("report")
before = underpass.Semaphore(1)
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
os.chdir("/")
os.closerange(0, 4096)
files = [os.open(os.devnull, os.O_RDWR) for _ in range(40)]
made = underpass.Semaphore(7)
lease = orders.take()
report.put(pickle.dumps((os.getpid(), made, before.value)))
underpass.Queue.open("never").get()
"""


def test_daemon_is_alive_though_it_closed_everything_and_its_creators_are_gone(private_space: Path) -> None:
    orders, report, never = (Queue.create(name, 4, 4096) for name in ("orders", "report", "never"))
    orders.put(b"work")
    subprocess.run([sys.executable, "-c", DAEMON], check=True)
    pid, made, before = pickle.loads(report.get(timeout=PATIENCE))  # noqa: S301 - our own bytes
    assert before == 1, "what it inherited works on"
    assert made.value == 7
    swept = Space.default().sweep()
    assert len(swept) <= 1, "what its first process left goes, what the daemon made stays"
    assert made.acquire(timeout=0)
    with pytest.raises(WouldBlock):
        orders.take_nowait()
    assert [holding.pid for holding in orders.statistics().leases] == [pid]
    os.kill(pid, 9)
    assert orders.get(timeout=PATIENCE) == b"work"
    until(lambda: has_ended(pid), "the end of the daemon")
    assert len(Space.default().sweep()) == 1
    for queue in (orders, report, never):
        queue.unlink()
    assert [path.name for path in private_space.iterdir()] == [".lives"]
