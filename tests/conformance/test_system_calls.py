"""No system call while nobody has to wait: counted by a tracer, as strace does, in 10⁵ operations of each kind.

One line for each kind of operation: what is made, what is done without waiting, and what waits, which must be counted. A call waits for its
server, and makes none while both run.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal, NamedTuple

import pytest

from tests.conformance.backends import PATIENCE, Processes
from underpass import (
    AtomicInt,
    Barrier,
    Broadcast,
    Condition,
    Event,
    Gate,
    Mutex,
    Notification,
    Once,
    Pipe,
    Port,
    Queue,
    Region,
    RWLock,
    Semaphore,
    Subscription,
    TimedOut,
    WaitSet,
)
from underpass.data import MpscRing, SpscRing, Stack
from underpass.sync import Latch, SpinLock

OPERATIONS = 100_000
# Until the interpreter has the memory that the operation needs, and the thread has a life.
WARM = 1_000
SHORT = 0.002
INTO = bytearray(8)

# A call that fails and does nothing, and that nobody else makes: it says where counting starts and ends.
MARK = 0x5EED_0000_0001

TRACE_ME, SYSCALL, SET_OPTIONS, SYSCALL_INFO = 0, 24, 0x4200, 0x420E
GOOD_STOPS, KILL_WITH_TRACER = 1, 1 << 20
ENTRY = 1
SYSCALL_STOP = signal.SIGTRAP | 0x80


def mark() -> None:
    with suppress(OSError):
        os.lseek(-1, MARK, 0)


@contextmanager
def traced(body: Callable[[], object]) -> Generator[Iterator[Counter[int]]]:
    """A process that does that: between each of its marks and the next, the system calls that it makes, by number."""
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    ptrace.restype = ctypes.c_long
    child = os.fork()
    if child == 0:
        status = 1
        try:
            ptrace(TRACE_ME, 0, None, None)
            os.kill(os.getpid(), signal.SIGSTOP)
            body()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if not os.WIFSTOPPED(status):
        pytest.skip("tracing is not permitted")
    assert ptrace(SET_OPTIONS, child, None, GOOD_STOPS | KILL_WITH_TRACER) == 0

    ended = False

    def entries() -> Iterator[tuple[int, int]]:
        nonlocal ended
        info = ctypes.create_string_buffer(88)
        pass_on = 0
        while True:
            assert ptrace(SYSCALL, child, None, pass_on) == 0
            _, status = os.waitpid(child, 0)
            if not os.WIFSTOPPED(status):
                ended = True
                assert status == 0, "the traced process failed"
                return
            pass_on = os.WSTOPSIG(status)
            if pass_on == SYSCALL_STOP:
                pass_on = 0
                assert ptrace(SYSCALL_INFO, child, len(info), ctypes.addressof(info)) > 0
                what, number, _, position = struct.unpack_from("<B23xQQQ", info)
                if what == ENTRY:
                    yield number, position

    try:
        yield between_marks(entries())
    finally:
        if not ended:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def between_marks(entries: Iterable[tuple[int, int]]) -> Iterator[Counter[int]]:
    """Count the calls by number, from each mark to the next."""
    calls: Counter[int] | None = None
    for number, position in entries:
        if position == MARK:
            if calls is not None:
                yield calls
            calls = Counter()
        elif calls is not None:
            calls[number] += 1


def calls_of(make: Callable[[], Any], operation: Callable[[Any], object], times: int, warm: int) -> Counter[int]:
    """Count the system calls, by number, that a process makes which only does that."""

    def body() -> None:
        it = make()
        for _ in range(warm):
            operation(it)
        mark()
        for _ in range(times):
            operation(it)
        mark()
        it.close()

    with traced(body) as intervals:
        [calls] = intervals
    return calls


def queue() -> Queue:
    return Queue(8, 64)


def queued() -> Queue:
    it = queue()
    it.put(b"x")
    return it


def held(fairness: Literal["barging", "arrival"] = "barging") -> Mutex:
    """Make one that another thread holds."""
    it = Mutex(fairness=fairness)
    taken, never = threading.Event(), threading.Event()
    threading.Thread(target=lambda: (it.acquire(), taken.set(), never.wait()), daemon=True).start()
    taken.wait()
    return it


def kept() -> SpinLock:
    """Make one that another thread holds."""
    it, taken, never = SpinLock(), threading.Event(), threading.Event()
    threading.Thread(target=lambda: (it.acquire(), taken.set(), never.wait()), daemon=True).start()
    taken.wait()
    return it


def run() -> Once:
    it = Once()
    it.call(int)
    return it


def wait_in(it: Condition) -> None:
    with it:
        it.wait(timeout=SHORT)


def read(it: RWLock, *then: Callable[[], object]) -> None:
    with it.reading():
        for do in then:
            do()


def write(it: RWLock, *then: Callable[[], object]) -> None:
    with it.writing():
        for do in then:
            do()


def written() -> RWLock:
    """A lock that another thread writes for good."""
    it = RWLock()
    begun, never = threading.Event(), threading.Event()
    threading.Thread(target=lambda: (it.writing().__enter__(), begun.set(), never.wait()), daemon=True).start()
    begun.wait()
    return it


def running() -> Once:
    """Make one that another thread runs."""
    it = Once()
    begun, never = threading.Event(), threading.Event()
    threading.Thread(target=lambda: it.call(lambda: (begun.set(), never.wait())), daemon=True).start()
    begun.wait()
    return it


def pipe() -> Pipe:
    return Pipe(4096)


class Channel(NamedTuple):
    """A broadcast and one who reads it, in one process."""

    broadcast: Broadcast
    mine: Subscription

    def close(self) -> None:
        self.mine.close()
        self.broadcast.close()


def lossy() -> Channel:
    broadcast = Broadcast(4096)
    return Channel(broadcast, broadcast.subscribe())


def lossless() -> Channel:
    broadcast = Broadcast(4096, when_full="wait")
    return Channel(broadcast, broadcast.subscribe())


def unread() -> Channel:
    """One whose writer waits, and no more fits."""
    broadcast = Broadcast(64, when_full="wait")
    mine = broadcast.subscribe()
    for _ in range(4):
        broadcast.publish(b"")
    return Channel(broadcast, mine)


def full() -> Queue:
    it = queue()
    it.put_many([b"x"] * it.capacity)
    return it


def lend(it: Queue) -> None:
    with it.loan(8) as loan:
        loan[:1] = b"x"
    it.get()


def late(operation: Callable[[Any], object]) -> Callable[[Any], object]:
    """Expect that the operation does not come to its end."""

    def run(it: object) -> None:
        with pytest.raises(TimedOut):
            operation(it)

    return run


Kinds = dict[str, tuple[Callable[[], Any], Callable[[Any], object]]]

NOTHING_TO_WAIT_FOR: Kinds = {
    "Semaphore.acquire, release": (lambda: Semaphore(1), lambda it: (it.acquire(), it.release())),
    "Semaphore.acquire_nowait, release": (lambda: Semaphore(1), lambda it: (it.acquire_nowait(), it.release())),
    "Semaphore.holding": (lambda: Semaphore(1), lambda it: it.holding().__enter__() or it.release()),
    "Semaphore.release, reset": (
        lambda: Semaphore(1),
        lambda it: (it.release(2), it.value, it.reset(), it.statistics()),
    ),
    "Semaphore.acquire, release, by arrival": (
        lambda: Semaphore(1, fairness="arrival"),
        lambda it: (it.acquire(), it.release(), it.release(2), it.value, it.reset(), it.release()),
    ),
    "Semaphore.holding, by priority": (
        lambda: Semaphore(1, fairness="priority"),
        lambda it: it.holding().__enter__() or it.release(),
    ),
    "Semaphore.acquire, release, leased": (
        lambda: Semaphore(2, leased=True),
        lambda it: (it.acquire(), it.acquire_nowait(), it.release(2), it.value, it.statistics()),
    ),
    "Semaphore.holding, leased, by arrival": (
        lambda: Semaphore(1, leased=True, fairness="arrival"),
        lambda it: it.holding().__enter__() or it.release(),
    ),
    "Semaphore.acquire, release, leased, by priority": (
        lambda: Semaphore(1, leased=True, fairness="priority"),
        lambda it: (it.acquire(), it.release()),
    ),
    "Mutex.acquire, release": (Mutex, lambda it: (it.acquire(), it.release())),
    "Mutex.acquire_nowait, release": (Mutex, lambda it: (it.acquire_nowait(), it.release())),
    "Mutex.acquire, release, by arrival": (
        lambda: Mutex(fairness="arrival"),
        lambda it: (it.acquire(), it.release(), it.acquire_nowait(), it.release(), it.owner),
    ),
    "Mutex.recovering, by priority": (
        lambda: Mutex(fairness="priority"),
        lambda it: it.recovering().__enter__() or it.release(),
    ),
    "Mutex.acquire, release, inheriting priority": (
        lambda: Mutex(recursive=True, inherit_priority=True),
        lambda it: (
            it.acquire(),
            it.acquire(),
            it.release(),
            it.release(),
            it.acquire_nowait(),
            it.release(),
            it.owner,
        ),
    ),
    "Mutex.recovering, inheriting priority": (
        lambda: Mutex(inherit_priority=True),
        lambda it: it.recovering().__enter__() or it.release(),
    ),
    "Mutex.recovering": (Mutex, lambda it: it.recovering().__enter__() or it.release()),
    "Notification.notify, wait": (Notification, lambda it: (it.notify(5), it.wait(4), it.wait_nowait(1), it.bits)),
    "Notification.set, clear": (Notification, lambda it: (it.set(3), it.clear(1), it.wait(2))),
    "Event.set, wait, clear": (Event, lambda it: (it.set(), it.wait(), it.is_set(), it.clear())),
    "AtomicInt.add, load": (AtomicInt, lambda it: (it.add(2), it.sub(1), it.load(), it.store(5), it.exchange(6))),
    "AtomicInt.compare_exchange, wait": (AtomicInt, lambda it: (it.compare_exchange(0, 0), it.wait(1), it.or_(0))),
    "Barrier.wait, join": (lambda: Barrier(1), lambda it: (it.wait(), it.join(), it.n_waiting, it.broken)),
    "Barrier.abort, reset": (lambda: Barrier(2), lambda it: (it.join(), it.abort(), it.reset(), it.broken)),
    "Condition.acquire, notify, release": (
        Condition,
        lambda it: (it.acquire(), it.notify(), it.notify_all(), it.release()),
    ),
    "Condition.wait_for": (
        Condition,
        lambda it: (it.acquire(), it.wait_for(lambda: True), it.statistics(), it.release()),
    ),
    "Once.call, done": (run, lambda it: (it.call(int), it.running().__enter__(), it.done, it.statistics())),
    "RWLock.reading": (RWLock, lambda it: read(it, lambda: read(it))),
    "RWLock.writing": (RWLock, lambda it: (write(it), write(it, it.downgrade))),
    "RWLock.upgrade, downgrade": (RWLock, lambda it: read(it, it.upgrade, it.downgrade, it.upgrade_nowait)),
    "SpinLock.acquire, release": (SpinLock, lambda it: (it.acquire(), it.release())),
    "Latch.count_down": (lambda: Latch(2**31 - 1), lambda it: (it.count_down(), it.count, it.statistics())),
    "Latch.wait, open": (lambda: Latch(0), lambda it: (it.wait(), it.wait_nowait())),
    "Stack.push, pop": (lambda: Stack(4), lambda it: (it.push(1), it.push(2), it.pop(), it.pop_nowait())),
    "SpscRing.write, read": (
        lambda: SpscRing(256),
        lambda it: (it.write(b"a"), it.read(), it.write_nowait(b"b"), it.read_nowait()),
    ),
    "MpscRing.claim, take": (
        lambda: MpscRing(256),
        lambda it: (it.claim(5).commit(), it.take().free(), it.depth, it.next_size),
    ),
    "Stack.purge": (lambda: Stack(4), lambda it: (it.push(1), it.depth, it.purge(), it.statistics())),
    "Queue.put, get": (queue, lambda it: (it.put(b"x"), it.get())),
    "Queue.put_nowait, get_nowait": (queue, lambda it: (it.put_nowait(b"x"), it.get_nowait())),
    "Queue.put_many, get_many": (queue, lambda it: (it.put_many((b"x", b"y")), it.get_many())),
    "Queue.get_into": (queue, lambda it: (it.put(b"x"), it.get_into(INTO))),
    "Queue.take, done": (queue, lambda it: (it.put(b"x"), it.take().done())),
    "Queue.take, put_back": (queued, lambda it: it.take().put_back()),
    "Queue.take, put_back behind": (queued, lambda it: it.take().put_back(front=False)),
    "Queue.loan, commit": (queue, lend),
    "Queue.loan, abandon": (queue, lambda it: it.loan(8).abandon()),
    "Queue.peek, depth, join": (queue, lambda it: (it.put(b"x"), it.peek(), it.depth, it.get(), it.join())),
    "Pipe.write, read": (pipe, lambda it: (it.write(b"abc"), it.read(3))),
    "Pipe.write_nowait, read_some": (pipe, lambda it: (it.write_nowait(b"abc"), it.read_some(9))),
    "Broadcast.publish, get": (lossy, lambda it: (it.broadcast.publish(b"x"), it.mine.get())),
    "Broadcast.loan, take": (lossy, lambda it: (it.broadcast.loan(8).commit(), it.mine.take().done())),
    "Broadcast.loan, take, waited for": (lossless, lambda it: (it.broadcast.loan(8).commit(), it.mine.take().done())),
    "Broadcast.publish, get, waited for": (lossless, lambda it: (it.broadcast.publish(b"x"), it.mine.get())),
    "Broadcast.publish over the oldest": (lossy, lambda it: it.broadcast.publish(b"x")),
    "Queue.purge": (queue, lambda it: (it.put(b"x"), it.purge(), it.statistics())),
    "Queue.putting": (queue, lambda it: it.putting().__enter__() or it.statistics()),
}

SOMETHING_TO_WAIT_FOR: Kinds = {
    "Semaphore.acquire": (lambda: Semaphore(0), late(lambda it: it.acquire(timeout=SHORT))),
    "Semaphore.acquire, by arrival": (
        lambda: Semaphore(0, fairness="arrival"),
        late(lambda it: it.acquire(timeout=SHORT)),
    ),
    "Semaphore.acquire, by priority": (
        lambda: Semaphore(0, fairness="priority"),
        late(lambda it: it.acquire(timeout=SHORT)),
    ),
    "Semaphore.acquire, leased": (
        lambda: Semaphore(0, leased=True),
        late(lambda it: it.acquire(timeout=SHORT)),
    ),
    "Mutex.acquire": (held, late(lambda it: it.acquire(timeout=SHORT))),
    "Mutex.acquire, by arrival": (lambda: held("arrival"), late(lambda it: it.acquire(timeout=SHORT))),
    "Notification.wait": (Notification, late(lambda it: it.wait(timeout=SHORT))),
    "Event.wait": (Event, late(lambda it: it.wait(timeout=SHORT))),
    "AtomicInt.wait": (AtomicInt, late(lambda it: it.wait(0, timeout=SHORT))),
    "Barrier.wait": (lambda: Barrier(2), late(lambda it: (it.reset(), it.wait(timeout=SHORT)))),
    "Condition.wait": (Condition, late(wait_in)),
    "Once.call": (running, late(lambda it: it.call(int, timeout=SHORT))),
    "RWLock.reading": (written, late(lambda it: it.reading(timeout=SHORT).__enter__())),
    "RWLock.writing": (written, late(lambda it: it.writing(timeout=SHORT).__enter__())),
    "SpinLock.acquire": (kept, late(lambda it: it.acquire(timeout=SHORT))),
    "Latch.wait": (lambda: Latch(1), late(lambda it: it.wait(timeout=SHORT))),
    "SpscRing.read": (lambda: SpscRing(64), late(lambda it: it.read(timeout=SHORT))),
    "MpscRing.take": (lambda: MpscRing(64), late(lambda it: it.take(timeout=SHORT))),
    "Stack.pop": (lambda: Stack(1), late(lambda it: it.pop(timeout=SHORT))),
    "Queue.get": (queue, late(lambda it: it.get(timeout=SHORT))),
    "Queue.take": (queue, late(lambda it: it.take(timeout=SHORT))),
    "Queue.put": (full, late(lambda it: it.put(b"x", timeout=SHORT))),
    "Queue.loan": (full, late(lambda it: it.loan(8, timeout=SHORT))),
    "Pipe.read": (pipe, late(lambda it: it.read(1, timeout=SHORT))),
    "Subscription.get": (lossy, late(lambda it: it.mine.get(timeout=SHORT))),
    "Broadcast.publish": (unread, late(lambda it: it.broadcast.publish(b"x", timeout=SHORT))),
    "Queue.join": (full, late(lambda it: it.join(timeout=SHORT))),
}


def test_no_system_call_for_the_bytes_of_a_region() -> None:
    def touch(it: Region) -> None:
        it[1] = it[0]
        memoryview(it).release()
        assert (len(it), it[0:2], it.sealed) == (64, b"\0\0", False)

    assert calls_of(lambda: Region(64), touch, OPERATIONS, WARM) == {}


@pytest.mark.parametrize("kind", NOTHING_TO_WAIT_FOR)
def test_no_system_call_while_nobody_waits(kind: str) -> None:
    make, operation = NOTHING_TO_WAIT_FOR[kind]
    assert calls_of(make, operation, OPERATIONS, WARM) == {}
    # The same tracer sees what waits.
    waits = next(slow for slow in SOMETHING_TO_WAIT_FOR if slow.split(".")[0] == kind.split(".", maxsplit=1)[0])
    make, operation = SOMETHING_TO_WAIT_FOR[waits]
    assert calls_of(make, operation, 3, 1).total() >= 3


def test_no_system_call_where_the_oldest_goes_and_nobody_holds_any() -> None:
    it = Queue(4, 64, when_full="drop_oldest")
    # Another process, which lives, is on its roster.
    with it.putting():
        it.put_many([b"x"] * it.capacity)
        assert calls_of(lambda: it, lambda it: it.put(b"x"), OPERATIONS, WARM) == {}


@pytest.mark.parametrize("kind", SOMETHING_TO_WAIT_FOR)
def test_waiting_is_counted(kind: str) -> None:
    make, operation = SOMETHING_TO_WAIT_FOR[kind]
    assert calls_of(make, operation, 3, 1).total() >= 3


# Lives that came and went, and the calls that a process makes which begins to wait at descriptors: for its bell, and for who lives.
GONE, FEW = 120, 60


def test_the_dead_cost_who_begins_to_wait_at_descriptors_nothing() -> None:
    event = Event()
    for _ in range(GONE):
        child = os.fork()
        if child == 0:
            Event().close()
            os._exit(0)
        os.waitpid(child, 0)

    def body() -> None:
        members = WaitSet()
        event.is_set()
        mark()
        members.add(event)
        mark()
        members.close()

    with traced(body) as intervals:
        [calls] = intervals
    assert 0 < calls.total() <= FEW


# Calls in a row. The scheduler may take either partner off its processor at any time, and then the other one sleeps, which is right: it is
# not to happen in all of them.
SERIES = 500
SCHED_GETAFFINITY = 204
# Who spins asks once in 256 times which processors it may use.
LOOKS = 256


def call_for_ever() -> None:
    gate = Gate.open("desk", timeout=PATIENCE)
    while True:
        mark()
        for _ in range(SERIES):
            gate.call(b"x")


def serve_for_ever() -> None:
    served = 0

    def handle(data: bytes) -> bytes:
        nonlocal served
        served += 1
        if served % SERIES == 0:
            mark()
        return data

    Port.create("desk").serve_bytes(handle)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU: whoever waits has to sleep")
@pytest.mark.parametrize(("body", "partner"), [(call_for_ever, serve_for_ever), (serve_for_ever, call_for_ever)])
def test_no_system_call_in_calls_between_partners_that_run(
    body: Callable[[], None], partner: Callable[[], None], processes: Processes
) -> None:
    one, other, *_ = sorted(os.sched_getaffinity(0))

    def on(cpu: int, run: Callable[[], None]) -> Callable[[], None]:
        return lambda: (os.sched_setaffinity(0, {cpu}), run())[1]

    untraced = processes.start(on(other, partner))
    with traced(on(one, body)) as intervals:
        # The watchdog ends it where there is none.
        spun = next(calls for calls in intervals if not {*calls} - {SCHED_GETAFFINITY})
        assert spun.total() <= 2 * SERIES // LOOKS + 1
    untraced.kill()
    Port.create("desk").close()


def test_waiting_in_a_call_is_counted(processes: Processes) -> None:
    def keep() -> None:
        port = Port.create("desk")
        requests = [port.receive() for _ in range(100)]
        assert not requests, "more calls than were made"

    server = processes.start(keep)

    def call() -> Gate:
        return Gate.open("desk", timeout=PATIENCE)

    assert calls_of(call, late(lambda it: it.call(b"x", timeout=SHORT)), 3, 0).total() >= 3
    server.kill()
    Port.create("desk").close()
