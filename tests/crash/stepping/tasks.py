"""Deaths of a process whose task waits in a slot: its event loop takes each step of the wait, and here each is taken by itself.

Between two steps nobody sleeps in the library, so a death there is told to the others as that of a sleeper who was chosen.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from tests.crash.stepping import atomics, barriers, conditions
from tests.crash.stepping.barriers import Meeting
from tests.crash.stepping.conditions import News
from tests.crash.stepping.operation import AnyOperation, Operation
from underpass import AtomicInt, WouldBlock

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
    of_barrier("the last", lambda it: barriers.known(it)._stay().attempt, 2),
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
    of_condition("ended", lambda it: back(it).end),
]


OPERATIONS: list[AnyOperation] = [*NUMBERS, *MEETINGS, *ABSENCES]
