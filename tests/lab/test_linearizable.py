"""Histories that a sequential object can and cannot have; random ones against a search through all permutations."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import permutations
from typing import cast

import pytest

import underpass
from underpass import EndOfStream, MisuseError, OwnerDiedError, TimedOut, WouldBlock

pytest.importorskip("greenlet")

from underpass import lab
from underpass.lab import Failure, NotLinearizable, World, linearizable, models
from underpass.lab.history import History, Operation, Raised, Recording, Task
from underpass.lab.linearization import explain
from underpass.lab.models import Model, Step, Taken

NAMES = ("ann", "bob", "cid", "dora")
TASKS = [Task(number, number, name) for number, name in enumerate(NAMES)]


class Scene:
    """A history that is written down event by event."""

    def __init__(self, model: Model) -> None:
        self.now = TASKS[0]
        self.recording = Recording(lambda: self.now)
        self.history = History(self.recording, model, "it")

    def call(self, who: int, name: str, *arguments: object, **options: object) -> Operation:
        self.now = TASKS[who]
        return self.history.call(name, arguments, options)

    def end(self, operation: Operation, outcome: object = None) -> None:
        if isinstance(outcome, type):
            error = cast("type[Exception]", outcome)()
            self.history.end(operation, Raised(error))
        else:
            self.history.end(operation, outcome)

    def do(self, who: int, name: str, *arguments: object, gives: object = None) -> None:
        self.end(self.call(who, name, *arguments), gives)

    def kill(self, who: int) -> None:
        self.recording.killed(TASKS[who])

    def fits(self) -> bool:
        try:
            explain(self.history)
        except NotLinearizable:
            return False
        return True


# ── known histories ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("seen", "fits"), [(0, False), (1, True), (2, True), (3, False)])
def test_a_read_sees_what_overlaps_or_the_last_before(seen: int, fits: bool) -> None:  # noqa: FBT001
    scene = Scene(models.AtomicInt(0))
    scene.do(0, "store", 1)
    write = scene.call(0, "store", 2)
    scene.do(1, "load", gives=seen)
    scene.end(write)
    scene.do(2, "store", 3)
    assert scene.fits() is fits


def test_new_then_old_is_refused() -> None:
    """Two reads during one write: the second may not go back."""
    scene = Scene(models.AtomicInt(0))
    write = scene.call(0, "store", 1)
    scene.do(1, "load", gives=1)
    scene.do(2, "load", gives=0)
    scene.end(write)
    assert not scene.fits()


def test_queue_of_herlihy_and_wing() -> None:
    """Figure 1 of their paper: (a) is a queue, (b) is not."""
    scene = Scene(models.Queue(4))
    x, y = scene.call(0, "put", b"x"), scene.call(1, "put", b"y")
    scene.end(y)
    scene.end(x)
    scene.do(1, "get", gives=b"y")
    scene.do(0, "get", gives=b"x")
    assert scene.fits()
    scene = Scene(models.Queue(4))
    scene.do(0, "put", b"x")
    scene.do(1, "put", b"y")
    scene.do(0, "get", gives=b"y")
    assert not scene.fits()


def test_semaphore_gives_one_unit_once() -> None:
    scene = Scene(models.Semaphore(1))
    first, second = scene.call(0, "acquire"), scene.call(1, "acquire")
    scene.end(first, True)  # noqa: FBT003
    scene.end(second, TimedOut)
    assert scene.fits()
    scene.do(2, "acquire_nowait", gives=True)
    assert not scene.fits()


def test_a_timeout_with_a_unit_there_all_the_time_is_refused() -> None:
    scene = Scene(models.Semaphore(1))
    scene.do(0, "acquire", gives=TimedOut)
    assert not scene.fits()


def test_mutex_knows_its_owner() -> None:
    scene = Scene(models.Mutex())
    scene.do(0, "acquire", gives=True)
    scene.do(0, "acquire", gives=MisuseError)
    scene.do(1, "acquire_nowait", gives=WouldBlock)
    scene.do(1, "release", gives=MisuseError)
    scene.do(0, "release")
    scene.do(1, "acquire", gives=True)
    assert scene.fits()


def test_mutex_tells_of_a_death_until_it_is_repaired() -> None:
    scene = Scene(models.Mutex())
    scene.do(0, "acquire", gives=True)
    scene.kill(0)
    scene.do(1, "acquire", gives=OwnerDiedError)
    scene.do(1, "recover", gives=True)
    scene.do(1, "recovered")
    scene.do(2, "acquire", gives=True)
    assert scene.fits()
    scene.do(2, "release")
    scene.do(1, "acquire", gives=OwnerDiedError)
    assert not scene.fits()


def test_a_lease_of_the_dead_comes_back_sometime() -> None:
    def scene() -> Scene:
        scene = Scene(models.Queue(4))
        scene.do(0, "put", b"x")
        scene.do(0, "put", b"y")
        scene.do(1, "take", gives=Taken(b"x", 1))
        scene.kill(1)
        return scene

    at_once = scene()
    at_once.do(2, "take", gives=Taken(b"x", 2))
    assert at_once.fits()
    later = scene()
    later.do(2, "take", gives=Taken(b"y", 1))
    later.do(2, "take", gives=Taken(b"x", 2))
    assert later.fits()
    as_new = scene()
    as_new.do(2, "take", gives=Taken(b"x", 1))
    assert not as_new.fits()


def test_a_notification_is_given_to_everybody_who_waits() -> None:
    scene = Scene(models.Notification())
    first, second = scene.call(0, "wait", 1), scene.call(1, "wait", 1)
    scene.do(2, "notify", 1, gives=0)
    scene.end(first, 1)
    scene.end(second, 1)
    assert scene.fits()
    scene.do(3, "wait_nowait", 1, gives=1)
    assert not scene.fits()


def test_an_atomic_lets_go_who_was_woken() -> None:
    scene = Scene(models.AtomicInt(0))
    sleeper = scene.call(0, "wait", 0)
    scene.do(1, "wake", gives=1)
    scene.end(sleeper, True)  # noqa: FBT003
    assert scene.fits()
    scene.do(0, "wait", 0, gives=True)
    assert not scene.fits()


def test_an_ended_queue_ends_after_its_last_lease() -> None:
    scene = Scene(models.Queue(1))
    scene.do(0, "put", b"x")
    scene.do(0, "take", gives=Taken(b"x", 1))
    scene.do(1, "shutdown")
    scene.do(1, "get", gives=TimedOut)
    scene.do(0, "done", Taken(b"x", 1))
    scene.do(1, "get", gives=EndOfStream)
    assert scene.fits()
    scene.do(1, "put", b"y")
    assert not scene.fits()


# ── pending operations ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("seen", "fits"), [((0, 1), True), ((1, 1), True), ((0, 0), True), ((1, 0), False)])
def test_what_is_pending_happens_once_or_never(seen: tuple[int, int], fits: bool) -> None:  # noqa: FBT001
    scene = Scene(models.AtomicInt(0))
    scene.call(0, "store", 1)
    for value in seen:
        scene.do(1, "load", gives=value)
    assert scene.fits() is fits


@pytest.mark.parametrize(("seen", "fits"), [((0, 0), True), ((1, 1), True), ((0, 1), False), ((1, 0), False)])
def test_what_a_kill_cut_off_happens_before_it_or_never(seen: tuple[int, int], fits: bool) -> None:  # noqa: FBT001
    scene = Scene(models.AtomicInt(0))
    write = scene.call(0, "store", 1)
    scene.kill(0)
    scene.end(write)  # its frames unwind: that is no outcome
    scene.do(0, "store", 5)  # nor does this happen
    for value in seen:
        scene.do(1, "load", gives=value)
    assert scene.fits() is fits


def test_an_operation_that_waits_at_the_end_is_no_fault() -> None:
    scene = Scene(models.Queue(1))
    scene.call(0, "get")
    scene.do(1, "get_nowait", gives=WouldBlock)
    scene.recording.over()
    assert scene.fits()


# ── random histories ────────────────────────────────────────────────────────────────────────────────────────────────

Choices = Sequence[Callable[[random.Random], tuple[str, tuple[object, ...]]]]
SUBJECTS: dict[str, tuple[Model, Choices]] = {
    "atomic": (
        models.AtomicInt(0),
        (lambda _: ("load", ()), lambda r: ("store", (r.randrange(3),)), lambda r: ("add", (r.randrange(3),)),
         lambda r: ("compare_exchange", (r.randrange(3), r.randrange(3)))),
    ),
    "queue": (
        models.Queue(2),
        (lambda r: ("put_nowait", (bytes([r.randrange(4)]),)), lambda _: ("get_nowait", ()), lambda _: ("read_depth", ())),
    ),
    "semaphore": (
        models.Semaphore(1, limit=2),
        (lambda _: ("acquire_nowait", ()), lambda _: ("release", ()), lambda _: ("read_value", ())),
    ),
    "mutex": (models.Mutex(), (lambda _: ("acquire_nowait", ()), lambda _: ("release", ()))),
    "notification": (
        models.Notification(),
        (lambda r: ("notify", (r.randrange(1, 4),)), lambda r: ("wait_nowait", (r.randrange(1, 4),)), lambda _: ("clear", ())),
    ),
    "event": (models.Event(), (lambda _: ("set", ()), lambda _: ("clear", ()), lambda _: ("wait_nowait", ()))),
}  # fmt: skip


def random_history(subject: str, seed: int, tasks: int, each: int) -> Scene:
    """Tasks call, take effect one at a time between call and end, and end: an order exists."""
    model, choices = SUBJECTS[subject]
    scene, draw = Scene(model), random.Random(seed)
    left = [each] * tasks
    under_way: dict[int, tuple[Operation, bool, object]] = {}
    while sum(left) or under_way:
        who = draw.choice([task for task in range(tasks) if left[task] or task in under_way])
        if who not in under_way:
            name, arguments = draw.choice(choices)(draw)
            under_way[who] = (scene.call(who, name, *arguments), False, None)
            left[who] -= 1
            continue
        operation, effective, outcome = under_way[who]
        if effective:
            scene.end(operation, outcome)
            del under_way[who]
        else:
            outcome, model = next(getattr(model, operation.name)(operation.who, *operation.arguments))
            under_way[who] = (operation, True, outcome)
    return scene


def by_brute_force(history: History) -> bool:
    """Try every order of the operations."""
    return any(explains(history.model, order) for order in permutations(history.operations))


def explains(model: Model, order: Sequence[Operation]) -> bool:
    latest_call = 0
    for operation in order:
        assert operation.ended is not None
        if operation.ended < latest_call:
            return False
        latest_call = max(latest_call, operation.called)
        outcome, model = next(getattr(model, operation.name)(operation.who, *operation.arguments))
        was = type(operation.outcome.error) if isinstance(operation.outcome, Raised) else operation.outcome
        if was != outcome:
            return False
    return True


def mutate(scene: Scene, seed: int) -> None:
    """Give one operation the outcome of another."""
    draw = random.Random(seed)
    to, source = draw.sample(scene.history.operations, 2)
    to.outcome = source.outcome


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_correct_object_is_never_refused(subject: str) -> None:
    for seed in range(60):
        explain(random_history(subject, seed, 4, 10).history)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_it_says_what_brute_force_says(subject: str) -> None:
    said: list[bool] = []
    for seed in range(60):
        scene = random_history(subject, seed, 3, 2)
        assert by_brute_force(scene.history)
        mutate(scene, seed)
        said.append(scene.fits())
        assert said[-1] == by_brute_force(scene.history), seed
    assert {True, False} == set(said)


def test_a_lost_update_among_many_is_found() -> None:
    """Eleven additions of one that return what was there, one of them twice."""
    scene = random_history("atomic", 1, 4, 5)
    before = scene.history.operations
    scene.do(0, "store", 0)
    for number in range(10):
        scene.do(number % 4, "add", 1, gives=number)
    scene.do(3, "add", 1, gives=9)
    with pytest.raises(NotLinearizable) as caught:
        explain(scene.history)
    assert caught.value.misfit is scene.history.operations[-1]
    assert len(caught.value.explained) == len(before) - 1


def test_overlapping_operations_are_visited_once() -> None:
    """Fourteen puts at a time have 14! orders, of which none is right; configurations are far fewer."""
    scene = Scene(models.AtomicInt(0))
    adds = [scene.call(who % 4, "add", 0) for who in range(14)]
    for add in adds:
        scene.end(add, 0)
    scene.do(0, "load", gives=1)
    assert not scene.fits()


# ── partitions ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Shelf(Model):
    """One key of a store of values, for many keys."""

    value: int | None = None

    def partition(self, operation: Operation) -> Hashable:
        return operation.arguments[0]

    def set(self, _who: Task, _key: str, value: int) -> Step:
        yield None, replace(self, value=value)

    def look(self, _who: Task, _key: str) -> Step:
        yield KeyError if self.value is None else self.value, self


@pytest.mark.parametrize(("seen", "fits"), [(5, True), (6, False), (KeyError, False)])
def test_keys_are_checked_apart(seen: object, fits: bool) -> None:  # noqa: FBT001
    scene = Scene(Shelf())
    for key in "abcdefgh":
        overlapping = [scene.call(who, "set", key, who) for who in range(4)]
        for operation in overlapping:
            scene.end(operation)
    scene.do(0, "set", "c", 5)
    scene.do(1, "look", "c", gives=seen)
    scene.do(1, "look", "z", gives=KeyError)
    assert scene.fits() is fits


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


def test_a_wrong_object_is_caught(recording: Recording) -> None:
    class Broken:
        def add(self, value: int) -> int:
            return value

    count = linearizable(Broken(), models.AtomicInt(0))
    count.add(1)
    [history] = recording
    with pytest.raises(NotLinearizable):
        explain(history)


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


# ── the report ──────────────────────────────────────────────────────────────────────────────────────────────────────

EXPECTED = """\
it is not linearizable: no order of its operations agrees with the model Queue(capacity=4, queued=(), leases=(), ended=False)

      ann bob cid
      +           put(b'one')
  1.  |   *       put(b'two') -> None
  2.  +           put(b'one') -> None
          +       get()
  3.      |   *   get() -> b'two'
 -->      +       get() -> b'two'

explained: 3, in the order of the numbers; the model is then
  Queue(capacity=4, queued=(Message(data=b'one', returns=0),), leases=(), ended=False)
does not fit: bob: get() -> b'two'
  the model gives b'one'"""


def test_the_report_draws_the_history() -> None:
    scene = Scene(models.Queue(4))
    one = scene.call(0, "put", b"one")
    scene.do(1, "put", b"two")
    scene.end(one)
    got = scene.call(1, "get")
    scene.do(2, "get", gives=b"two")
    scene.end(got, b"two")
    scene.do(0, "get", gives=b"one")
    with pytest.raises(NotLinearizable) as caught:
        explain(scene.history)
    assert str(caught.value) == EXPECTED
    assert [str(operation) for operation in caught.value.explained] == ["put(b'two')", "put(b'one')", "get()"]


def test_a_long_report_is_cut_and_not_wider_than_a_page() -> None:
    scene = Scene(models.Queue(4))
    for _ in range(50):
        scene.do(0, "put", b"x" * 200)
        held = scene.call(1, "get")
        scene.do(2, "read_depth", gives=0)
        scene.end(held, b"x" * 200)
    scene.kill(2)
    scene.do(3, "get", gives=b"?")
    with pytest.raises(NotLinearizable) as caught:
        explain(scene.history)
    drawing = str(caught.value).split("\n\n")[1].splitlines()
    assert "earlier lines" in drawing[1]
    assert len(drawing) < 65
    assert max(map(len, drawing)) <= 100
    assert any("cid is killed" in line for line in drawing)


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


@pytest.mark.parametrize("program", [pytest.param(program, id=name) for name, program in OBJECTS.items()])
def test_every_object_is_linearizable(program: Callable[[World], None]) -> None:
    """With time-outs, a death, and a sleep that ends without a cause."""
    lab.explore(program, schedules=1_500, kills=1, faults=1, seed=1)
