"""Objects whose operations are noted: one task after the other, and in the lab."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

pytest.importorskip("greenlet")

import underpass
from tests.lab.scenes import TASKS
from underpass import BrokenBarrierError, MisuseError, OwnerDiedError, ResetError, TimedOut, WouldBlock, lab
from underpass.lab import Failure, NotLinearizable, World, linearizable, models
from underpass.lab.history import Recording
from underpass.lab.linearization import explain

# ── recording real objects ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def recording() -> Iterator[Recording]:
    with Recording(lambda: TASKS[0]) as recording:
        yield recording


def test_every_model_agrees_with_its_object(recording: Recording) -> None:
    """One task after the other: what the objects do is what the models say."""
    seat = linearizable(underpass.Semaphore(1), models.Semaphore(1))
    with seat.holding():
        assert seat.value == 0
        with pytest.raises(TimedOut):
            seat.acquire(timeout=0)
    door = linearizable(underpass.Mutex(), models.Mutex())
    with door, pytest.raises(MisuseError):
        door.acquire()
    with door.recovering() as died:
        assert died is None
    jobs = linearizable(underpass.Queue(2, 8), models.Queue(2))
    jobs.put(b"one")
    jobs.put_nowait(bytearray(b"two"))
    with pytest.raises(WouldBlock):
        jobs.put_nowait(b"three")
    with jobs.take() as lease:
        assert (bytes(lease.value), len(lease)) == (b"one", 3)
    lease = jobs.take()
    lease.put_back()
    with pytest.raises(MisuseError):
        lease.done()
    with jobs.take_nowait() as lease:
        assert lease.deliveries == 2
        lease.done()
    assert jobs.depth == 0
    jobs.put(b"last")
    jobs.shutdown()
    assert list(jobs) == [b"last"]
    flags = linearizable(underpass.Notification(), models.Notification())
    flags.notify(6)
    assert flags.wait(2) == 2
    assert flags.wait_nowait() == 4
    with pytest.raises(TimedOut):
        flags.wait(1, timeout=0)
    assert flags.bits == 0
    start = linearizable(underpass.Event(), models.Event())
    start.set()
    assert start.wait()
    count = linearizable(underpass.AtomicInt(-1), models.AtomicInt(-1))
    count.add(2)
    assert count.compare_exchange(1, 7) == 1
    assert count.wait(1)
    with pytest.raises(TimedOut):
        count.wait(7, timeout=0)
    assert count.wake() == 0
    for history in recording:
        explain(history)
    assert [len(history.operations) for history in recording] == [4, 5, 15, 5, 2, 5]
    for handle in (seat, door, jobs, flags, start, count):
        handle.close()


def test_models_of_turns_agree_with_their_objects(recording: Recording) -> None:
    table = linearizable(underpass.RWLock(), models.RWLock())
    with table.reading(), table.reading():
        assert table.upgrade_nowait()
        table.downgrade()
    with table.writing() as died, pytest.raises(MisuseError), table.reading():
        assert died is None
    first = linearizable(underpass.Once(), models.Once())
    with suppress(ZeroDivisionError), first.running() as turn:
        assert turn is not None
        raise ZeroDivisionError
    with first.running(), pytest.raises(MisuseError), first.running():
        pass
    with first.running() as turn:
        assert turn is None
    assert first.done
    for history in recording:
        explain(history)
    assert [len(history.operations) for history in recording] == [9, 8]
    for handle in (table, first):
        handle.close()


def test_a_wrong_object_is_caught(recording: Recording) -> None:
    class Broken:
        def add(self, value: int) -> int:
            return value

    count = linearizable(Broken(), models.AtomicInt(0))
    count.add(1)
    [history] = recording
    with pytest.raises(NotLinearizable):
        explain(history)


def test_a_writer_beside_a_reader_is_caught() -> None:
    class Open:
        def reading(self) -> AbstractContextManager[None]:
            return nullcontext()

        def writing(self) -> AbstractContextManager[None]:
            return nullcontext()

    def program(world: World) -> None:
        table, inside = linearizable(Open(), models.RWLock()), underpass.AtomicInt()

        def read() -> None:
            with table.reading():
                inside.add(1)

        def write() -> None:
            with table.writing():
                inside.add(1)

        world.process(read)
        world.process(write)

    with pytest.raises(Failure) as caught:
        lab.explore(program, schedules=100, seed=1, jobs=1)
    assert caught.value.trace.kind == "not linearizable"


def test_what_runs_twice_is_caught() -> None:
    class Twice:
        def __init__(self) -> None:
            self._done = underpass.AtomicInt()

        @contextmanager
        def running(self) -> Generator[SimpleNamespace | None]:
            yield None if self._done.load() else SimpleNamespace(died=None)
            self._done.store(1)

    def program(world: World) -> None:
        start = linearizable(Twice(), models.Once())

        def run() -> None:
            with start.running():
                pass

        world.process(run)
        world.process(run)

    with pytest.raises(Failure) as caught:
        lab.explore(program, schedules=100, seed=1, jobs=1)
    assert caught.value.trace.kind == "not linearizable"


def test_a_kill_leaves_the_operation_pending(recording: Recording) -> None:
    class Killed(BaseException):
        pass

    class Slow:
        def put(self, _data: bytes) -> None:
            recording.killed(TASKS[0])
            raise Killed

    queue = linearizable(Slow(), models.Queue(1))
    with pytest.raises(Killed):
        queue.put(b"x")
    [history] = recording
    assert [operation.ended for operation in history.operations] == [None]
    explain(history)


def test_a_handle_that_crosses_stays_in_its_history(recording: Recording) -> None:
    @dataclass
    class Register:
        value: int = 0

        def load(self) -> int:
            return self.value

    globals()["Register"] = Register
    Register.__qualname__ = "Register"
    there = pickle.loads(pickle.dumps(linearizable(Register(), models.AtomicInt(0))))  # noqa: S301
    assert there.load() == 0
    [history] = recording
    assert len(history.operations) == 1


def test_what_the_model_does_not_know_is_refused(recording: Recording) -> None:
    queue = linearizable(underpass.Queue(1, 8), models.Queue(1))
    with pytest.raises(MisuseError, match="the model Queue has no method 'purge'"):
        queue.purge()
    assert queue.capacity == 1
    queue.close()
    assert not recording.histories[0].operations


def test_outside_of_the_lab_nobody_records() -> None:
    with pytest.raises(MisuseError, match=r"lab\.explore"):
        linearizable(underpass.AtomicInt(), models.AtomicInt())


# ── in the lab ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Counter:
    """A service over a shared number, with an operation that is not one step."""

    def __init__(self, number: underpass.AtomicInt) -> None:
        self._number = number

    def load(self) -> int:
        return self._number.load()

    def add(self, value: int) -> int:
        before = self._number.load()
        self._number.store(before + value)
        return before


def add_one(number: underpass.AtomicInt) -> None:
    number.add(1)


def test_a_torn_operation_is_found_in_the_lab() -> None:
    def program(world: World) -> None:
        counter = linearizable(Counter(underpass.AtomicInt()), models.AtomicInt(0))
        world.process(counter.add, 1, name="ann")
        world.process(counter.add, 1, name="bob")
        counted = linearizable(underpass.AtomicInt(), models.AtomicInt())
        world.process(add_one, counted)  # pickled on its way

    with pytest.raises(Failure) as found:
        lab.explore(program, seed=1)
    assert found.value.kind == "not linearizable"
    assert "does not fit: " in found.value.trace.details


OBJECTS: dict[str, Callable[[World], None]] = {}


def explored(program: Callable[[World], None]) -> Callable[[World], None]:
    OBJECTS[program.__name__] = program
    return program


@explored
def semaphore(world: World) -> None:
    seat = linearizable(underpass.Semaphore(1), models.Semaphore(1))

    def visit() -> None:
        try:
            with seat.holding(timeout=1):
                pass
        except TimedOut:
            seat.release()

    for _ in range(3):
        world.process(visit)


@explored
def mutex(world: World) -> None:
    door = linearizable(underpass.Mutex(), models.Mutex())

    def visit() -> None:
        try:
            with door:
                pass
        except OwnerDiedError:
            with door.recovering():
                pass

    for _ in range(3):
        world.process(visit)


@explored
def queue(world: World) -> None:
    jobs = linearizable(underpass.Queue(1, 8), models.Queue(1))

    def put() -> None:
        jobs.put(b"a", timeout=1)
        jobs.put(b"b", timeout=1)

    def work() -> None:
        with jobs.take(timeout=1) as lease:
            assert lease.deliveries < 3

    def try_to(do: Callable[[], None]) -> Callable[[], None]:
        def attempt() -> None:
            with suppress(TimedOut):
                do()

        return attempt

    world.process(try_to(put))
    world.process(try_to(work))
    world.process(try_to(work))


@explored
def notification(world: World) -> None:
    flags = linearizable(underpass.Notification(), models.Notification())

    def wait() -> None:
        with suppress(TimedOut):
            flags.wait(1, timeout=1)

    world.process(wait)
    world.process(wait)
    world.process(flags.notify, 1)
    world.process(flags.notify, 3)


@explored
def atomic(world: World) -> None:
    number = linearizable(underpass.AtomicInt(), models.AtomicInt())

    def wait() -> None:
        with suppress(TimedOut):
            number.wait(0, timeout=1)

    world.process(wait)
    world.process(wait)
    world.process(number.wake)
    world.process(number.add, 1)


@explored
def event(world: World) -> None:
    flag = linearizable(underpass.Event(), models.Event())

    def wait() -> None:
        with suppress(TimedOut):
            flag.wait(timeout=1)

    def pulse() -> None:
        flag.set()
        flag.clear()

    world.process(wait)
    world.process(wait)
    world.process(pulse)


@explored
def barrier(world: World) -> None:
    start = linearizable(underpass.Barrier(2), models.Barrier(2))

    def wait() -> None:
        with suppress(TimedOut, BrokenBarrierError, ResetError):
            start.wait(timeout=1)
            start.wait(timeout=1)

    def wait_once() -> None:
        start.join()
        with suppress(TimedOut, BrokenBarrierError, ResetError):
            start.wait(timeout=1)

    world.process(wait)
    world.process(wait)
    world.process(wait_once)
    world.process(start.reset)


@explored
def rwlock(world: World) -> None:
    table = linearizable(underpass.RWLock(), models.RWLock())

    def write() -> None:
        with suppress(TimedOut), table.writing(timeout=1), suppress(MisuseError):
            table.downgrade()

    def read() -> None:
        with suppress(TimedOut, OwnerDiedError), table.reading(timeout=1), table.reading(timeout=1):
            pass

    def read_and_write() -> None:
        with suppress(TimedOut, OwnerDiedError), table.reading():
            table.upgrade(timeout=1)

    world.process(write)
    world.process(read)
    world.process(read_and_write)


@explored
def once(world: World) -> None:
    start = linearizable(underpass.Once(), models.Once())

    def run() -> None:
        with suppress(TimedOut), start.running(timeout=1):
            pass

    def fail() -> None:
        with suppress(TimedOut, ZeroDivisionError), start.running(timeout=1) as turn:
            if turn is not None:
                raise ZeroDivisionError

    world.process(run)
    world.process(run)
    world.process(fail)


@pytest.mark.parametrize("program", [pytest.param(program, id=name) for name, program in OBJECTS.items()])
def test_every_object_is_linearizable(program: Callable[[World], None]) -> None:
    """With time-outs, a death, and a sleep that ends without a cause."""
    lab.explore(program, schedules=1_500, kills=1, faults=1, seed=1)
