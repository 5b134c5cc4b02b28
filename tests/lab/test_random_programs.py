"""Programs that nobody thought of: in no schedule does anybody sleep who could go on.

A real sleeper looks for itself once a second, which hides a wake that is lost. Here it is told: `lost wake-up`, `untold death`.
"""

import random
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

import underpass

pytest.importorskip("greenlet")

from underpass import UnderpassError, WouldBlock
from underpass.data import Stack
from underpass.lab import Verdict, World
from underpass.lab.judge import judge
from underpass.lab.search import Searcher, Tally
from underpass.lab.settings import Settings
from underpass.lab.stage import Stage
from underpass.sync import Latch, priority

SCHEDULES = 300

Maker = Callable[[random.Random], object]
Operation = Callable[[Any, float | None], object]


def visited(mutex: underpass.Mutex, timeout: float | None) -> None:
    mutex.acquire(timeout=timeout)
    mutex.release()


def recovered(mutex: underpass.Mutex, timeout: float | None) -> None:
    with mutex.recovering(timeout=timeout):
        pass


def worked(queue: underpass.Queue, timeout: float | None) -> None:
    with queue.take(timeout=timeout):
        queue.statistics()


def registered(queue: underpass.Queue, timeout: float | None) -> None:
    with queue.putting():
        queue.put(b"x", timeout=timeout)


def semaphore(dice: random.Random) -> underpass.Semaphore:
    return underpass.Semaphore(dice.choice([0, 0, 1]))


def handed_over(dice: random.Random) -> underpass.Mutex:
    return underpass.Mutex(fairness=dice.choice(["arrival", "priority"]))


def lending(_dice: random.Random) -> underpass.Mutex:
    return underpass.Mutex(inherit_priority=True)


def in_a_hurry(mutex: underpass.Mutex, timeout: float | None) -> None:
    with priority(1):
        visited(mutex, timeout)


def handing_over(dice: random.Random) -> underpass.Semaphore:
    return underpass.Semaphore(dice.choice([0, 0, 1]), fairness=dice.choice(["arrival", "priority"]))


def leased(dice: random.Random) -> underpass.Semaphore:
    return underpass.Semaphore(
        dice.choice([1, 1, 2]), leased=True, fairness=dice.choice(["barging", "arrival", "priority"])
    )


def used(semaphore: underpass.Semaphore, timeout: float | None) -> None:
    with semaphore.holding(timeout=timeout):
        semaphore.statistics()


def used_two(semaphore: underpass.Semaphore, timeout: float | None) -> None:
    with semaphore.holding(timeout=timeout), semaphore.holding(timeout=timeout):
        semaphore.statistics()


def urgent(semaphore: underpass.Semaphore, timeout: float | None) -> None:
    with priority(1):
        semaphore.acquire(timeout=timeout)


def queue(dice: random.Random) -> underpass.Queue:
    made = underpass.Queue(dice.choice([1, 2]), 8)
    if dice.random() < 0.4:
        made.put_nowait(b"job")
    return made


def barrier(dice: random.Random) -> underpass.Barrier:
    return underpass.Barrier(dice.choice([1, 2, 2, 3]))


def once(_dice: random.Random) -> underpass.Once:
    return underpass.Once()


def condition(_dice: random.Random) -> underpass.Condition:
    return underpass.Condition()


def waited(condition: underpass.Condition, timeout: float | None) -> None:
    with condition.holding(timeout=timeout):
        condition.wait(timeout=timeout)


def notified(condition: underpass.Condition, timeout: float | None) -> None:
    with condition.holding(timeout=timeout):
        condition.notify()


def rwlock(dice: random.Random) -> underpass.RWLock:
    return underpass.RWLock(prefer=dice.choice(["writers", "readers", "arrival"]))


def read(lock: underpass.RWLock, timeout: float | None) -> None:
    with lock.reading(timeout=timeout):
        lock.statistics()


def write(lock: underpass.RWLock, timeout: float | None) -> None:
    with lock.writing(timeout=timeout):
        lock.statistics()


def upgrade(lock: underpass.RWLock, timeout: float | None) -> None:
    with lock.reading(timeout=timeout):
        lock.upgrade(timeout=timeout)


def downgrade(lock: underpass.RWLock, timeout: float | None) -> None:
    with lock.writing(timeout=timeout):
        lock.downgrade()


def latch(dice: random.Random) -> Latch:
    return Latch(dice.choice([1, 2, 3]))


def stack(dice: random.Random) -> Stack:
    return Stack(dice.choice([1, 2]))


def pushed(it: Stack, _timeout: float | None) -> None:
    with suppress(WouldBlock):
        it.push(1)


def failed(once: underpass.Once, timeout: float | None) -> None:
    with once.running(timeout=timeout) as turn:
        if turn is not None:
            raise UnderpassError


KINDS: dict[Maker, list[Operation]] = {
    semaphore: [
        lambda it, timeout: it.acquire(timeout=timeout),
        lambda it, timeout: it.acquire(timeout=timeout),
        lambda it, _: it.release(1),
        lambda it, _: it.release(2),
        lambda it, _: it.reset(),
        lambda it, _: it.acquire_nowait(),
    ],
    lambda _: underpass.Mutex(): [visited, visited, recovered],
    stack: [
        pushed,
        pushed,
        lambda it, timeout: it.pop(timeout=timeout),
        lambda it, timeout: it.pop(timeout=timeout),
        lambda it, _: it.purge(),
    ],
    lambda _: underpass.Event(): [
        lambda it, timeout: it.wait(timeout=timeout),
        lambda it, timeout: it.wait(timeout=timeout),
        lambda it, _: it.set(),
        lambda it, _: it.clear(),
    ],
    lambda _: underpass.Notification(): [
        lambda it, timeout: it.wait(1, timeout=timeout),
        lambda it, timeout: it.wait(3, timeout=timeout),
        lambda it, timeout: it.wait(3, all=True, timeout=timeout),
        lambda it, _: it.notify(1),
        lambda it, _: it.notify(3),
        lambda it, _: it.set(2),
        lambda it, _: it.clear(1),
    ],
    lambda _: underpass.AtomicInt(): [
        lambda it, timeout: it.wait(0, timeout=timeout),
        lambda it, timeout: it.wait(1, timeout=timeout),
        lambda it, _: it.add(1),
        lambda it, _: it.store(0),
        lambda it, _: it.wake(),
    ],
    queue: [
        lambda it, timeout: it.put(b"x", timeout=timeout),
        lambda it, timeout: it.put(b"x", timeout=timeout),
        lambda it, timeout: it.put_many([b"x", b"y"], timeout=timeout),
        lambda it, timeout: it.get(timeout=timeout),
        lambda it, timeout: it.get(timeout=timeout),
        lambda it, timeout: it.get_many(2, timeout=timeout),
        worked,
        worked,
        registered,
        lambda it, timeout: it.take(timeout=timeout).put_back(),
        lambda it, timeout: it.take(timeout=timeout).put_back(front=False),
        lambda it, timeout: it.loan(4, timeout=timeout).commit(),
        lambda it, timeout: it.loan(4, timeout=timeout).abandon(),
        lambda it, timeout: it.join(timeout=timeout),
        lambda it, _: it.shutdown(),
        lambda it, _: it.shutdown(immediate=True),
        lambda it, _: it.purge(),
    ],
}
# Queues have most to get wrong. The seeds below mean programs of these: what comes later has programs of its own.
MAKERS: list[Maker] = [*KINDS, queue, queue]
MEETINGS: list[Maker] = [barrier, once, latch]
HANDOVERS: list[Maker] = [handing_over]
SUCCESSIONS: list[Maker] = [handed_over]
LENDING: list[Maker] = [lending]
LEASED: list[Maker] = [leased]
LOCKS: list[Maker] = [rwlock]

KINDS[barrier] = [
    lambda it, timeout: it.wait(timeout=timeout),
    lambda it, timeout: it.wait(timeout=timeout),
    lambda it, timeout: it.wait(timeout=timeout),
    lambda it, _: it.join(),
    lambda it, _: it.abort(),
    lambda it, _: it.reset(),
]
KINDS[handing_over] = [*KINDS[semaphore], urgent]
KINDS[handed_over] = [
    visited,
    visited,
    recovered,
    recovered,
    in_a_hurry,
    lambda it, timeout: it.acquire(timeout=timeout),
]
KINDS[lending] = [
    visited,
    visited,
    recovered,
    recovered,
    lambda it, timeout: it.acquire(timeout=timeout),
]
KINDS[leased] = [
    used,
    used,
    used_two,
    urgent,
    lambda it, timeout: it.acquire(timeout=timeout),
    lambda it, _: it.release(),
    lambda it, _: it.reset(),
]
KINDS[latch] = [
    lambda it, timeout: it.wait(timeout=timeout),
    lambda it, timeout: it.wait(timeout=timeout),
    lambda it, _: it.count_down(),
    lambda it, _: it.count_down(2),
]
KINDS[once] = [
    lambda it, timeout: it.call(it.statistics, timeout=timeout),
    failed,
]
KINDS[condition] = [
    waited,
    waited,
    notified,
    lambda it, _: it.notify(2),
    lambda it, _: it.notify_all(),
]
KINDS[rwlock] = [read, read, write, write, upgrade, downgrade]


def program(seed: int, makers: list[Maker]) -> Callable[[World], None]:
    """Two to four processes, each with one to three operations of one object."""
    dice = random.Random(seed)
    make = dice.choice(makers)
    plans = [
        [(dice.choice(KINDS[make]), dice.choice([None, None, 1, 2])) for _ in range(dice.choice([1, 1, 2, 3]))]
        for _ in range(dice.choice([2, 3, 3, 4]))
    ]
    mortal = [dice.random() < 0.6 for _ in plans]
    size = dice.random()

    def run(it: object, plan: list[tuple[Operation, int | None]]) -> None:
        for operation, timeout in plan:
            with suppress(UnderpassError):
                operation(it, timeout)

    def program(world: World) -> None:
        it = make(random.Random(size))
        for plan, may_die in zip(plans, mortal, strict=True):
            # Not as an argument: the operations cannot be pickled.
            world.process(partial(run, it, plan), mortal=may_die)

    return program


def untold(stage: Stage, end: str) -> Verdict | None:
    """Standing still is right where nobody could go on; what is kept at the end is not looked at."""
    verdict = judge(stage, end)
    return verdict if verdict is not None and verdict.kind in {"lost wake-up", "untold death", "livelock"} else None


def explore(seed: int, makers: list[Maker] = MAKERS, kills: int | None = None) -> None:
    tally = Tally()
    settings = Settings(kills=seed % 3 if kills is None else kills)
    searcher = Searcher(program(seed, makers), settings, judge=untold)
    searcher.run("portfolio", seed, SCHEDULES, tally, lambda _: None)
    assert tally.found is None, f"program {seed}: {tally.found}"
    assert tally.schedules == SCHEDULES


def test_nobody_sleeps_who_could_go_on(dice: random.Random) -> None:
    for _ in range(40):
        explore(dice.randrange(2**32))


def test_nobody_sleeps_who_could_read_or_write(dice: random.Random) -> None:
    for _ in range(40):
        explore(dice.randrange(2**32), LOCKS)


def test_nobody_sleeps_at_a_meeting_who_could_go_on(dice: random.Random) -> None:
    for _ in range(20):
        explore(dice.randrange(2**32), MEETINGS)


def test_nobody_sleeps_for_a_unit_who_could_go_on(dice: random.Random) -> None:
    for _ in range(20):
        explore(dice.randrange(2**32), HANDOVERS)


def test_nobody_sleeps_for_a_mutex_that_is_handed_over_who_could_go_on(dice: random.Random) -> None:
    for _ in range(20):
        explore(dice.randrange(2**32), SUCCESSIONS)


def test_nobody_sleeps_for_a_mutex_that_lends_who_could_go_on(dice: random.Random) -> None:
    for _ in range(20):
        explore(dice.randrange(2**32), LENDING)


def test_nobody_sleeps_for_a_leased_unit_who_could_go_on(dice: random.Random) -> None:
    for _ in range(40):
        explore(dice.randrange(2**32), LEASED)


def test_nobody_sleeps_at_a_condition_who_could_go_on(dice: random.Random) -> None:
    # That an owner of its mutex has died is told by the second look of each second, which the lab has not.
    for _ in range(20):
        explore(dice.randrange(2**32), [condition], kills=0)


@pytest.mark.parametrize("seed", [198, 246, 399, 439041121])
def test_programs_that_once_did(seed: int) -> None:
    explore(seed)


def test_program_of_a_lock_of_readers_and_writers_that_once_did() -> None:
    explore(1829011244, LOCKS)


def test_program_of_a_mutex_that_is_handed_over_that_once_did() -> None:
    explore(3487485914, SUCCESSIONS)


@pytest.mark.deep
def test_nobody_sleeps_who_could_go_on_in_many_programs(dice: random.Random) -> None:
    for _ in range(20_000):
        explore(dice.randrange(2**32))
        explore(dice.randrange(2**32), MEETINGS)
        explore(dice.randrange(2**32), HANDOVERS)
        explore(dice.randrange(2**32), SUCCESSIONS)
        explore(dice.randrange(2**32), LENDING)
        explore(dice.randrange(2**32), LEASED)
