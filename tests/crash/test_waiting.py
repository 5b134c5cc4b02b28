"""The one wait, as Python sees it: Ctrl-C, handlers, time-outs, other threads, and what it costs to be asleep."""

import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.backends import Processes, until
from underpass import AtomicInt, Barrier, Condition, Event, Gate, Notification, Port, Queue, Semaphore, TimedOut, _core

Verb = Callable[[float | None], object]
SOON = (0.0, 1e-9, 1e-6, 1e-5, 1e-4, 1e-3, 0.0123)


class Blocked:
    """Objects on which every verb that can wait does wait."""

    def __init__(self) -> None:
        self.semaphore = Semaphore(0)
        self.notification, self.event, self.number = Notification(), Event(), AtomicInt()
        self.barrier = Barrier(2)
        self.condition = Condition()
        self.empty = Queue(2, 16)
        self.full = Queue(1, 16)
        self.full.put(b"full")
        self.port = Port()
        self.deaf = Port()
        self.gate = self.deaf.gate()

    def verb(self, name: str) -> Verb:
        verbs: dict[str, Verb] = {
            "Semaphore.acquire": lambda timeout: self.semaphore.acquire(timeout=timeout),
            "Notification.wait": lambda timeout: self.notification.wait(timeout=timeout),
            "Event.wait": lambda timeout: self.event.wait(timeout=timeout),
            "AtomicInt.wait": lambda timeout: self.number.wait(0, timeout=timeout),
            "Barrier.wait": self.wait_at_barrier,
            "Condition.wait": self.wait_for_notification,
            "Queue.get": lambda timeout: self.empty.get(timeout=timeout),
            "Queue.get_many": lambda timeout: self.empty.get_many(2, timeout=timeout),
            "Queue.take": lambda timeout: self.empty.take(timeout=timeout),
            "Queue.put": lambda timeout: self.full.put(b"more", timeout=timeout),
            "Queue.put_many": lambda timeout: self.full.put_many([b"more"], timeout=timeout),
            "Queue.loan": lambda timeout: self.full.loan(1, timeout=timeout),
            "Queue.join": lambda timeout: self.full.join(timeout=timeout),
            "Port.receive": lambda timeout: self.port.receive(timeout=timeout),
            "Gate.call": lambda timeout: self.gate.call(b"", timeout=timeout),
        }
        return verbs[name]

    def wait_at_barrier(self, timeout: float | None) -> object:
        # The last time-out has broken it.
        self.barrier.reset()
        return self.barrier.wait(timeout=timeout)

    def wait_for_notification(self, timeout: float | None) -> object:
        with self.condition:
            return self.condition.wait(timeout=timeout)

    def close(self) -> None:
        signs = (self.notification, self.event, self.number, self.barrier, self.condition)
        for thing in (self.gate, self.port, self.deaf, self.full, self.empty, self.semaphore, *signs):
            thing.close()


VERBS = (
    "Semaphore.acquire",
    "Notification.wait",
    "Event.wait",
    "AtomicInt.wait",
    "Barrier.wait",
    "Condition.wait",
    "Queue.get",
    "Queue.get_many",
    "Queue.take",
    "Queue.put",
    "Queue.put_many",
    "Queue.loan",
    "Queue.join",
    "Port.receive",
    "Gate.call",
)


def blocked_in(verb: str, timeout: float | None) -> None:
    blocked = Blocked()
    try:
        blocked.verb(verb)(timeout)
    finally:
        blocked.close()


@pytest.mark.parametrize("verb", VERBS)
def test_timeout_is_never_early(verb: str) -> None:
    blocked = Blocked()
    for timeout in SOON:
        start = time.monotonic()
        with pytest.raises(TimedOut):
            blocked.verb(verb)(timeout)
        assert time.monotonic() - start >= timeout
    blocked.close()


@pytest.mark.parametrize("verb", VERBS)
def test_ctrl_c_ends_the_wait(processes: Processes, verb: str) -> None:
    def wait() -> str:
        try:
            blocked_in(verb, None)
        except KeyboardInterrupt:
            return "KeyboardInterrupt"
        return "an end without it"

    waiter = processes.start(wait)
    waiter.until_asleep()
    waiter.signal(signal.SIGINT)
    assert waiter.result() == "KeyboardInterrupt"


def test_ctrl_c_takes_nothing_and_leaves_the_objects_usable(processes: Processes) -> None:
    semaphore, queue = Semaphore(0), Queue(2, 16)

    def wait(verb: Callable[[], object]) -> object:
        try:
            verb()
        except KeyboardInterrupt:
            interrupted.raise_()
            return verb()
        return "an end without it"

    interrupted = processes.flag()
    acquirer = processes.start(wait, semaphore.acquire)
    getter = processes.start(wait, queue.get)
    for waiter in (acquirer, getter):
        waiter.until_asleep()
        waiter.signal(signal.SIGINT)
        interrupted.wait()
    semaphore.release()
    queue.put(b"for you")
    assert acquirer.result() is True
    assert getter.result() == b"for you"
    assert (semaphore.value, queue.depth) == (0, 0)


def test_exception_of_any_handler_ends_the_wait(processes: Processes) -> None:
    class Alarm(Exception):
        """What the handler raises."""

    def ring(_number: int, _frame: object) -> None:
        raise Alarm

    def wait() -> str:
        signal.signal(signal.SIGUSR1, ring)
        try:
            blocked_in("Semaphore.acquire", None)
        except Alarm:
            return "Alarm"
        return "an end without it"

    waiter = processes.start(wait)
    waiter.until_asleep()
    waiter.signal(signal.SIGUSR1)
    assert waiter.result() == "Alarm"


@pytest.mark.parametrize("verb", VERBS)
def test_wait_goes_on_with_the_time_left_when_a_handler_returns(processes: Processes, verb: str) -> None:
    """Signals come for as long as it waits: a wait that started anew after each would never end."""

    def wait() -> list[tuple[float, float]]:
        handled: list[int] = []
        signal.signal(signal.SIGUSR1, lambda number, _frame: handled.append(number))
        timeout, waited = 0.15, list[tuple[float, float]]()
        # On a busy machine the first may end before anybody has seen it.
        while not handled:
            start = time.monotonic()
            with pytest.raises(TimedOut):
                blocked_in(verb, timeout)
            waited.append((time.monotonic() - start, timeout))
            timeout *= 2
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        return waited

    waiter = processes.start(wait)

    def gives_up() -> bool:
        if waiter.asleep:
            waiter.signal(signal.SIGUSR1)
        return waiter.ended

    until(gives_up, "the end of the wait")
    assert all(waited >= timeout for waited, timeout in waiter.result())


def test_handler_runs_while_the_wait_lasts(processes: Processes) -> None:
    semaphore, handled = Semaphore(0), Semaphore(0)

    def wait() -> bool:
        signal.signal(signal.SIGUSR1, lambda _number, _frame: handled.release())
        return semaphore.acquire()

    waiter = processes.start(wait)
    waiter.until_asleep()
    waiter.signal(signal.SIGUSR1)
    assert handled.acquire(timeout=20)
    waiter.until_asleep()
    semaphore.release()
    assert waiter.result() is True


def count(go: threading.Event, done: list[int]) -> None:
    go.wait()
    for _ in range(1_000_000):
        pass
    done.append(1)


def test_sleeper_leaves_the_interpreter_to_other_threads(processes: Processes) -> None:
    """Nobody is made to give the interpreter up here: only a wait that does so by itself lets the counter run."""

    def wait_and_count() -> int:
        semaphore, go, done = Semaphore(0), threading.Event(), list[int]()
        sys.setswitchinterval(1000)
        counter = threading.Thread(target=count, args=(go, done))
        counter.start()
        go.set()
        waits = 0
        while not done:
            with pytest.raises(TimedOut):
                semaphore.acquire(timeout=0.001)
            waits += 1
        counter.join()
        semaphore.close()
        return waits

    assert processes.start(wait_and_count).result() > 0


def test_other_threads_make_progress_while_one_spins(processes: Processes) -> None:
    """Waits too short to sleep, one after the other: the thread does nothing but spin and raise."""

    def spin_and_count() -> int:
        semaphore, go, done = Semaphore(0), threading.Event(), list[int]()
        counter = threading.Thread(target=count, args=(go, done))
        counter.start()
        go.set()
        spins = 0
        while not done:
            with pytest.raises(TimedOut):
                semaphore.acquire(timeout=1e-6)
            spins += 1
        counter.join()
        semaphore.close()
        return spins

    assert processes.start(spin_and_count).result() > 0


def test_use_starts_no_thread(processes: Processes) -> None:
    def use_everything() -> tuple[int, int]:
        with pytest.raises(TimedOut):
            blocked_in("Semaphore.acquire", 0.01)
        with pytest.raises(TimedOut):
            blocked_in("Queue.take", 0.01)
        port = Port.create("threadless")
        served.raise_()
        request = port.receive(timeout=20)
        request.reply(request.data)
        port.close()
        return threading.active_count(), len(list(Path("/proc/self/task").iterdir()))

    def call() -> bytes:
        served.wait()
        gate = Gate.open("threadless", timeout=20)
        reply = gate.call(b"hello", timeout=20)
        gate.close()
        return reply

    served = processes.flag()
    user, caller = processes.start(use_everything), processes.start(call)
    assert caller.result() == b"hello"
    assert user.result() == (1, 1)


@pytest.mark.parametrize("verb", ["Semaphore.acquire", "Queue.get", "Port.receive", "Gate.call"])
def test_sleeper_uses_no_processor(processes: Processes, verb: str) -> None:
    """Long enough for a re-check, which every sleeper makes after a second."""

    def wait() -> float:
        _core.set_recheck(1.0)
        blocked = Blocked()
        before = time.process_time()
        with pytest.raises(TimedOut):
            blocked.verb(verb)(1.1)
        used = time.process_time() - before
        blocked.close()
        return used

    assert processes.start(wait).result() < 0.05
