"""Deaths of one who waits for many, and of one who rings: a wake reaches who lives, and no bell stays asked for."""

import os
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.crash.stepping.operation import AnyOperation, Operation, Tally
from underpass import Event, Semaphore, TimedOut, WaitSet, WouldBlock, select, wait_all, wait_any

# Long enough for a sleep, in seconds.
LOOK = 0.002
# Where the header of an object says which bells are rung for it. See layout/bell.rs.
WATCHERS, WORDS = 128, 384


class Several:
    """What is waited for together: a semaphore, an event, and a pipe that nobody writes to."""

    def __init__(self, units: int = 0) -> None:
        self.units = Semaphore.create("units", units)
        self.stop = Event.create("stop")
        self.ends = os.pipe()

    @property
    def all(self) -> tuple[Semaphore, Event]:
        """Both objects."""
        return self.units, self.stop

    def known(self) -> "Several":
        """Return it once this process has a life."""
        Semaphore(0).reset()
        return self

    def members(self, handler: Callable[[object], object] | None = None) -> WaitSet:
        """Return a set of all of them: with a handler the objects have it."""
        members = WaitSet()
        for what in self.all:
            members.add(what, handler)
        members.add(self.ends[0])
        return members

    def release(self) -> None:
        self.units.release()

    def release_two(self) -> None:
        """Let go who waits for a unit, whoever else takes one."""
        self.units.release(2)

    def set(self) -> None:
        self.stop.set()

    def set_both(self) -> None:
        self.release()
        self.set()

    def has_unit(self) -> bool:
        return self.units.value > 0

    def is_set(self) -> bool:
        return self.stop.is_set()

    def has_both(self) -> bool:
        return self.has_unit() and self.is_set()

    def toggle(self, _tally: Tally) -> None:
        """Change all of them, and wake whoever sleeps there."""
        self.units.release()
        self.stop.set()
        self.stop.clear()
        self.units.acquire_nowait()

    def watched(self) -> list[str]:
        """Ring for each object, since whoever finds the owner of a bell dead takes its bit back; those that are left."""
        for what in self.all:
            with suppress(TimedOut):
                wait_all(*self.all, timeout=0.0001)
            what.set() if isinstance(what, Event) else what.release()
        space = Path(os.environ["UNDERPASS_DIR"])
        left = [what.name or "" for what in self.all if any((space / (what.name or "")).read_bytes()[WATCHERS:WORDS])]
        self.units.acquire()
        return left

    def books(self, _tally: Tally) -> tuple[int, bool]:
        """Return what there is; nobody is rung in vain any more."""
        found = self.units.value, self.stop.is_set()
        self.stop.clear()
        for _ in range(found[0]):
            self.units.acquire_nowait()
        assert not self.watched()
        with suppress(WouldBlock):
            self.units.acquire_nowait()
            raise AssertionError("a unit more than there are")
        return found

    def close(self) -> None:
        for end in self.ends:
            os.close(end)
        for what in self.all:
            what.unlink()
            what.close()


# ── who waits ──


def names(found: Sequence[object]) -> list[str]:
    return [type(one).__name__ for one in found]


def choose(it: Several) -> list[str]:
    """Wait for any of them, by words."""
    return names(wait_any(*it.all))


def choose_at_descriptors(it: Several) -> list[str]:
    """Wait for any of them, by a socket and the ends of processes."""
    with it.members() as members:
        return names(members.wait())


def want_all(it: Several) -> None:
    """Wait for both."""
    wait_all(*it.all)


def do_one(it: Several) -> str:
    """Do one of two operations."""
    index, _ = select(it.units.acquire, it.stop.wait)
    return ("acquired", "stopped")[index]


def direct(it: Several) -> str:
    """Wait for the semaphore alone."""
    it.units.acquire()
    return "acquired"


def poll(_: Several) -> str:
    """Wait for a unit as a loop does that knows descriptors alone."""
    with closing(Semaphore.open("units")) as units:
        while True:
            wait_any(units.fileno())
            with suppress(WouldBlock):
                units.acquire_nowait()
                units.release()
                return "polled"


def released(it: Several) -> None:
    """Let go whoever still waits for any."""
    it.stop.set()


def dispatcher(it: Several) -> Callable[[], object]:
    return it.known().members(repr).dispatch


def attempt_of_one_polled(it: Several) -> Callable[[], object]:
    """An operation that has a descriptor to look after first."""
    it.known().units.fileno()
    # Told, and taken: so it is readable, and for nothing.
    it.units.release()
    it.units.acquire_nowait()
    return it.units.acquire_nowait


def in_a_set(verb: Callable[[WaitSet, Several], Callable[[], object]]) -> Callable[[Several], Callable[[], object]]:
    """What is done with a set that has its members."""
    return lambda it: verb(it.known().members(), it)


def operation(
    noun: str, verb: str, prepare: Callable[[Several], Callable[[], object]], units: int = 0
) -> Operation[Several]:
    """What is done where nothing changes."""
    return Operation(
        noun=noun,
        verb=verb,
        world=lambda: Several(units),
        prepare=prepare,
        again=released,
        books=Several.books,
        close=Several.close,
    )


def asleep(
    noun: str, verb: str, prepare: Callable[[Several], Callable[[], object]], partner: Callable[[Several], object]
) -> Operation[Several]:
    """What sleeps until the partner has changed something."""
    return replace(operation(noun, verb, prepare), partner=partner)


def beside(it: Operation[Several], verb: str, wait: Callable[[Several], object]) -> Operation[Several]:
    """The same, while somebody else waits for a unit besides."""
    return replace(it, verb=f"{it.verb}{verb}", wait=wait, due=Several.has_unit)


def exposing(verb: str, prepare: Callable[[WaitSet, Several], Callable[[], object]]) -> Operation[Several]:
    """What a loop asks a set for."""
    it = operation("WaitSet", verb, in_a_set(prepare))
    return replace(it, wait=choose, due=Several.has_unit, contend=Several.toggle)


ANY = asleep("wait_any", "asleep", lambda it: partial(wait_any, *it.known().all), Several.release_two)
ONE = asleep(
    "select", "asleep", lambda it: partial(select, it.known().units.acquire, it.stop.wait), Several.release_two
)
IN_SET = asleep("WaitSet", "wait, asleep", in_a_set(lambda members, _: members.wait), Several.release_two)

WAITING: list[Operation[Several]] = [
    replace(operation("wait_any", "ready", lambda it: partial(wait_any, *it.known().all), 1), contend=Several.toggle),
    beside(ANY, "", choose),
    beside(ANY, ", beside a direct waiter", direct),
    beside(ANY, ", beside one at descriptors", choose_at_descriptors),
    replace(
        operation("wait_any", "timed out", lambda it: partial(wait_any, *it.known().all, timeout=LOOK)),
        raises=(TimedOut,),
        wait=choose,
        due=Several.has_unit,
        contend=Several.toggle,
    ),
    asleep("wait_any", "asleep at descriptors", lambda it: partial(wait_any, *it.known().all, it.ends[0]), Several.set),
    replace(
        asleep("wait_all", "asleep", lambda it: partial(wait_all, *it.known().all), Several.set_both),
        wait=want_all,
        due=Several.has_both,
        again=Several.set_both,
    ),
    replace(
        operation("select", "ready", lambda it: partial(select, it.known().units.acquire, it.stop.wait), 2),
        contend=Several.toggle,
    ),
    beside(ONE, "", do_one),
    beside(ONE, ", beside a direct waiter", direct),
]

SETS: list[Operation[Several]] = [
    replace(operation("WaitSet", "wait, ready", in_a_set(lambda members, _: members.wait), 1), contend=Several.toggle),
    beside(IN_SET, "", choose_at_descriptors),
    beside(IN_SET, ", beside a direct waiter", direct),
    replace(
        operation("WaitSet", "wait, timed out", in_a_set(lambda members, _: partial(members.wait, timeout=LOOK))),
        raises=(TimedOut,),
        wait=choose_at_descriptors,
        due=Several.has_unit,
    ),
    operation("WaitSet", "made", lambda it: it.known() and WaitSet),
    exposing("fileno, the first", lambda members, _: members.fileno),
    exposing("filenos, the first", lambda members, _: members.filenos),
    replace(
        operation("WaitSet", "add, the first", lambda it: partial(WaitSet().add, it.known().units)),
        wait=choose,
        due=Several.has_unit,
        contend=Several.toggle,
    ),
    operation("WaitSet", "add, of a descriptor", in_a_set(lambda members, it: partial(members.add, it.ends[1]))),
    replace(
        operation("WaitSet", "remove", in_a_set(lambda members, it: partial(members.remove, it.units))),
        wait=choose,
        due=Several.has_unit,
        contend=Several.toggle,
    ),
    replace(
        operation("WaitSet", "migrate", in_a_set(lambda members, it: partial(members.migrate, it.units, WaitSet()))),
        wait=choose,
        due=Several.has_unit,
        contend=Several.toggle,
    ),
    asleep("WaitSet", "dispatch, asleep", dispatcher, Several.release),
    replace(
        operation("WaitSet", "close", in_a_set(lambda members, _: members.close)),
        wait=choose,
        due=Several.has_unit,
        contend=Several.toggle,
    ),
]


OUTLETS: list[Operation[Several]] = [
    replace(
        operation("Semaphore", "fileno, the first", lambda it: it.known().units.fileno),
        wait=poll,
        due=Several.has_unit,
        again=Several.release,
        contend=Several.toggle,
    ),
    replace(
        operation("Semaphore", "acquire_nowait, refused, with a descriptor", attempt_of_one_polled),
        raises=(WouldBlock,),
        wait=poll,
        due=Several.has_unit,
        again=Several.release,
    ),
    replace(
        operation("Semaphore", "release, waited for at a descriptor", lambda it: it.known().units.release),
        wait=poll,
        due=Several.has_unit,
        again=Several.release,
    ),
]


# ── who rings ──


def rings(noun: str, verb: str, prepare: Callable[[Several], Callable[[], object]]) -> list[Operation[Several]]:
    """What a change does that somebody waits for beside other things: by words, at descriptors, or to do it."""
    it = operation(noun, verb, prepare)
    due = Several.has_unit if noun == "Semaphore" else Several.is_set
    return [
        replace(it, verb=f"{verb}, waited for by {who}", wait=wait, due=due)
        for who, wait in (
            ("wait_any", choose),
            ("a WaitSet", choose_at_descriptors),
            ("select", do_one),
        )
    ]


RINGING = [
    *rings("Semaphore", "release", lambda it: it.known().units.release),
    *rings("Event", "set", lambda it: it.known().stop.set),
]


OPERATIONS: list[AnyOperation] = [*WAITING, *SETS, *OUTLETS, *RINGING]
