"""What every test gets: a space of its own, a watchdog (pyproject.toml), and a look at what it left behind."""

import gc
import multiprocessing
import os
import random
import shutil
import signal
import socket
import tempfile
import threading
import zlib
from collections.abc import Generator, Iterator
from multiprocessing import resource_tracker
from pathlib import Path

import pytest

MEMORY = "/dev/shm"  # noqa: S108 - the file system that spaces are made for
REQUIRED = Path(__file__).with_name("required.txt")

# Files of the library's own that live as long as the space.
HOUSEKEEPING = frozenset({".lives"})
# Servants of multiprocessing: started once, they stay until the interpreter ends.
SERVANTS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")

_failed = pytest.StashKey[bool]()
_session_space = pytest.StashKey[str]()


# ── what a test may leave behind: nothing ───────────────────────────────────────────────────────────────────────────


@pytest.fixture(autouse=True)
def private_space(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the test the default space to itself, and fail it if an object, a process, a thread or a descriptor is left."""
    space = Path(tempfile.mkdtemp(prefix="underpass-test-", dir=MEMORY))
    monkeypatch.setenv("UNDERPASS_DIR", str(space))
    threads_before, children_before, descriptors_before = threading.enumerate(), _children(), _descriptors()
    try:
        yield space
        threads = _still_running([thread for thread in threading.enumerate() if thread not in threads_before])
        gc.collect()  # anonymous objects go with their last handle
        multiprocessing.active_children()  # reaps those that have ended
        children = {pid: line for pid, line in _children().items() if pid not in children_before}
        _end(children)
        if request.node.stash.get(_failed, False):
            return  # its traceback keeps objects alive, and the first failure is the one to read
        left = [f"object {path}" for path in _objects(space)] + [f"thread {thread.name}" for thread in threads]
        left += [f"process {pid}: {line}" for pid, line in children.items()]
        left += [
            f"descriptor {number}: {target}"
            for number, target in _descriptors() - descriptors_before
            if not _is_housekeeping(number, target, space)
        ]
        if left:
            pytest.fail("left behind: " + ", ".join(sorted(left)), pytrace=False)
    finally:
        shutil.rmtree(space, ignore_errors=True)


def _still_running(threads: list[threading.Thread]) -> list[threading.Thread]:
    """Let threads that are about to end do so; return those that go on."""
    for thread in threads:
        thread.join(timeout=2)
    return [thread for thread in threads if thread.is_alive()]


def _objects(space: Path) -> list[Path]:
    """Return the files in ``space`` that are objects, directories of names left out."""
    if not space.exists():
        return []
    files = (path.relative_to(space) for path in space.rglob("*") if not path.is_dir())
    return [path for path in files if str(path) not in HOUSEKEEPING]


def _children() -> dict[int, str]:
    """Return the command lines of this process's children, by pid; servants of multiprocessing left out."""
    found: dict[int, str] = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            pids = (task / "children").read_text().split()
        except FileNotFoundError:
            continue  # the thread has ended
        for pid in map(int, pids):
            try:
                line = _command(Path(f"/proc/{pid}"))
            except OSError:
                continue
            if not any(servant in line for servant in SERVANTS):
                found[pid] = line
    return found


def _command(process: Path) -> str:
    """Return the command line of ``process``; between its exec and its first instruction, and once it has ended, it has none."""
    while not (line := (process / "cmdline").read_bytes()):
        if (process / "stat").read_text().rpartition(")")[2].split()[0] in "ZX":
            return "(ended, not waited for)"
    return line.replace(b"\0", b" ").decode(errors="replace").strip()


def _end(children: dict[int, str]) -> None:
    for pid in children:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            continue


def _descriptors() -> set[tuple[int, str]]:
    found: set[tuple[int, str]] = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            found.add((int(link.name), str(link.readlink())))
        except FileNotFoundError:
            continue  # the one that this loop reads from
    return found


def _is_housekeeping(number: int, target: str, space: Path) -> bool:
    """Say whether a process keeps this descriptor for good: the space and its lives, what it rings bells with, and trackers."""
    tracker: int | None = getattr(resource_tracker, "_resource_tracker")._fd  # noqa: B009 - private, and typed nowhere
    if number == tracker or target in {str(space), *(str(space / name) for name in HOUSEKEEPING)}:
        return True
    return target.startswith("socket:") and _is_sender(number)


def _is_sender(number: int) -> bool:
    """Say whether a socket can only send: datagrams, without a name of its own or a partner."""
    with socket.socket(fileno=os.dup(number)) as found:
        return found.type == socket.SOCK_DGRAM and found.family == socket.AF_UNIX and not found.getsockname()


# ── skips: named, counted, and for some tests forbidden ─────────────────────────────────────────────────────────────


def pytest_configure(config: pytest.Config) -> None:
    """Keep fixtures of wider scope out of the user's own space, and Ctrl-C working where a shell had it ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):  # a worker of pytest-xdist tells the process that started it
        config.pluginmanager.register(Reported(), "reported")
    config.stash[_session_space] = tempfile.mkdtemp(prefix="underpass-test-session-", dir=MEMORY)
    os.environ["UNDERPASS_DIR"] = config.stash[_session_space]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the session's space."""
    shutil.rmtree(config.stash[_session_space], ignore_errors=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Set apart what stays, which the collection after each test would walk through again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None]:
    """Set apart what a file of tests has imported, and what pytest notes of it."""
    yield
    if nextitem is not None and nextitem.path != item.path:
        gc.collect()
        gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note failures for the fixture above."""
    report = yield
    if report.failed:
        item.stash[_failed] = True
    return report


class Reported:
    """What the reports of a run say, wherever its tests ran: in this process, or in several."""

    def __init__(self) -> None:
        """Know of no test."""
        self.seen: set[str] = set()
        self.skipped: dict[str, str] = {}

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Count a module that skips itself whole."""
        if report.skipped:
            self.skipped[report.nodeid] = _reason(report)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test that ran, or was skipped."""
        self.seen.add(report.nodeid)
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped[report.nodeid] = _reason(report)

    def lapses(self) -> list[str]:
        """Return what breaks the promise of required.txt: in CI only, where everything is there to run them."""
        if os.environ.get("UNDERPASS_CI") != "1" or not REQUIRED.exists():
            return []
        lines = (line.split("#")[0].strip() for line in REQUIRED.read_text().splitlines())
        required = tuple(line for line in lines if line)
        lapses = [f"{node} is required and was skipped" for node in self.skipped if node.startswith(required)]
        missing = [prefix for prefix in required if not any(node.startswith(prefix) for node in self.seen)]
        return lapses + [f"{prefix} is required and did not run" for prefix in missing]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the run for a lapse."""
        if session.exitstatus == pytest.ExitCode.OK and self.lapses():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name what was skipped, and what should not have been."""
        if self.skipped:
            terminalreporter.section(f"{len(self.skipped)} skipped")
        for node, reason in sorted(self.skipped.items()):
            terminalreporter.line(f"{node}: {reason}")
        for lapse in self.lapses():
            terminalreporter.line(f"REQUIRED: {lapse}", red=True)


def _reason(report: pytest.CollectReport | pytest.TestReport) -> str:
    match report.longrepr:
        case (_, _, str(reason)):
            return reason.removeprefix("Skipped: ")
        case _:
            return "no reason given"


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    """Roll for what a test tries: in CI each test always the same; UNDERPASS_SEED repeats a roll."""
    given = int(os.environ.get("UNDERPASS_SEED", "0"))
    fixed = os.environ.get("UNDERPASS_CI") == "1"
    seed = given or (zlib.crc32(request.node.nodeid.encode()) if fixed else random.randrange(1, 2**32))
    print(f"UNDERPASS_SEED={seed}")  # noqa: T201 - shown when it fails
    return random.Random(seed)
