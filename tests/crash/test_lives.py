"""The ends of processes, as the users of objects see them: what the dead held comes back, at once, by the kernel's word."""

import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conformance.backends import PATIENCE, Processes, apart, until
from underpass import Event, MisuseError, Mutex, Queue, Semaphore, Space, WaitSet, _core

NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc")
WORKER = Path(__file__).with_name("namespaced_worker.py")


@pytest.fixture(autouse=True)
def no_recheck() -> Iterator[None]:
    """Turn the re-check off: whoever is told here is told by the kernel."""
    _core.set_recheck(None)
    yield
    _core.set_recheck(1.0)


def by_exec() -> None:
    os.execl("/bin/sleep", "sleep", "60")  # noqa: S606 - no shell: the end of one program in one process


def by_exec_in_a_thread() -> None:
    threading.Thread(target=by_exec).start()
    threading.Event().wait()


def by_sigkill() -> None:
    os.kill(os.getpid(), 9)


def by_exit() -> None:
    os._exit(0)


def has_ended(pid: int) -> bool:
    """Say whether a process that is not our child has ended; whoever adopted it may be slow to bury it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


ENDS = (by_sigkill, by_exit, by_exec, by_exec_in_a_thread)


@pytest.mark.parametrize("end", ENDS, ids=[end.__name__ for end in ENDS])
def test_lease_of_a_process_comes_back_to_a_sleeping_getter(processes: Processes, end: Callable[[], None]) -> None:
    queue = Queue(4, 16)
    queue.put(b"work")
    taken, go = processes.flag(), processes.flag()

    def hold() -> None:
        lease = queue.take()
        taken.raise_()
        go.wait()
        end()
        lease.done()

    holder = processes.start(hold)
    taken.wait()
    getter = processes.start(queue.get)
    getter.until_asleep()
    holder.killed = True
    go.raise_()
    assert getter.result() == b"work"
    holder.kill()


def test_lease_comes_back_while_a_forked_child_lives_on(processes: Processes) -> None:
    queue = Queue(4, 16)
    queue.put(b"work")
    taken, go, forked = processes.flag(), processes.flag(), processes.flag()
    child_reader, child_writer = os.pipe()

    def hold() -> None:
        lease = queue.take()
        child = os.fork()
        if child == 0:
            forked.raise_()
            go.wait()  # an unchanged copy of its parent, with all of its handles and descriptors
            os._exit(0)
        os.write(child_writer, b"%d" % child)
        taken.raise_()
        threading.Event().wait()
        lease.done()

    holder = processes.start(hold)
    taken.wait()
    forked.wait()
    child = int(os.read(child_reader, 16))
    getter = processes.start(queue.get)
    getter.until_asleep()
    holder.kill()
    assert getter.result() == b"work"
    assert not has_ended(child)
    go.raise_()
    until(lambda: has_ended(child), "the end of the forked child")
    os.close(child_reader)
    os.close(child_writer)


def test_lease_of_a_double_forked_process_comes_back(processes: Processes) -> None:
    queue = Queue(4, 16)
    queue.put(b"work")
    taken, go = processes.flag(), processes.flag()

    def daemonise() -> None:
        if os.fork() == 0:
            lease = queue.take()
            taken.raise_()
            go.wait()
            by_sigkill()
            lease.done()

    processes.start(daemonise).result()
    taken.wait()
    getter = processes.start(queue.get)
    getter.until_asleep()
    go.raise_()
    assert getter.result() == b"work"


def test_end_of_the_thread_that_took_it_does_not_give_a_lease_back(processes: Processes) -> None:
    """Leases belong to processes."""
    queue = Queue(4, 16)
    queue.put(b"work")
    taken, go = processes.flag(), processes.flag()

    def hold() -> None:
        leases = list[object]()
        thread = threading.Thread(target=lambda: leases.append(queue.take()))
        thread.start()
        thread.join()
        taken.raise_()
        go.wait()
        by_sigkill()

    holder = processes.start(hold)
    taken.wait()
    getter = processes.start(queue.get)
    getter.until_asleep()
    assert [holding.pid for holding in queue.statistics().leases] == [holder.pid]
    holder.killed = True
    go.raise_()
    assert getter.result() == b"work"


# ── another pid namespace ───────────────────────────────────────────────────────────────────────────────────────────


def worker_in_a_namespace(verb: str) -> "subprocess.Popen[str]":
    tried = subprocess.run([*NAMESPACE, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no pid namespace for this user: {tried.stderr.strip()}")
    command = [*NAMESPACE, "--kill-child", sys.executable, str(WORKER), verb]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def first_of(namespace: "subprocess.Popen[str]") -> int:
    """Return the pid that we have for the worker, which itself counts as 1."""
    return int(Path(f"/proc/{namespace.pid}/task/{namespace.pid}/children").read_text())


def line_of(worker: "subprocess.Popen[str]") -> str:
    assert worker.stdout is not None
    assert select.select([worker.stdout], [], [], PATIENCE)[0], "the worker says nothing"
    return worker.stdout.readline().strip()


def test_lease_of_a_process_in_another_pid_namespace_comes_back(processes: Processes) -> None:
    queue = Queue.create("across", 4, 16)
    queue.put(b"work")
    with worker_in_a_namespace("take") as worker:
        assert line_of(worker) == "1 has work"
        assert queue.statistics().leases[0].pid == 1
        getter = processes.start(queue.get)
        getter.until_asleep()
        os.kill(first_of(worker), 9)
        assert getter.result() == b"work"
    queue.unlink()


def test_getter_in_another_pid_namespace_inherits_a_lease(processes: Processes) -> None:
    queue = Queue.create("across", 4, 16)
    queue.put(b"work")
    taken = processes.flag()

    def hold() -> None:
        lease = queue.take()
        taken.raise_()
        threading.Event().wait()
        lease.done()

    holder = processes.start(hold)
    taken.wait()
    with worker_in_a_namespace("get") as worker:
        assert line_of(worker) == "1 waits"
        until(lambda: Path(f"/proc/{first_of(worker)}/syscall").read_text().startswith("449 "), "the getter's sleep")
        holder.kill()
        assert line_of(worker) == "1 has work"
    queue.unlink()


@apart
def test_a_newcomer_lives_once_in_a_space_where_somebody_listens(processes: Processes, private_space: Path) -> None:
    beside = Space(private_space / "beside")
    mutex, elsewhere = Mutex(), Mutex.create("elsewhere", space=beside)
    listens, never = processes.flag(), processes.flag()

    def listen() -> None:
        members = WaitSet()
        members.add(Event())
        listens.raise_()
        never.wait()

    def use_both() -> bool:
        with mutex, elsewhere:
            pass
        with pytest.raises(MisuseError, match="this thread holds it already"), mutex, elsewhere:
            mutex.acquire()
        return mutex.owner is None

    def wait_for_oneself() -> None:
        semaphore = Semaphore(1, leased=True)
        semaphore.acquire()
        semaphore.acquire()

    def is_told(pid: int) -> bool:
        return [waiter.cycle is not None for waiter in Space.default().waits() if waiter.pid == pid] == [True]

    listener = processes.start(listen)
    listens.wait()
    # Whoever comes tells it, and once it was killed, nobody.
    for _ in range(2):
        assert processes.start(use_both).result()
        actor = processes.start(wait_for_oneself)
        actor.until_asleep()
        until(lambda actor=actor: is_told(actor.pid), "its circle")
        actor.kill()
        listener.kill()
    elsewhere.unlink()
    beside.remove()
    # What the killed had of their own.
    Space.default().sweep()
