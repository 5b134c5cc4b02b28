"""wait_any, wait_all, select and WaitSet against what is ready of a few objects, by the state of each."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.models.stateful import compare, outcome, profiles
from underpass import (
    AtomicInt,
    Event,
    Notification,
    Queue,
    RWLock,
    Semaphore,
    TimedOut,
    WaitSet,
    select,
    wait_all,
    wait_any,
)

if TYPE_CHECKING:
    from collections.abc import Callable

CAPACITY = 2
NAMES = ("units", "event", "both", "queue", "room", "drained", "change", "table")
names = some.lists(some.sampled_from(NAMES), min_size=1, max_size=5, unique=True)
one_name = some.sampled_from(NAMES)


class ManyModel(RuleBasedStateMachine):
    """Each object is a few words; what is ready follows from them."""

    @initialize()
    def make(self) -> None:
        self.units, self.event, self.flags = Semaphore(0), Event(), Notification()
        self.queue, self.count, self.table = Queue(CAPACITY, 8), AtomicInt(), RWLock()
        self.members: WaitSet = WaitSet()
        # What the words say.
        self.value, self.is_set, self.bits, self.depth, self.number, self.writes = 0, False, 0, 0, 0, False
        # What is in the set, in the order in which it was added, and who has a handler there.
        self.added: dict[str, bool] = {}
        self.called: list[str] = []
        self.what: dict[str, Any] = {
            "units": self.units,
            "event": self.event,
            "both": self.flags.flags(0b11, all=True),
            "queue": self.queue,
            "room": self.queue.room,
            "drained": self.queue.drained,
            "change": self.count.change_from(0),
            "table": self.table.reading(),
        }

    def is_ready(self, name: str) -> bool:
        return {
            "units": self.value > 0,
            "event": self.is_set,
            "both": self.bits & 0b11 == 0b11,
            "queue": self.depth > 0,
            "room": self.depth < CAPACITY,
            "drained": self.depth == 0,
            "change": self.number != 0,
            # Who writes is told at once that it would wait for itself.
            "table": True,
        }[name]

    def ready_of(self, chosen: list[str]) -> list[str]:
        return [name for name in chosen if self.is_ready(name)]

    def names_of(self, found: list[Any]) -> list[str]:
        return [next(name for name, what in self.what.items() if what is one) for one in found]

    # ── the objects ──

    @rule(count=some.integers(1, 2))
    def release(self, count: int) -> None:
        self.units.release(count)
        self.value += count

    @precondition(lambda self: self.value > 0)
    @rule()
    def acquire(self) -> None:
        self.units.acquire_nowait()
        self.value -= 1

    @rule(on=some.booleans())
    def turn(self, *, on: bool) -> None:
        (self.event.set if on else self.event.clear)()
        self.is_set = on

    @rule(bits=some.integers(0, 7), on=some.booleans())
    def flag(self, bits: int, *, on: bool) -> None:
        (self.flags.notify if on else self.flags.clear)(bits)
        self.bits = self.bits | bits if on else self.bits & ~bits

    @precondition(lambda self: self.depth < CAPACITY)
    @rule()
    def put(self) -> None:
        self.queue.put_nowait(b"a")
        self.depth += 1

    @precondition(lambda self: self.depth > 0)
    @rule()
    def get(self) -> None:
        self.queue.get_nowait()
        self.depth -= 1

    @rule(value=some.integers(-1, 1))
    def add_up(self, value: int) -> None:
        self.count.add(value)
        self.number += value

    @rule()
    def write(self) -> None:
        if self.writes:
            self.table.writing().__exit__(None, None, None)
        else:
            self.table.writing(timeout=0).__enter__()
        self.writes = not self.writes

    # ── waiting for them ──

    @rule(chosen=names)
    def any_of(self, chosen: list[str]) -> None:
        found = outcome(lambda: wait_any(*(self.what[name] for name in chosen), timeout=0))
        expected = self.ready_of(chosen)
        assert (self.names_of(found) if isinstance(found, list) else found) == (expected or TimedOut)

    @rule(chosen=names)
    def all_of(self, chosen: list[str]) -> None:
        found = outcome(lambda: wait_all(*(self.what[name] for name in chosen), timeout=0))
        assert found == (None if self.ready_of(chosen) == chosen else TimedOut)

    @rule(
        chosen=some.lists(
            some.sampled_from(["units", "event", "both", "queue", "room", "change"]), min_size=1, unique=True
        )
    )
    def one_of(self, chosen: list[str]) -> None:
        verbs: dict[str, Callable[[], Any]] = {
            "units": self.units.acquire,
            "event": self.event.wait,
            "both": partial(self.flags.wait, 0b11, all=True),
            "queue": self.queue.get,
            "room": partial(self.queue.put, b"a"),
            "change": partial(self.count.wait, 0),
        }
        done = outcome(lambda: select(*(verbs[name] for name in chosen), timeout=0))
        if not isinstance(done, tuple):
            assert done is TimedOut
            assert not self.ready_of(chosen)
            return
        name = chosen[done[0]]
        assert self.is_ready(name)
        # That one has taken effect, and no other, as the invariant says once it is undone. Whose turn it is depends on all selects
        # that came before, so the steps that follow must not.
        undo: dict[str, Callable[[], object]] = {
            "units": self.units.release,
            "both": partial(self.flags.notify, 0b11),
            "queue": partial(self.queue.put_nowait, b"a"),
            "room": self.queue.get_nowait,
        }
        undo.get(name, lambda: None)()

    @rule(name=one_name, handled=some.booleans())
    def add(self, name: str, *, handled: bool) -> None:
        if name in self.added:
            return
        self.members.add(self.what[name], (lambda _: self.called.append(name)) if handled else None)
        self.added[name] = handled

    @rule(name=one_name)
    def remove(self, name: str) -> None:
        if name in self.added:
            self.members.remove(self.what[name])
            del self.added[name]

    @rule(everything=some.booleans())
    def look(self, *, everything: bool) -> None:
        assert self.names_of(self.members.ready(everything=everything)) == self.ready_of(list(self.added))

    @rule()
    def wait(self) -> None:
        found = outcome(lambda: self.members.wait(timeout=0))
        expected = self.ready_of(list(self.added))
        assert (self.names_of(found) if isinstance(found, list) else found) == (expected or TimedOut)

    @rule()
    def dispatch(self) -> None:
        expected = [name for name in self.ready_of(list(self.added)) if self.added[name]]
        assert outcome(lambda: self.members.dispatch(timeout=0)) == (len(expected) or TimedOut)
        assert self.called == expected
        self.called.clear()
        for name in expected:
            del self.added[name]

    @invariant()
    def took_nothing(self) -> None:
        assert (self.units.value, self.event.is_set(), self.flags.bits) == (self.value, self.is_set, self.bits)
        assert (self.queue.depth, self.count.load()) == (self.depth, self.number)
        assert self.table.statistics().state == ("written" if self.writes else "free")
        assert len(self.members) == len(self.added)

    def teardown(self) -> None:
        self.members.close()
        for one in (self.units, self.event, self.flags, self.queue, self.count, self.table):
            one.close()


@profiles
def test_many(profile: settings) -> None:
    # Each step makes a look at several objects.
    compare(ManyModel, settings(parent=profile, max_examples=profile.max_examples // 3))
