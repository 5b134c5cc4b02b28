"""Histories that a sequential object can and cannot have; random ones against a search through all permutations."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import pytest

pytest.importorskip("greenlet")

from tests.lab.scenes import Scene
from underpass import EndOfStream, MisuseError, OwnerDiedError, TimedOut, WouldBlock
from underpass.lab import NotLinearizable, models
from underpass.lab.history import History, Operation, Raised, Task
from underpass.lab.linearization import explain
from underpass.lab.models import Model, Step, Taken

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
    "latch": (models.Latch(3), (lambda r: ("count_down", (r.randrange(1, 3),)), lambda _: ("wait_nowait", ()))),
    "stack": (
        models.Stack(2),
        (lambda r: ("push", (r.randrange(4),)), lambda _: ("pop_nowait", ()), lambda _: ("purge", ())),
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


# ── the report ──────────────────────────────────────────────────────────────────────────────────────────────────────

EXPECTED = """\
it is not linearizable: no order of its operations agrees with the model Queue(capacity=4, queued=(), leases=(), ended=False, dropped=0)

      ann bob cid
      +           put(b'one')
  1.  |   *       put(b'two') -> None
  2.  +           put(b'one') -> None
          +       get()
  3.      |   *   get() -> b'two'
 -->      +       get() -> b'two'

explained: 3, in the order of the numbers; the model is then
  Queue(capacity=4, queued=(Message(data=b'one', returns=0),), leases=(), ended=False, dropped=0)
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
