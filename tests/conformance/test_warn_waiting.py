"""The log record of a thread that waits for long: opt-in, from the thread itself, at doubling intervals."""

import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

import underpass
from tests.conformance.backends import PATIENCE, Processes, Threads, until
from underpass import Event, Gate, Mutex, Port, Queue, Semaphore, TimedOut, WaitSet, wait_any

SHORT = 0.02


class Told(logging.Handler):
    """Keeps what was said, and by which thread."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.threads: list[int] = []

    def emit(self, record: logging.LogRecord) -> None:
        assert (record.levelno, record.name) == (logging.WARNING, "underpass")
        self.threads.append(threading.get_native_id())
        self.texts.append(record.getMessage())


def wait_in_vain(told: Told, wait: Callable[[float], object]) -> None:
    """Wait for long enough that it is told: who is let run too late finds that its time is over, and says nothing of it."""
    before = len(told.texts)
    for patience in (2 * SHORT, 1, 20):
        with pytest.raises(TimedOut):
            wait(patience)
        if len(told.texts) > before:
            return
    pytest.fail("nothing was told")


@pytest.fixture
def told() -> Iterator[Told]:
    """Turn the warning on, and listen."""
    handler, logger = Told(), logging.getLogger("underpass")
    logger.addHandler(handler)
    before = underpass.warn_waiting(SHORT)
    yield handler
    underpass.warn_waiting(before)
    logger.removeHandler(handler)


def test_it_is_off_at_first_and_returns_what_was_set_before() -> None:
    assert underpass.warn_waiting(2.5) is None
    assert underpass.warn_waiting(None) == 2.5
    assert underpass.warn_waiting(None) is None


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_what_is_no_time_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match=f"(?i)seconds={seconds:g} is not a time"):
        underpass.warn_waiting(seconds)


def test_a_long_wait_for_a_name_says_so_too(threads: Threads, told: Told) -> None:
    opener = threads.start(lambda: Queue.open("jobs", timeout=PATIENCE))
    until(lambda: len(told.texts) >= 2, "two warnings")
    queue = Queue.create("jobs")
    opener.result()
    for text in told.texts:
        assert re.fullmatch(r"still waiting for 'jobs' in /\S+ for [\d.]+ s \(open\)", text)
    assert set(told.threads) == {opener.tid}
    queue.unlink()


def test_a_long_wait_says_so_again_at_doubling_intervals(threads: Threads, told: Told) -> None:
    queue = Queue.create("jobs")
    getter = threads.start(queue.get)
    until(lambda: len(told.texts) >= 3, "three warnings")
    queue.put(b"at last")
    assert getter.result() == b"at last"
    assert set(told.threads) == {getter.tid}
    found = [re.fullmatch(r"still waiting for queue 'jobs' for ([\d.]+) s \(get\)", text) for text in told.texts]
    times = [float(match[1]) for match in found if match]
    assert len(times) == len(found)
    # One is left out when the thread is late; never is one too early. The text has a tenth of a second.
    assert all(time >= SHORT * 2**turn - 0.05 for turn, time in enumerate(times))
    queue.unlink()


def test_nobody_is_warned_of_short_waits_nor_after_it_was_turned_off(told: Told) -> None:
    semaphore = Semaphore(0)
    with pytest.raises(TimedOut):
        semaphore.acquire(timeout=SHORT / 4)
    assert not told.texts
    underpass.warn_waiting(None)
    with pytest.raises(TimedOut):
        semaphore.acquire(timeout=SHORT * 4)
    assert not told.texts


def test_the_holders_are_named(processes: Processes, told: Told) -> None:
    queue, taken, done = Queue(1), processes.flag(), processes.flag()
    queue.put(b"work")

    def work() -> None:
        with queue.take():
            taken.raise_()
            done.wait()

    worker = processes.start(work)
    taken.wait()
    wait_in_vain(told, lambda patience: queue.join(timeout=patience))
    wait_in_vain(told, lambda patience: queue.put(b"more", timeout=patience))
    assert {re.sub(r"[\d.]+ s", "n s", text) for text in told.texts} == {
        f"still waiting for {name} for n s ({verb}), held by pid {worker.pid} for n s"
        for name, verb in [(f"queue {title(queue)}", "join"), (f"queue {title(queue)}", "put")]
    }
    done.raise_()
    worker.result()


def title(queue: Queue) -> str:
    """The name that an anonymous queue goes by."""
    return repr(queue).split()[1].strip(",")


def test_a_caller_names_the_server(processes: Processes, told: Told) -> None:
    opened, over = processes.flag(), processes.flag()

    def serve() -> None:
        with Port.create("slow"):
            opened.raise_()
            over.wait()

    server = processes.start(serve)
    opened.wait()
    gate = Gate.open("slow")
    wait_in_vain(told, lambda patience: gate.call(timeout=patience))
    assert re.fullmatch(
        rf"still waiting for port 'slow' for [\d.]+ s \(call\), held by pid {server.pid}", told.texts[0]
    )
    over.raise_()
    server.result()


def test_the_owner_of_a_mutex_is_named(processes: Processes, told: Told) -> None:
    mutex, held, done = Mutex.create("ledger"), processes.flag(), processes.flag()

    def hold() -> None:
        with mutex:
            held.raise_()
            done.wait()

    owner = processes.start(hold)
    held.wait()
    wait_in_vain(told, lambda patience: mutex.acquire(timeout=patience))
    held_by = rf"held by pid {owner.pid}( \(test_warn_waiting\.py:\d+\))? for [\d.]+ s"
    text = rf"still waiting for mutex 'ledger' for [\d.]+ s \(acquire\), {held_by}"
    assert re.fullmatch(text, told.texts[0])
    done.raise_()
    owner.result()
    mutex.unlink()


@pytest.mark.parametrize("verb", ["wait_any", "WaitSet.wait", "WaitSet.dispatch"])
def test_who_waits_at_descriptors_says_so_too(threads: Threads, told: Told, verb: str) -> None:
    readable, writable = os.pipe()
    event = Event.create("stop")
    with WaitSet() as members:
        members.add(event, lambda it: it)
        members.add(readable, lambda it: it)
        wait = {
            "wait_any": lambda: len(wait_any(event, readable)),
            "WaitSet.wait": lambda: len(members.wait()),
            "WaitSet.dispatch": members.dispatch,
        }[verb]
        waiter = threads.start(wait)
        until(lambda: len(told.texts) >= 2, "two warnings")
        event.set()
        assert waiter.result() == 1
    what = "any of" if verb == "wait_any" else r"any member of the wait set \("
    for text in told.texts:
        assert re.fullmatch(rf"still waiting for {what}.*'stop'.*, {readable}\)? for [\d.]+ s \({verb}\)", text)
    assert set(told.threads) == {waiter.tid}
    os.close(readable)
    os.close(writable)
    event.unlink()


def test_a_handler_that_raises_ends_a_wait_at_descriptors(told: Told) -> None:
    refuses = Refuses()
    with WaitSet() as members:
        members.add(Event())
        logging.getLogger("underpass").addFilter(refuses)
        with pytest.raises(LookupError, match="still waiting for any member"):
            members.wait()
        logging.getLogger("underpass").removeFilter(refuses)
        with pytest.raises(TimedOut):
            members.wait(timeout=0)
    assert not told.texts


class Refuses(logging.Filter):
    """A handler that raises."""

    def filter(self, record: logging.LogRecord) -> bool:
        raise LookupError(record.getMessage())


def test_a_handler_that_raises_ends_the_wait_with_nothing_taken(told: Told) -> None:
    queue, refuses = Queue(4), Refuses()
    logging.getLogger("underpass").addFilter(refuses)
    with pytest.raises(LookupError, match="still waiting"):
        queue.get()
    logging.getLogger("underpass").removeFilter(refuses)
    queue.put(b"kept")
    assert queue.get() == b"kept"
    assert not told.texts


def test_a_handler_may_use_objects_meanwhile(told: Told) -> None:
    queue, records = Queue(4), Queue(4, 4096)

    class ToQueue(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.put(record.getMessage().encode())
            with pytest.raises(TimedOut):
                queue.get(timeout=SHORT / 4)

    handler = ToQueue()
    logging.getLogger("underpass").addHandler(handler)
    try:
        wait_in_vain(told, lambda patience: queue.get(timeout=patience))
    finally:
        logging.getLogger("underpass").removeHandler(handler)
    assert records.get(timeout=0).startswith(b"still waiting for queue")
    assert told.texts


def with_environment(value: str) -> subprocess.CompletedProcess[str]:
    script = "import underpass; print(underpass.warn_waiting(None))"
    environment = {**os.environ, "UNDERPASS_WARN_WAITING": value}
    command = [sys.executable, "-c", script]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("value", "seconds"), [("2.5", "2.5"), (" 3 ", "3.0"), ("", "None")])
def test_the_environment_turns_it_on(value: str, seconds: str) -> None:
    assert with_environment(value).stdout.strip() == seconds


@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan"])
def test_the_environment_is_not_ignored_when_it_is_wrong(value: str) -> None:
    done = with_environment(value)
    assert done.returncode != 0
    assert f"UNDERPASS_WARN_WAITING={value} is not a time" in done.stderr
