"""Deaths inside Notification and Event."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from tests.crash.stepping.operation import Operation, Tally
from underpass import Event, Notification, TimedOut, WouldBlock

# Two flags that the operations are about, two that nobody waits for, and the contender's own.
A, B, C, D, MINE = (1 << bit for bit in range(5))
# Long enough for whoever finds what a dead one was given, in seconds.
LOOK = 0.002


def with_flags(bits: int) -> Callable[[], Notification]:
    """Return what makes a notification with these flags."""

    def make() -> Notification:
        notification = Notification()
        notification.notify(bits)
        return notification

    return make


def used(notification: Notification) -> Notification:
    """Return it once this process has a life, as one that has waited here before."""
    with suppress(WouldBlock):
        notification.wait_nowait(MINE, consume=False)
    return notification


# ── who else is there ───────────────────────────────────────────────────────────────────────────────────────────────


def wait_for_any(notification: Notification) -> int:
    return notification.wait(A | B)


def wait_for_both(notification: Notification) -> int:
    return notification.wait(A | B, all=True)


def look_for_any(notification: Notification) -> int:
    return notification.wait(A | B, consume=False)


def has_any(notification: Notification) -> bool:
    return notification.bits & (A | B) != 0


def has_both(notification: Notification) -> bool:
    return notification.bits & (A | B) == A | B


def post_and_take(notification: Notification, _tally: Tally) -> None:
    notification.notify(MINE)
    assert notification.wait(MINE) == MINE


# ── what the survivor does and finds ────────────────────────────────────────────────────────────────────────────────


def books(notification: Notification, _tally: Tally) -> str:
    """Return the flags that are there, with those that come back from the dead to whoever waits. Then it is empty, and works."""
    found = 0
    with suppress(TimedOut):
        while True:
            found |= notification.wait(timeout=LOOK)
    assert notification.bits == 0
    assert notification.statistics().waiters == 0
    assert notification.notify(A | D) == 0
    assert notification.wait_nowait(A | D, all=True) == A | D
    return f"{found:#b}"


def books_without_any(notification: Notification, tally: Tally) -> str:
    """Return the flags that only one was given: of those that two were given, the dead one's may come back."""
    return f"{int(books(notification, tally), 2) & ~(A | B):#b}"


def notify_both(notification: Notification) -> None:
    """Let go who waits for both; D tells that A had to be set, since it was taken."""
    try:
        notification.wait(A, consume=False, timeout=LOOK)
    except TimedOut:
        notification.notify(A | B | D)
    else:
        notification.notify(B)


def waits(**options: bool) -> Callable[[Notification], Callable[[], object]]:
    """Return the preparation of a wait for A or B, or both."""
    return lambda notification: partial(used(notification).wait, A | B, **options)


NOTIFICATIONS: list[Operation[Notification]] = [
    Operation(
        noun="Notification",
        verb="notify",
        world=Notification,
        prepare=lambda notification: partial(used(notification).notify, A | B | C),
        wait=wait_for_any,
        due=has_any,
        contend=post_and_take,
        again=lambda notification: notification.notify(A),
        books=books,
    ),
    Operation(
        noun="Notification",
        verb="notify, first of a process",
        world=Notification,
        prepare=lambda notification: partial(notification.notify, A | B | C),
        wait=look_for_any,
        due=has_any,
        again=lambda notification: notification.notify(A),
        books=books,
    ),
    Operation(
        noun="Notification",
        verb="notify, of the other half",
        world=with_flags(A),
        prepare=lambda notification: partial(used(notification).notify, B | C),
        wait=wait_for_both,
        due=has_both,
        again=lambda notification: notification.notify(A | B),
        books=books,
    ),
    Operation(
        noun="Notification",
        verb="set",
        world=with_flags(C),
        prepare=lambda notification: partial(used(notification).set, A | D, A | C | D),
        wait=wait_for_any,
        due=has_any,
        contend=post_and_take,
        again=lambda notification: notification.notify(B),
        books=books,
    ),
    Operation(
        noun="Notification",
        verb="clear",
        world=with_flags(A | C | D),
        prepare=lambda notification: partial(used(notification).clear, A | C),
        wait=wait_for_both,
        due=has_both,
        contend=post_and_take,
        again=lambda notification: notification.notify(A | B),
        books=books,
    ),
    Operation(
        noun="Notification",
        verb="wait",
        world=with_flags(A | C),
        prepare=waits(),
        wait=wait_for_both,
        due=has_both,
        contend=post_and_take,
        again=notify_both,
        # Whoever waits for both would take what the victim waits for.
        meanwhile=lambda notification: notification.notify(D),
        books=books,
    ),
    Operation(
        noun="Notification",
        verb="wait, asleep",
        world=Notification,
        prepare=waits(),
        # What the dead one was given is for nobody else: it has to come back.
        partner=lambda notification: notification.notify(A),
        wait=wait_for_both,
        due=has_both,
        again=notify_both,
        books=books,
    ),
    Operation(
        noun="Notification",
        verb="wait, asleep beside another",
        world=Notification,
        prepare=waits(),
        partner=lambda notification: notification.notify(A | C),
        wait=wait_for_any,
        due=has_any,
        again=lambda notification: notification.notify(D),
        books=books_without_any,
    ),
    Operation(
        noun="Notification",
        verb="wait, asleep for all",
        world=with_flags(B),
        prepare=waits(all=True),
        partner=lambda notification: notification.notify(A | C),
        again=lambda notification: notification.notify(D),
        books=books,
    ),
    Operation(
        noun="Notification",
        verb="wait, asleep, consuming nothing",
        world=Notification,
        prepare=waits(consume=False),
        partner=lambda notification: notification.notify(A | C),
        wait=look_for_any,
        due=has_any,
        again=lambda notification: notification.notify(D),
        books=books,
    ),
    Operation(
        noun="Notification",
        verb="wait, timed out",
        world=with_flags(C),
        prepare=lambda notification: partial(used(notification).wait, A | B, timeout=LOOK),
        raises=(TimedOut,),
        # It may take nothing away: what a dead one is given as well would come back for a second time.
        wait=look_for_any,
        due=has_any,
        again=lambda notification: notification.notify(A | B),
        books=books,
    ),
    Operation(
        noun="Notification",
        verb="wait_nowait",
        world=with_flags(A | C),
        prepare=lambda notification: partial(used(notification).wait_nowait, A | B),
        contend=post_and_take,
        again=lambda notification: notification.notify(D),
        books=books,
    ),
    Operation(
        noun="Notification",
        verb="wait_nowait, refused",
        world=with_flags(C),
        prepare=lambda notification: partial(used(notification).wait_nowait, A | B),
        raises=(WouldBlock,),
        # It may take nothing away: what a dead one is given as well would come back for a second time.
        wait=look_for_any,
        due=has_any,
        again=lambda notification: notification.notify(A),
        books=books,
    ),
]


# ── Event ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def already_set() -> Event:
    event = Event()
    event.set()
    return event


def known(event: Event) -> Event:
    """Return it once this process has a life."""
    with suppress(TimedOut):
        event.wait(timeout=0.0001)
    return event


def wait(event: Event) -> str:
    event.wait()
    return "went"


def is_set(event: Event) -> bool:
    return event.is_set()


def set_it(event: Event) -> None:
    event.set()


def turn(event: Event, _tally: Tally) -> None:
    event.set()
    event.is_set()


def state(event: Event, _tally: Tally) -> tuple[bool, int]:
    """Return whether it is set, and who seems to wait. Afterwards it can be cleared and set."""
    found = event.is_set(), event.statistics().waiters
    event.clear()
    assert not event.is_set()
    event.set()
    event.wait_nowait()
    return found


EVENTS: list[Operation[Event]] = [
    Operation(
        noun="Event",
        verb="set",
        world=Event,
        prepare=lambda event: known(event).set,
        again=lambda event: event.statistics(),
        books=state,
    ),
    Operation(
        noun="Event",
        verb="set, waited for",
        world=Event,
        prepare=lambda event: known(event).set,
        wait=wait,
        due=is_set,
        again=set_it,
        books=state,
    ),
    Operation(
        noun="Event",
        verb="clear",
        world=already_set,
        prepare=lambda event: event.clear,
        contend=turn,
        again=lambda event: event.statistics(),
        books=state,
    ),
    Operation(
        noun="Event",
        verb="wait",
        world=already_set,
        prepare=lambda event: event.wait,
        contend=turn,
        again=set_it,
        books=state,
    ),
    Operation(
        noun="Event",
        verb="wait, asleep",
        world=Event,
        prepare=lambda event: known(event).wait,
        partner=set_it,
        wait=wait,
        due=is_set,
        again=set_it,
        books=state,
    ),
    Operation(
        noun="Event",
        verb="wait, timed out",
        world=Event,
        prepare=lambda event: partial(known(event).wait, timeout=LOOK),
        raises=(TimedOut,),
        wait=wait,
        due=is_set,
        again=set_it,
        books=state,
    ),
]

OPERATIONS = [*NOTIFICATIONS, *EVENTS]
