"""Forks in the middle of things: the child holds nothing and binds anew, the parent loses nothing."""

from __future__ import annotations

import gc
import os
import select
import signal
import threading
from typing import TYPE_CHECKING, cast

import pytest

from tests.conformance.backends import PATIENCE, Processes, apart, new_interpreter, sleeps_in_library, until
from underpass import Event, Gate, MisuseError, Pool, Port, Queue, Semaphore, Space, WaitSet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def in_a_fork(function: Callable[[], object]) -> int:
    """Run it in a forked child, which ends at once; its exit code, 0 if it returned something true."""
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            code = 0 if function() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# ── another thread is in the middle of an operation ─────────────────────────────────────────────────────────────────


@apart
def test_child_uses_the_objects_that_threads_of_its_parent_use() -> None:
    """Operations of every kind are under way at each of many forks: none of their locks stays held in a child."""
    jobs, seats, calls = Queue(4, 64), Semaphore(2), Queue(64, 64)
    port = Port()
    gate = port.gate()
    stop = threading.Event()

    def shuffle() -> None:
        jobs.put(b"x", timeout=PATIENCE)
        with jobs.take(timeout=PATIENCE) as job:
            assert job.deliveries == 1
        seats.acquire(timeout=PATIENCE)
        seats.release()

    def make() -> None:
        Semaphore(1).close()
        Space.default().sweep()

    def repeat(action: Callable[[], object]) -> None:
        while not stop.is_set():
            action()

    def ask() -> None:
        gate.call(b"x", timeout=PATIENCE)

    threads = [threading.Thread(target=repeat, args=(action,)) for action in (shuffle, make, ask)]
    threads.append(threading.Thread(target=port.serve_bytes, args=(bytes.upper,)))
    for thread in threads:
        thread.start()

    def use_all() -> bool:
        calls.put(gate.call(b"a", timeout=PATIENCE))
        seats.acquire(timeout=PATIENCE)
        seats.release()
        made = Queue.open_or_create("made", 4, 64)
        made.put(b"x", timeout=PATIENCE)
        return made.get(timeout=PATIENCE) == b"x"

    try:
        codes = [in_a_fork(use_all) for _ in range(30)]
    finally:
        stop.set()
        for thread in threads[:-1]:
            thread.join()
        port.close()
        threads[-1].join()
    assert codes == [0] * 30
    assert (seats.value, jobs.depth, calls.depth) == (2, 0, 30)
    Queue.open("made").unlink()
    for obj in (jobs, seats, calls):
        obj.close()


def test_child_of_a_fork_in_a_sleeping_neighbour_is_somebody_else(processes: Processes) -> None:
    """A thread sleeps in a get while another forks: the child gets what it asks for, and the sleeper its message."""
    jobs, answers = Queue(4, 64), Queue(4, 64)

    def run() -> int:
        sleeper = threading.Thread(target=lambda: answers.put(jobs.get()))
        sleeper.start()
        until(lambda: sleeps_in_library(os.getpid(), cast("int", sleeper.native_id)), "the sleep")
        code = in_a_fork(lambda: answers.put(b"from the child") is None and jobs.depth == 0)
        jobs.put(b"for the sleeper")
        sleeper.join()
        return code

    assert processes.start(run).result() == 0
    assert answers.get_many() == [b"from the child", b"for the sleeper"]


# ── the forking thread itself is in the middle ──────────────────────────────────────────────────────────────────────


@apart
def test_fork_inside_a_handler_of_calls() -> None:
    """The child neither receives nor answers; the call under way is the parent's to answer."""
    port = Port.create("desk")
    codes: list[int] = []

    def as_a_child() -> bool:
        for refused in (lambda: port.receive(timeout=0), lambda: port.serve_bytes(bytes.upper)):
            with pytest.raises(MisuseError, match="forked"):
                refused()
        port.close()  # its own copy alone
        return True

    def handle(data: bytes) -> bytes:
        codes.append(in_a_fork(as_a_child))
        if len(codes) == 2:
            threading.Thread(target=port.close).start()
        return data.upper()

    answers: list[bytes] = []
    gate = Gate.open("desk")
    caller = threading.Thread(
        target=lambda: answers.extend([gate.call(b"a", timeout=PATIENCE), gate.call(b"b", timeout=PATIENCE)])
    )
    caller.start()
    port.serve_bytes(handle)
    caller.join()
    assert (codes, answers) == ([0, 0], [b"A", b"B"])


@apart
def test_fork_inside_a_loop_over_leases() -> None:
    jobs = Queue(4, 64)
    jobs.put_many([b"a", b"b"])
    jobs.shutdown()
    for lease in jobs.leases():

        def as_a_child() -> bool:
            with pytest.raises(MisuseError, match="forked"):
                lease.done()  # noqa: B023 - called in this turn
            assert len(jobs.statistics().leases) == 1
            return True

        assert in_a_fork(as_a_child) == 0
        assert [holding.pid for holding in jobs.statistics().leases] == [os.getpid()]
        lease.done()
    jobs.join(timeout=0)
    jobs.close()


@apart
def test_childs_garbage_leaves_the_parents_leases_and_loans_alone() -> None:
    jobs = Queue(4, 64)
    jobs.put(b"a")
    held: list[object] = [jobs.take(), jobs.loan(3)]

    def forget() -> bool:
        held.clear()
        return jobs.depth == 0

    assert in_a_fork(forget) == 0
    assert (len(jobs.statistics().leases), len(jobs.statistics().loans)) == (1, 1)
    held.clear()
    assert jobs.get(timeout=0) == b"a"
    jobs.close()


@apart
def test_a_childs_copies_of_leases_loans_and_blocks_give_no_bytes() -> None:
    jobs, pool = Queue(4, 64), Pool(1, 64)
    jobs.put(b"a")
    for held in (jobs.take(), jobs.loan(3), pool.alloc()):

        def look() -> bool:
            with pytest.raises(BufferError, match="forked"):
                memoryview(held)  # noqa: B023 - called in this turn
            return True

        assert in_a_fork(look) == 0
        assert len(memoryview(held)) > 0


@apart
def test_a_set_in_a_cycle_that_a_child_collects_stays_its_parents() -> None:
    readable, writable = os.pipe()
    members, cycle = WaitSet(), list[object]()
    cycle.append(members)
    # The set keeps the handler, and that the set.
    members.add(Event(), cycle.append)
    members.add(readable)
    kept = [members]
    del members, cycle

    def collect() -> bool:
        kept.clear()
        gc.collect()
        return True

    assert in_a_fork(collect) == 0
    os.write(writable, b"a")
    assert kept[0].wait(timeout=PATIENCE) == [readable]
    kept.pop().close()
    os.close(readable)
    os.close(writable)


def test_child_of_a_signal_handler_ends_and_the_wait_goes_on(processes: Processes) -> None:
    jobs, answers = Queue(4, 64), Queue(4, 64)

    def run() -> bytes:
        def fork(_number: int, _frame: object) -> None:
            answers.put(b"%d" % in_a_fork(lambda: answers.put(b"child") is None))

        signal.signal(signal.SIGUSR1, fork)
        return jobs.get()

    waiter = processes.start(run)
    waiter.until_asleep()
    waiter.signal(signal.SIGUSR1)
    assert [answers.get(timeout=PATIENCE) for _ in range(2)] == [b"child", b"0"]
    waiter.until_asleep()
    jobs.put(b"x")
    assert waiter.result() == b"x"


def test_child_that_exits_the_long_way_removes_nothing_of_its_parents(private_space: Path) -> None:
    """And claims no life in order to leave: exit handlers run in both."""
    script = """
import os, sys, underpass
seats = underpass.Semaphore(1)
pid = os.fork()
if pid == 0:
    sys.exit()
os.waitpid(pid, 0)
print(len(os.listdir(underpass.Space.default().path)), seats.acquire(timeout=0))
"""
    assert new_interpreter(script) == "2 True"
    assert os.listdir(private_space) == [".lives"]  # noqa: PTH208


@apart
def test_child_that_drops_its_copy_of_a_bound_gate_leaves_the_parents_channel_alone() -> None:
    with Port() as port:
        server = threading.Thread(target=port.serve_bytes, args=(bytes.upper,))
        server.start()
        gates = [port.gate(), port.gate()]
        for gate in gates:
            assert gate.call(b"bound", timeout=PATIENCE) == b"BOUND"

        def drop() -> bool:
            gates[0].close()
            gates.clear()
            return True

        assert in_a_fork(drop) == 0
        # The server meets a newcomer, and forgets the channels that were given up.
        assert port.gate().call(b"new", timeout=PATIENCE) == b"NEW"
        for gate in gates:
            assert gate.call(b"still", timeout=PATIENCE) == b"STILL"
        assert port.statistics().clients >= len(gates)
        port.close()
        server.join()


def test_the_handles_that_a_child_closes_tell_its_parent_nothing() -> None:
    event = Event()
    with WaitSet() as members:
        members.add(event)
        assert members.ready(everything=True) == []
        pid = os.fork()
        if pid == 0:
            event.close()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        # The bell was not rung: what it is asked for first is known without a look at descriptors.
        with select.epoll() as poller:
            poller.register(members.filenos()[1], select.EPOLLIN)
            assert poller.poll(0) == []
        event.set()
        assert members.wait(timeout=PATIENCE) == [event]


def test_a_child_leaves_its_parents_set_alone() -> None:
    with WaitSet() as members:
        members.add(Event())

        def refused() -> bool:
            for use in (lambda: len(members), members.wait, members.ready, lambda: members.remove(1)):
                with pytest.raises(MisuseError, match="belongs to the process that made it"):
                    use()
            members.close()
            return repr(members) == "<WaitSet, of another process>"

        assert in_a_fork(refused) == 0
        assert len(members) == 1
