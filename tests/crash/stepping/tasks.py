"""Deaths of a process whose task waits in a slot: its event loop takes each step of the wait, and here each is taken by itself.

Between two steps nobody sleeps in the library, so a death there is told to the others as that of a sleeper who was chosen.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from tests.crash.stepping import atomics, barriers, conditions, flags, handovers, leased, mutexes, semaphores
from tests.crash.stepping.barriers import Meeting
from tests.crash.stepping.conditions import News
from tests.crash.stepping.elsewhere import Elsewhere
from tests.crash.stepping.operation import AnyOperation, Company, Operation, nothing
from underpass import AtomicInt, Event, Mutex, Notification, OwnerDiedError, Semaphore, WouldBlock

if TYPE_CHECKING:
    from collections.abc import Callable

    from underpass._core import ConditionStay, Stay

# ── a number ──


def come(number: AtomicInt) -> Stay[Literal[True]]:
    """Have a task wait; its place."""
    stay = atomics.known(number)._stay(0)
    with suppress(WouldBlock):
        stay.attempt()
    return stay


def let_go(number: AtomicInt) -> Stay[Literal[True]]:
    """Have a task wait, and choose it; its place."""
    stay = come(number)
    number.wake()
    return stay


def of_number(
    verb: str, prepare: Callable[[AtomicInt], Callable[[], object]], raises: tuple[type[BaseException], ...] = ()
) -> Operation[AtomicInt]:
    return Operation(
        noun="AtomicInt",
        verb=f"wait of a task, {verb}",
        world=AtomicInt,
        prepare=prepare,
        raises=raises,
        wait=atomics.wait_and_load,
        due=atomics.is_changed,
        again=atomics.add_one,
        books=atomics.value,
    )


NUMBERS: list[Operation[AtomicInt]] = [
    of_number("begun", lambda number: atomics.known(number)._stay(0).attempt, (WouldBlock,)),
    of_number("given up", lambda number: come(number).give_up),
    of_number("chosen", lambda number: let_go(number).attempt),
    of_number("given up when chosen", lambda number: let_go(number).give_up),
]


# ── a barrier ──


def arrive(it: Meeting) -> Stay[int]:
    """Have a task come; its place."""
    stay = barriers.known(it)._stay()
    with suppress(WouldBlock):
        stay.attempt()
    return stay


def turn_away(it: Meeting) -> Stay[int]:
    """Have a task come, and break the barrier; its place."""
    stay = arrive(it)
    it.barrier.abort()
    return stay


def of_barrier(verb: str, prepare: Callable[[Meeting], Callable[[], object]], parties: int = 3) -> Operation[Meeting]:
    return Operation(
        noun="Barrier",
        verb=f"wait of a task, {verb}",
        world=barriers.meeting(parties),
        prepare=prepare,
        raises=(WouldBlock,),
        wait=Meeting.end,
        due=Meeting.is_due,
        again=Meeting.look_and_break,
        books=barriers.books,
        close=Meeting.close,
    )


MEETINGS: list[Operation[Meeting]] = [
    of_barrier("begun", lambda it: barriers.known(it)._stay().attempt),
    # Alone it comes and waits; with a waiter that has come it is the last.
    replace(of_barrier("the last", lambda it: barriers.known(it)._stay().attempt, 2), unordered=barriers.MET),
    of_barrier("left", lambda it: arrive(it).leave),
    # Nobody sleeps at a broken one.
    replace(
        of_barrier("given up when broken", lambda it: turn_away(it).give_up),
        wait=None,
        again=Meeting.look_after_abort,
    ),
]


# ── a condition ──


def absent(it: News) -> ConditionStay:
    """Have a task wait; its place."""
    stay = conditions.held(it)._stay()
    stay.begin()
    return stay


def notified(it: News) -> ConditionStay:
    """Have a task wait, and notify it; its place."""
    stay = absent(it)
    it.condition.notify()
    return stay


def back(it: News) -> ConditionStay:
    """Have a task wait and be notified until it holds the mutex again; its place."""
    stay = notified(it)
    stay.attempt()
    it.condition.acquire()
    return stay


def of_condition(verb: str, prepare: Callable[[News], Callable[[], object]]) -> Operation[News]:
    return Operation(
        noun="Condition",
        verb=f"wait of a task, {verb}",
        world=News,
        prepare=prepare,
        wait=News.come,
        due=News.is_due,
        again=News.notify_the_rest,
        books=conditions.books,
        close=News.close,
    )


ABSENCES: list[Operation[News]] = [
    replace(
        of_condition("begun", lambda it: conditions.held(it)._stay().begin),
        partly=(conditions.release,),
        wait=None,
        contend=conditions.notify,
    ),
    of_condition("given up", lambda it: absent(it).give_up),
    of_condition("notified", lambda it: notified(it).attempt),
    of_condition("given up when notified", lambda it: notified(it).give_up),
    replace(
        of_condition("ended", lambda it: back(it).end),
        alive={
            Company.WAITER: "it comes for the mutex, which the victim has to its end, so it may miss what is notified before"
        },
    ),
]


# ── a unit ──


def line_up(semaphore: Semaphore) -> Stay[Literal[True]]:
    """Have a task wait; its place."""
    stay = handovers.entered(semaphore)._stay()
    with suppress(WouldBlock):
        stay.attempt()
    return stay


def handed(semaphore: Semaphore) -> Stay[Literal[True]]:
    """Have a task wait, and hand it a unit; its place."""
    stay = line_up(semaphore)
    semaphore.release()
    return stay


def of_unit(
    verb: str, prepare: Callable[[Semaphore], Callable[[], object]], raises: tuple[type[BaseException], ...] = ()
) -> Operation[Semaphore]:
    return Operation(
        noun="Semaphore",
        verb=f"acquire of a task, {verb}",
        world=handovers.made(0),
        prepare=prepare,
        raises=raises,
        wait=semaphores.acquire,
        due=handovers.is_due,
        again=semaphores.give,
        books=semaphores.value,
        close=handovers.close,
    )


def line_up_leased(elsewhere: Elsewhere[Semaphore]) -> Stay[Literal[True]]:
    """Have a task wait for a unit that another process holds; its place."""
    stay = leased.known(elsewhere.it)._stay()
    with suppress(WouldBlock):
        stay.attempt()
    return stay


def handed_leased(elsewhere: Elsewhere[Semaphore]) -> Stay[Literal[True]]:
    """Have a task wait, and the other process hand it the unit; its place."""
    stay = line_up_leased(elsewhere)
    elsewhere.let_go()
    return stay


def of_leased_unit(
    verb: str,
    prepare: Callable[[Elsewhere[Semaphore]], Callable[[], object]],
    raises: tuple[type[BaseException], ...] = (),
) -> Operation[Elsewhere[Semaphore]]:
    return Operation(
        noun="Semaphore",
        verb=f"acquire of a task, leased, {verb}",
        world=lambda: leased.held_elsewhere("arrival"),
        prepare=prepare,
        raises=raises,
        wait=lambda elsewhere: leased.use(elsewhere.it),
        due=lambda elsewhere: leased.is_free(elsewhere.it),
        again=Elsewhere[Semaphore].let_go,
        books=lambda elsewhere, tally: leased.value(elsewhere.it, tally),
        close=Elsewhere[Semaphore].close,
    )


UNITS: list[AnyOperation] = [
    of_unit("begun", lambda semaphore: handovers.entered(semaphore)._stay().attempt, (WouldBlock,)),
    of_unit("given up", lambda semaphore: line_up(semaphore).give_up),
    of_unit("handed one", lambda semaphore: handed(semaphore).attempt),
    of_unit("given up when handed one", lambda semaphore: handed(semaphore).give_up),
    of_leased_unit("begun", lambda elsewhere: leased.known(elsewhere.it)._stay().attempt, (WouldBlock,)),
    of_leased_unit("given up", lambda elsewhere: line_up_leased(elsewhere).give_up),
    of_leased_unit("handed one", lambda elsewhere: handed_leased(elsewhere).attempt),
    of_leased_unit("given up when handed one", lambda elsewhere: handed_leased(elsewhere).give_up),
]


# ── a mutex ──


def entered(lock: mutexes.Lock) -> Mutex:
    """Return it once this process has a life."""
    assert isinstance(lock, Mutex)
    Mutex(fairness="arrival").acquire()
    return lock


def in_line(lock: mutexes.Lock, *, recovers: bool) -> Stay[OwnerDiedError | None]:
    """Return a task's place, to which it has not come."""
    stay = entered(lock)._stay(recovers=recovers)
    assert stay is not None
    return stay


def queue_up(lock: mutexes.Lock, *, recovers: bool = False) -> Stay[OwnerDiedError | None]:
    """Have a task wait for a mutex that another process holds; its place."""
    stay = in_line(lock, recovers=recovers)
    with suppress(WouldBlock):
        stay.attempt()
    return stay


def given_up_to(elsewhere: Elsewhere[mutexes.Lock]) -> Stay[OwnerDiedError | None]:
    """Have a task wait, and the other process hand it the mutex; its place."""
    stay = queue_up(elsewhere.it)
    elsewhere.let_go()
    return stay


def left_to(elsewhere: Elsewhere[mutexes.Lock], *, recovers: bool) -> Stay[OwnerDiedError | None]:
    """Have a task wait, and the other process die with the mutex; its place."""
    stay = queue_up(elsewhere.it, recovers=recovers)
    elsewhere.lose()
    return stay


def of_mutex(
    verb: str,
    prepare: Callable[[Elsewhere[mutexes.Lock]], Callable[[], object]],
    raises: type[Exception] = WouldBlock,
) -> AnyOperation:
    line = mutexes.FAIR.refused(f"acquire of a task, {verb}", lambda lock: lock.acquire, raises)
    return replace(line, prepare=prepare)


def left_by_the_dead(
    verb: str, prepare: Callable[[Elsewhere[mutexes.Lock]], Callable[[], object]], raises: type[Exception] = WouldBlock
) -> AnyOperation:
    """What a task does whose mutex the other process left by its death."""
    return replace(of_mutex(verb, prepare, raises), again=nothing)


LOCKS: list[AnyOperation] = [
    of_mutex("begun", lambda elsewhere: in_line(elsewhere.it, recovers=False).attempt),
    of_mutex("given up", lambda elsewhere: queue_up(elsewhere.it).give_up),
    of_mutex("handed it", lambda elsewhere: given_up_to(elsewhere).attempt),
    of_mutex("given up when handed it", lambda elsewhere: given_up_to(elsewhere).give_up),
    # Told or not, whoever waits besides is too: nobody sleeps.
    replace(
        left_by_the_dead(
            "told of the dead", lambda elsewhere: left_to(elsewhere, recovers=False).attempt, OwnerDiedError
        ),
        wait=None,
    ),
    left_by_the_dead("recovering from the dead", lambda elsewhere: left_to(elsewhere, recovers=True).attempt),
    left_by_the_dead("given up when told of the dead", lambda elsewhere: left_to(elsewhere, recovers=True).give_up),
]


# ── flags ──


def look_out(notification: Notification) -> Stay[int]:
    """Have a task wait for either flag; its place."""
    stay = expectant(notification)
    with suppress(WouldBlock):
        stay.attempt()
    return stay


def expectant(notification: Notification) -> Stay[int]:
    """Return a task's place, to which it has not come."""
    return flags.used(notification)._stay(flags.A | flags.B, all=False, consume=True)


def given(notification: Notification) -> Stay[int]:
    """Have a task wait, and be given a flag; its place."""
    stay = look_out(notification)
    notification.notify(flags.A)
    return stay


def of_flags(
    verb: str, prepare: Callable[[Notification], Callable[[], object]], raises: tuple[type[BaseException], ...] = ()
) -> Operation[Notification]:
    return Operation(
        noun="Notification",
        verb=f"wait of a task, {verb}",
        world=Notification,
        prepare=prepare,
        raises=raises,
        # It may take nothing away: what a dead one is given as well would come back for a second time.
        wait=flags.look_for_any,
        due=flags.has_any,
        again=lambda notification: notification.notify(flags.A | flags.B),
        books=flags.books,
    )


def when_given(it: Operation[Notification]) -> Operation[Notification]:
    """The same of a task that was given a flag which is for nobody else: it has to come back."""
    return replace(
        it,
        wait=flags.wait_for_both,
        due=flags.has_both,
        again=flags.notify_both,
        unordered="whoever looks for the flag meanwhile may look in vain",
    )


FLAGS: list[Operation[Notification]] = [
    of_flags("begun", lambda notification: expectant(notification).attempt, (WouldBlock,)),
    of_flags("given up", lambda notification: look_out(notification).give_up),
    when_given(of_flags("given one", lambda notification: given(notification).attempt)),
    when_given(of_flags("given up when given one", lambda notification: given(notification).give_up)),
]


# ── an event ──


def expect(event: Event) -> Stay[Literal[True]]:
    """Have a task wait; its place."""
    stay = flags.known(event)._stay()
    with suppress(WouldBlock):
        stay.attempt()
    return stay


def told(event: Event) -> Stay[Literal[True]]:
    """Have a task wait, and set it; its place."""
    stay = expect(event)
    event.set()
    return stay


def of_event(
    verb: str, prepare: Callable[[Event], Callable[[], object]], raises: tuple[type[BaseException], ...] = ()
) -> Operation[Event]:
    return Operation(
        noun="Event",
        verb=f"wait of a task, {verb}",
        world=Event,
        prepare=prepare,
        raises=raises,
        wait=flags.wait,
        due=flags.is_set,
        again=flags.set_it,
        books=flags.state,
    )


EVENTS: list[Operation[Event]] = [
    of_event("begun", lambda event: flags.known(event)._stay().attempt, (WouldBlock,)),
    of_event("given up", lambda event: expect(event).give_up),
    # It is set: nobody can come to sleep.
    replace(of_event("told", lambda event: told(event).attempt), wait=None),
    replace(of_event("given up when told", lambda event: told(event).give_up), wait=None),
]


OPERATIONS: list[AnyOperation] = [*NUMBERS, *MEETINGS, *ABSENCES, *UNITS, *LOCKS, *FLAGS, *EVENTS]
