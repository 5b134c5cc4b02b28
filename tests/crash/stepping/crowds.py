"""Deaths of somebody for whom several wait at once: all of them go, or nobody does."""

from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from tests.crash.stepping.atomics import known as known_number
from tests.crash.stepping.children import Child, beside, until
from tests.crash.stepping.flags import A, B, C, D, used
from tests.crash.stepping.flags import known as known_event
from tests.crash.stepping.operation import Operation, Tally
from underpass import AtomicInt, Event, Notification

T = TypeVar("T")

# Slots of an object that have a bit in its first word. See layout/waiters.rs.
FIRST_ROW = 63


class Crowd(Generic[T]):
    """An object, and those who sleep in it."""

    def __init__(self, make: Callable[[], T], waits: list[Callable[[T], object]]) -> None:
        self.object = make()
        self.went = 0
        self.waiters = [Child(f"waiter {number}", partial(wait, self.object)) for number, wait in enumerate(waits)]
        for waiter in self.waiters:
            waiter.until_asleep()

    def look(self) -> int:
        """Wait until each has gone or sleeps, of whom nobody but the dead has been; how many went."""
        until(
            lambda: all(waiter.said is not None or waiter.wholly_asleep for waiter in self.waiters),
            "a waiter does neither",
        )
        self.went = sum(waiter.said is not None for waiter in self.waiters)
        return self.went

    def look_for_all(self) -> None:
        """The same, where all go together."""
        assert self.look() in (0, len(self.waiters)), f"{self.went} of {len(self.waiters)} went"

    def results(self) -> list[str | None]:
        """Wait until all have gone; what each got."""
        until(lambda: all(waiter.said is not None for waiter in self.waiters), "a waiter hangs")
        return [waiter.said for waiter in self.waiters]

    def close(self) -> None:
        """End those who still wait."""
        for waiter in self.waiters:
            waiter.close()


def set_after(crowd: Crowd[Event]) -> None:
    crowd.look_for_all()
    crowd.object.set()


def notify_after(crowd: Crowd[Notification]) -> None:
    crowd.look_for_all()
    crowd.object.notify(A | B | D)


def fill_the_first_row(notification: Notification) -> int:
    """Wait in as many threads as have slots in front of the crowd."""
    for _ in range(FIRST_ROW - 1):
        beside(partial(notification.wait, D, consume=False))
    until(lambda: notification.statistics().waiters == FIRST_ROW - 1, "the first row is not full")
    return notification.wait(D, consume=False)


def in_the_crowd(notification: Notification, bits: int) -> int:
    """Wait for all of them, behind those of the first row."""
    until(lambda: notification.statistics().waiters >= FIRST_ROW, "the first row is not full")
    return notification.wait(bits, all=True)


def notify_after_the_crowd(crowd: Crowd[Notification]) -> None:
    assert crowd.look() in (0, 2), f"{crowd.went} of 2 in the crowd went"
    crowd.object.notify(A | B | D)


def change_after(crowd: Crowd[AtomicInt]) -> None:
    crowd.look_for_all()
    crowd.object.add(1)


def count_and_change(crowd: Crowd[AtomicInt]) -> None:
    crowd.look()
    crowd.object.add(1)


def what_went(crowd: Crowd[Event], _tally: Tally) -> tuple[int, object]:
    return crowd.went, crowd.results()


def what_was_given(crowd: Crowd[Notification], _tally: Tally) -> tuple[int, object, int]:
    return crowd.went, crowd.results(), crowd.object.bits


def number(crowd: Crowd[AtomicInt], _tally: Tally) -> tuple[int, object, int]:
    return crowd.went, crowd.results(), crowd.object.load()


def leave(number: AtomicInt) -> str:
    number.wait(0)
    return "went"


FLAGS: list[Operation[Crowd[Notification]]] = [
    Operation(
        noun="Notification",
        verb="notify, four wait",
        world=lambda: Crowd(
            Notification,
            [
                lambda notification: notification.wait(A),
                lambda notification: notification.wait(A | B, all=True),
                lambda notification: notification.wait(A | D, consume=False),
                lambda notification: notification.wait(B, consume=False),
            ],
        ),
        prepare=lambda crowd: partial(used(crowd.object).notify, A | B | C),
        again=notify_after,
        meanwhile=lambda crowd: crowd.object.notify(A | B | D),
        books=what_was_given,
        close=lambda crowd: crowd.close(),
    ),
    Operation(
        noun="Notification",
        verb="notify, two wait in the crowd",
        world=lambda: Crowd(
            Notification,
            [
                fill_the_first_row,
                lambda notification: in_the_crowd(notification, A),
                lambda notification: in_the_crowd(notification, A | B),
            ],
        ),
        prepare=lambda crowd: partial(used(crowd.object).notify, A | B | C),
        again=notify_after_the_crowd,
        # Those of the first row stay.
        meanwhile=lambda crowd: crowd.object.notify(A | B),
        books=what_was_given,
        close=lambda crowd: crowd.close(),
    ),
]

EVENTS: list[Operation[Crowd[Event]]] = [
    Operation(
        noun="Event",
        verb="set, three wait",
        world=lambda: Crowd(Event, [lambda event: event.wait()] * 3),
        prepare=lambda crowd: known_event(crowd.object).set,
        again=set_after,
        meanwhile=lambda crowd: crowd.object.set(),
        books=what_went,
        close=lambda crowd: crowd.close(),
    ),
]

NUMBERS: list[Operation[Crowd[AtomicInt]]] = [
    Operation(
        noun="AtomicInt",
        verb="add, three wait",
        world=lambda: Crowd(AtomicInt, [leave] * 3),
        prepare=lambda crowd: partial(known_number(crowd.object).add, 5),
        again=change_after,
        meanwhile=lambda crowd: crowd.object.add(1),
        books=number,
        close=lambda crowd: crowd.close(),
    ),
    Operation(
        noun="AtomicInt",
        verb="wake, two of three",
        world=lambda: Crowd(AtomicInt, [leave] * 3),
        prepare=lambda crowd: partial(known_number(crowd.object).wake, 2),
        partly=(lambda crowd: crowd.object.wake(1),),
        again=count_and_change,
        meanwhile=lambda crowd: crowd.object.wake(1),
        books=number,
        close=lambda crowd: crowd.close(),
    ),
]

OPERATIONS = [*FLAGS, *EVENTS, *NUMBERS]
