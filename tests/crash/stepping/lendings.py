"""Deaths inside a Mutex that lends: the kernel hands it on, and who never came has held nothing."""

from functools import partial

from tests.crash.stepping.children import Child
from tests.crash.stepping.mutexes import books, contend, held, hold, is_free
from tests.crash.stepping.operation import Operation, nothing
from tests.crash.stepping.owners import Elsewhere, fails_to_recover, last, recover, recovered, release
from underpass import Mutex, TimedOut, WouldBlock


def made() -> Mutex:
    return Mutex(inherit_priority=True)


def held_here() -> Mutex:
    """Return one that the thread which inflicts the deaths holds: it is the partner."""
    return held(made())


def left_by_the_dead() -> Mutex:
    mutex = made()
    owner = Child("first owner", mutex.acquire)
    owner.result()
    owner.close()
    return mutex


ELSEWHERE: list[Operation[Elsewhere]] = [
    Operation(
        noun="Mutex",
        verb="acquire, lending, timed out",
        world=partial(Elsewhere, made),
        prepare=lambda elsewhere: partial(elsewhere.mutex.acquire, timeout=0.002),
        raises=(TimedOut,),
        wait=lambda elsewhere: hold(elsewhere.mutex),
        due=lambda elsewhere: is_free(elsewhere.mutex),
        again=Elsewhere.let_go,
        books=lambda elsewhere, tally: last(elsewhere.mutex, tally),
        close=Elsewhere.close,
    ),
    Operation(
        noun="Mutex",
        verb="acquire_nowait, lending, refused",
        world=partial(Elsewhere, made),
        prepare=lambda elsewhere: elsewhere.mutex.acquire_nowait,
        raises=(WouldBlock,),
        wait=lambda elsewhere: hold(elsewhere.mutex),
        due=lambda elsewhere: is_free(elsewhere.mutex),
        again=Elsewhere.let_go,
        books=lambda elsewhere, tally: last(elsewhere.mutex, tally),
        close=Elsewhere.close,
    ),
]

OWNERS: list[Operation[Mutex]] = [
    Operation(
        noun="Mutex",
        verb="acquire, lending",
        world=made,
        prepare=lambda mutex: mutex.acquire,
        contend=contend,
        again=hold,
        books=books,
    ),
    Operation(
        noun="Mutex",
        verb="acquire, lending, asleep",
        world=held_here,
        prepare=lambda mutex: mutex.acquire,
        partner=release,
        wait=hold,
        due=is_free,
        again=nothing,
        books=last,
    ),
    Operation(
        noun="Mutex",
        verb="release, lending",
        world=made,
        prepare=lambda mutex: held(mutex).release,
        wait=hold,
        due=is_free,
        again=hold,
        books=books,
    ),
    Operation(
        noun="Mutex",
        verb="recovering, lending, entered",
        world=left_by_the_dead,
        prepare=recover,
        contend=contend,
        again=nothing,
        books=last,
    ),
    Operation(
        noun="Mutex",
        verb="recovering, lending, entered from sleep",
        world=held_here,
        prepare=recover,
        partner=release,
        wait=hold,
        due=is_free,
        again=nothing,
        books=last,
    ),
    Operation(
        noun="Mutex",
        verb="recovering, lending, left",
        world=left_by_the_dead,
        prepare=recovered,
        wait=hold,
        due=is_free,
        again=nothing,
        books=last,
    ),
    Operation(
        noun="Mutex",
        verb="recovering, lending, left by an exception",
        world=left_by_the_dead,
        prepare=fails_to_recover,
        wait=hold,
        due=is_free,
        again=nothing,
        books=last,
    ),
]

OPERATIONS = [*OWNERS, *ELSEWHERE]
