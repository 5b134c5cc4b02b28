"""Threads: handles that are closed, unlinked and dropped under operations that run, with the interpreter's lock or without."""

from __future__ import annotations

import gc
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.conformance.backends import PATIENCE, Threads
from underpass import ClosedError, EndOfStream, Gate, Lease, PeerDiedError, Port, Queue, Semaphore, UnderpassError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS = 40


@pytest.fixture(autouse=True)
def eager_switches() -> Iterator[None]:
    """Let threads take turns as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def until_closed(operation: Callable[[], object]) -> int:
    """Repeat it until its handle is closed; how often it went well."""
    done = 0
    try:
        while True:
            operation()
            done += 1
    except (ClosedError, EndOfStream, PeerDiedError):
        return done


def test_close_under_operations_that_do_not_wait(threads: Threads) -> None:
    for _ in range(ROUNDS):
        semaphore, queue = Semaphore(1), Queue(4, 64)

        def swing(semaphore: Semaphore = semaphore) -> None:
            semaphore.acquire()
            semaphore.release()

        def pass_on(queue: Queue = queue) -> None:
            queue.put(b"x")
            queue.get()

        actors = [threads.start(until_closed, swing), threads.start(until_closed, pass_on)]
        semaphore.close()
        queue.close()
        for actor in actors:
            assert actor.result() >= 0
        for refused in (swing, pass_on):
            with pytest.raises(ClosedError):
                refused()


def test_close_and_drop_under_operations_that_sleep(threads: Threads) -> None:
    """The sleeper pins what it sleeps on, and goes on with it when somebody else ends its sleep."""
    semaphore, queue = Semaphore.create("seats", 0), Queue.create("jobs", 4, 64)
    sleepers = [
        threads.start(Semaphore.open("seats").acquire),
        threads.start(Queue.open("jobs").get),
        threads.start(semaphore.acquire),
        threads.start(queue.get),
    ]
    for sleeper in sleepers:
        sleeper.until_asleep()
    others = Semaphore.open("seats"), Queue.open("jobs")
    semaphore.unlink()
    semaphore.close()
    queue.unlink()
    queue.close()
    del semaphore, queue
    gc.collect()
    for _ in range(2):
        others[0].release()
        others[1].put(b"x")
    assert [sleeper.result() for sleeper in sleepers] == [True, b"x", True, b"x"]


def test_port_is_closed_under_calls_and_receivers(threads: Threads) -> None:
    for _ in range(ROUNDS // 4):
        port = Port.create("desk")
        gate = Gate.open("desk")
        servers = [threads.start(port.serve_bytes, bytes.upper) for _ in range(2)]
        callers = [threads.start(until_closed, lambda gate=gate: gate.call(b"x", timeout=PATIENCE)) for _ in range(3)]
        assert gate.call(b"y", timeout=PATIENCE) == b"Y"
        port.close()
        del port
        for actor in (*servers, *callers):
            actor.result()
        gate.close()


def test_lease_is_settled_and_viewed_at_once(threads: Threads) -> None:
    """Of any views and any settling one comes first: no view of a settled lease is ever given."""
    queue = Queue(4, 64)
    for round_ in range(ROUNDS * 5):
        queue.put(b"%08d" % round_)
        lease = queue.take()
        start = threading.Barrier(3)

        def view(lease: Lease = lease, start: threading.Barrier = start, expected: bytes = b"%08d" % round_) -> bool:
            start.wait()
            try:
                with memoryview(lease) as bytes_:
                    return bytes(bytes_) == expected
            except BufferError:
                return True

        def settle(lease: Lease = lease, start: threading.Barrier = start) -> bool:
            start.wait()
            try:
                lease.done()
            except UnderpassError:
                return False
            return True

        viewers, settler = [threads.start(view), threads.start(view)], threads.start(settle)
        assert all(viewer.result() for viewer in viewers)
        if not settler.result():
            lease.done()
        assert queue.depth == 0
        del lease
    assert queue.statistics().leases == []
    queue.close()


def test_handles_come_and_go_in_many_threads(threads: Threads) -> None:
    kept = Queue.create("kept", 64, 16)

    def churn() -> None:
        for _ in range(ROUNDS):
            anonymous = Semaphore(1)
            Queue.open("kept").put(b"x", timeout=PATIENCE)
            anonymous.acquire()
            del anonymous
            Queue.open("kept").get(timeout=PATIENCE)

    for actor in [threads.start(churn) for _ in range(6)]:
        actor.result()
    assert kept.depth == 0
    kept.unlink()
