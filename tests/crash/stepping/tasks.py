"""Deaths of a process whose task waits in a slot: its event loop takes each step of the wait, and here each is taken by itself.

Between two steps nobody sleeps in the library, so a death there is told to the others as that of a sleeper who was chosen.
"""

from contextlib import suppress
from dataclasses import replace

from tests.crash.stepping import atomics, barriers, conditions
from tests.crash.stepping.barriers import Meeting
from tests.crash.stepping.conditions import News
from tests.crash.stepping.operation import AnyOperation, Operation
from underpass import AtomicInt, WouldBlock
from underpass._core import AtomicIntStay, BarrierStay, ConditionStay

# ── a number ──


def come(number: AtomicInt) -> AtomicIntStay:
    """Have a task wait; its place."""
    stay = atomics.known(number)._stay(0)
    with suppress(WouldBlock):
        stay.attempt()
    return stay


def let_go(number: AtomicInt) -> AtomicIntStay:
    """Have a task wait, and choose it; its place."""
    stay = come(number)
    number.wake()
    return stay


WAITED = Operation(
    noun="AtomicInt",
    verb="wait of a task, begun",
    world=AtomicInt,
    prepare=lambda number: atomics.known(number)._stay(0).attempt,
    raises=(WouldBlock,),
    wait=atomics.wait_and_load,
    due=atomics.is_changed,
    again=atomics.add_one,
    books=atomics.value,
)

NUMBERS: list[Operation[AtomicInt]] = [
    WAITED,
    replace(WAITED, verb="wait of a task, given up", prepare=lambda number: come(number).give_up, raises=()),
    replace(WAITED, verb="wait of a task, chosen", prepare=lambda number: let_go(number).attempt, raises=()),
    replace(
        WAITED, verb="wait of a task, given up when chosen", prepare=lambda number: let_go(number).give_up, raises=()
    ),
]


# ── a barrier ──


def arrive(it: Meeting) -> BarrierStay:
    """Have a task come; its place."""
    stay = barriers.known(it)._stay()
    with suppress(WouldBlock):
        stay.attempt()
    return stay


def turn_away(it: Meeting) -> BarrierStay:
    """Have a task come, and break the barrier; its place."""
    stay = arrive(it)
    it.barrier.abort()
    return stay


ARRIVED = Operation(
    noun="Barrier",
    verb="wait of a task, begun",
    world=barriers.meeting(3),
    prepare=lambda it: barriers.known(it)._stay().attempt,
    raises=(WouldBlock,),
    wait=Meeting.end,
    due=Meeting.is_due,
    again=Meeting.look_and_break,
    books=barriers.books,
    close=Meeting.close,
)

MEETINGS: list[Operation[Meeting]] = [
    ARRIVED,
    # Alone it comes and waits; with a waiter that has come it is the last.
    replace(ARRIVED, verb="wait of a task, the last", world=barriers.meeting(2)),
    replace(ARRIVED, verb="wait of a task, left", prepare=lambda it: arrive(it).leave, raises=()),
    replace(
        ARRIVED,
        verb="wait of a task, given up when broken",
        prepare=lambda it: turn_away(it).give_up,
        # Nobody sleeps at a broken one.
        wait=None,
        again=Meeting.look_after_abort,
        raises=(),
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


ABSENT = Operation(
    noun="Condition",
    verb="wait of a task, begun",
    world=News,
    prepare=lambda it: conditions.held(it)._stay().begin,
    partly=(conditions.release,),
    contend=conditions.notify,
    again=News.notify_the_rest,
    books=conditions.books,
    close=News.close,
)
LEFT = replace(ABSENT, partly=(), contend=None, wait=News.come, due=News.is_due)

ABSENCES: list[Operation[News]] = [
    ABSENT,
    replace(LEFT, verb="wait of a task, given up", prepare=lambda it: absent(it).give_up),
    replace(LEFT, verb="wait of a task, notified", prepare=lambda it: notified(it).attempt),
    replace(LEFT, verb="wait of a task, given up when notified", prepare=lambda it: notified(it).give_up),
    replace(LEFT, verb="wait of a task, ended", prepare=lambda it: back(it).end),
]


OPERATIONS: list[AnyOperation] = [*NUMBERS, *MEETINGS, *ABSENCES]
