"""The end of the interpreter: with live handles, blocked daemon threads, exit handlers before and after ours."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.conformance.backends import new_interpreter
from underpass import Queue, Space

if TYPE_CHECKING:
    from pathlib import Path

BLOCKED = """
import contextlib, threading, time, pathlib, underpass
queue, full, seats, port, idle = underpass.Queue(1, 8), underpass.Queue(1, 8), underpass.Semaphore(0), underpass.Port(), underpass.Port()
full.put(b"x")
gate = port.gate()
operations = [queue.get, queue.take, seats.acquire, idle.receive, lambda: full.put(b"y"), lambda: gate.call(b"x"), seats.acquire]
def run(operation):
    with contextlib.suppress(underpass.UnderpassError):
        operation()
threads = [threading.Thread(target=run, args=(operation,), daemon=True) for operation in operations]
for thread in threads:
    thread.start()
def asleep(thread):
    return pathlib.Path(f"/proc/self/task/{{thread.native_id}}/syscall").read_text().startswith("449 ")
while not all(map(asleep, threads)):
    time.sleep(0.001)
{end}
"""


def run(script: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=50)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    "end",
    ["pass", "seats.release(10); queue.put(b'x')", "queue.shutdown(); port.close(); idle.close()"],
    ids=["asleep", "woken", "ended"],
)
def test_daemon_threads_that_are_blocked_do_not_keep_or_crash_the_end(private_space: Path, end: str) -> None:
    assert run(BLOCKED.format(end=end)) == (0, "")
    Space.default().sweep()
    assert [path.name for path in private_space.iterdir()] == [".lives"]


def test_daemon_threads_whose_time_runs_out_during_the_end() -> None:
    """They wake while the interpreter goes away, and may not come back to it."""
    script = """
import atexit, threading, time, underpass
queue = underpass.Queue(1, 8)
def poll():
    while True:
        try:
            queue.get(timeout=0.0005)
        except underpass.TimedOut:
            pass
for _ in range(8):
    threading.Thread(target=poll, daemon=True).start()
"""
    for _ in range(5):
        assert run(script) == (0, "")


def test_exit_handlers_of_the_program_run_before_and_after_ours(private_space: Path) -> None:
    script = """
import atexit
def last():
    queue.put(b"x")
    print(queue.get(), flush=True)
    late = underpass.Semaphore(1)
    late.acquire()
    late.close()
atexit.register(last)
import underpass
queue = underpass.Queue(4, 16)
atexit.register(lambda: queue.put(b"first"))
"""
    assert new_interpreter(script) == "b'first'"
    assert [path.name for path in private_space.iterdir()] == [".lives"]


def test_live_handles_of_every_kind_at_the_end(private_space: Path) -> None:
    """Modules are torn down in any order, and cycles never collected."""
    script = """
import underpass, sys
queue = underpass.Queue(4, 16, max_deliveries=1)
queue.put_many([b"a", b"b"])
lease, loan, view = queue.take(), queue.loan(3), None
view = memoryview(lease)
port = underpass.Port.create("desk")
gate = underpass.Gate.open("desk")
letters, leases, putting = queue.dead_letters, queue.leases(), queue.putting()
putting.__enter__()
class Cycle: pass
cycle = Cycle()
cycle.self, cycle.all = cycle, [queue, lease, loan, view, port, gate, letters, leases, putting]
cycle.more = [underpass.Semaphore(1), underpass.Space.default()]
sys.modules["__main__"].keep = sys.kept = cycle
"""
    assert run(script) == (0, "")
    Space.default().sweep()
    left = sorted(path.name for path in private_space.iterdir())
    if "desk" in left:  # the port was never collected: who next makes one takes the name over
        new_interpreter("import underpass; underpass.Port.create('desk').close()")
    assert sorted(path.name for path in private_space.iterdir()) == [".lives"]


def test_end_without_exit_handlers_is_swept_by_who_enters(private_space: Path) -> None:
    script = "import os, underpass; q = underpass.Queue(1, 8); s = underpass.Semaphore(1); os._exit(0)"
    new_interpreter(script)
    assert len(list(private_space.iterdir())) == 3
    new_interpreter("import underpass; underpass.Space.default()")
    assert [path.name for path in private_space.iterdir()] == [".lives"]


def test_second_interpreter_of_a_process_is_refused_and_the_first_goes_on() -> None:
    interpreters = pytest.importorskip("_xxsubinterpreters" if sys.version_info < (3, 13) else "_interpreters")
    queue = Queue(1, 16)
    other = interpreters.create()
    script = f"""
import sys
sys.path[:] = {sys.path!r}
try:
    import underpass
except ImportError as error:
    assert "subinterpreters" in str(error), error
else:
    raise AssertionError("it was imported")
"""
    failed = interpreters.run_string(other, script)  # older ones raise
    interpreters.destroy(other)
    assert failed is None
    queue.put(b"x")
    assert queue.get() == b"x"
    queue.close()
