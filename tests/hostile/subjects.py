"""The objects that are files, as the hostile tests make and use them: one entry for each."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tests.hostile.mutations import HEADER, Verbs, in_any_order
from tests.hostile.pipes import Pipes
from underpass import AtomicInt, Barrier, Condition, Event, Mutex, Notification, Once, Queue, Region, RWLock, Semaphore
from underpass.sync import Latch, SpinLock

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

SHORT = 0.0003


class Subject(Protocol):
    """How one object is made, opened and used."""

    name: str

    def make(self) -> None:
        """Make an object of that name with something in it, and close it."""
        ...

    def open(self) -> Any:
        """Open it."""
        ...

    def locks(self, size: int) -> list[int]:
        """Where, in a file of that size, the words lie that say who holds a lock inside the object."""
        ...

    def use(self, it: Any, dice: random.Random, verbs: Verbs) -> None:
        """Use every operation once, in any order."""
        ...


class Semaphores:
    name = "semaphore"

    def make(self) -> None:
        Semaphore.create(self.name, 2, limit=5).close()

    def open(self) -> Semaphore:
        return Semaphore.open(self.name)

    def locks(self, size: int) -> list[int]:
        assert size == HEADER + 64
        return []

    def use(self, it: Semaphore, dice: random.Random, verbs: Verbs) -> None:
        pause = dice.choice((0, 0, 0, SHORT))
        in_any_order(
            dice,
            verbs,
            [
                it.acquire_nowait,
                lambda: it.acquire(timeout=pause),
                lambda: it.acquire(timeout=pause),
                it.release,
                lambda: it.release(2**31 - 1),
                it.reset,
                lambda: (it.value, it.statistics(), repr(it)),
                lambda: pickle.loads(pickle.dumps(it)),  # noqa: S301 - our own bytes
            ],
        )


class HandingOver(Semaphores):
    name = "handing_over"

    def make(self) -> None:
        Semaphore.create(self.name, 2, limit=5, fairness="priority").close()

    def locks(self, size: int) -> list[int]:
        return served_under(size)


class Leased(Semaphores):
    def __init__(self, fairness: Literal["barging", "arrival"]) -> None:
        self.name = f"leased_{fairness}"
        self.fairness: Literal["barging", "arrival"] = fairness

    def make(self) -> None:
        semaphore = Semaphore.create(self.name, 3, limit=5, leased=True, fairness=self.fairness)
        # Its holder is on the roster.
        semaphore.acquire()
        semaphore.close()

    def locks(self, size: int) -> list[int]:
        # The waiters stand behind the roster and the tenures of those on it.
        return served_under(size, HEADER + 64 + 1024 * (8 + 40))


class Mutexes:
    name = "mutex"

    def make(self) -> None:
        Mutex.create(self.name, recursive=True).close()

    def open(self) -> Mutex:
        return Mutex.open(self.name)

    def locks(self, size: int) -> list[int]:
        # Its owner is a lock word as well; but every operation has a time, and a wrong owner costs no more than that.
        assert size > HEADER
        return []

    def use(self, it: Mutex, dice: random.Random, verbs: Verbs) -> None:
        pause = dice.choice((0, 0, 0, SHORT))

        def hold() -> None:
            with it.holding(timeout=pause):
                pass

        def recover() -> None:
            with it.recovering(timeout=pause):
                pass

        in_any_order(
            dice,
            verbs,
            [
                it.acquire_nowait,
                lambda: it.acquire(timeout=pause),
                it.release,
                it.release,
                hold,
                recover,
                lambda: (it.owner, it.statistics(), repr(it)),
                lambda: pickle.loads(pickle.dumps(it)),  # noqa: S301 - our own bytes
            ],
        )


class HandedOver(Mutexes):
    name = "handed_over"

    def make(self) -> None:
        Mutex.create(self.name, recursive=True, fairness="priority").close()

    def locks(self, size: int) -> list[int]:
        return served_under(size)


class Lending(Mutexes):
    name = "lending"

    def make(self) -> None:
        Mutex.create(self.name, recursive=True, inherit_priority=True).close()


class SpinLocks:
    name = "spinlock"

    def make(self) -> None:
        SpinLock.create(self.name).close()

    def open(self) -> SpinLock:
        return SpinLock.open(self.name)

    def locks(self, size: int) -> list[int]:
        # As in a mutex: a wrong owner costs the time of a wait.
        assert size == HEADER + 64
        return []

    def use(self, it: SpinLock, dice: random.Random, verbs: Verbs) -> None:
        pause = dice.choice((0, 0, 0, SHORT))

        def hold() -> None:
            with it.holding(timeout=pause):
                pass

        def recover() -> None:
            with it.recovering(timeout=pause):
                pass

        in_any_order(
            dice,
            verbs,
            [
                it.acquire_nowait,
                it.release,
                hold,
                recover,
                lambda: (it.owner, it.statistics(), repr(it)),
                lambda: pickle.loads(pickle.dumps(it)),  # noqa: S301 - our own bytes
            ],
        )


class Notifications:
    name = "notification"

    def make(self) -> None:
        Notification.create(self.name).notify(0b101)

    def open(self) -> Notification:
        return Notification.open(self.name)

    def locks(self, size: int) -> list[int]:
        return served_under(size)

    def use(self, it: Notification, dice: random.Random, verbs: Verbs) -> None:
        pause = dice.choice((0, 0, 0, SHORT))
        in_any_order(
            dice,
            verbs,
            [
                lambda: it.notify(dice.getrandbits(64)),
                lambda: it.set(1, 3),
                it.clear,
                lambda: it.wait(6, timeout=pause),
                lambda: it.wait(1 << 63, all=True, consume=False, timeout=pause),
                it.wait_nowait,
                lambda: (it.bits, it.statistics(), repr(it)),
                lambda: pickle.loads(pickle.dumps(it)),  # noqa: S301 - our own bytes
            ],
        )


class Events:
    name = "event"

    def make(self) -> None:
        Event.create(self.name).set()

    def open(self) -> Event:
        return Event.open(self.name)

    def locks(self, size: int) -> list[int]:
        return served_under(size)

    def use(self, it: Event, dice: random.Random, verbs: Verbs) -> None:
        pause = dice.choice((0, 0, 0, SHORT))
        in_any_order(
            dice,
            verbs,
            [
                it.set,
                it.clear,
                it.clear,
                lambda: it.wait(timeout=pause),
                lambda: (it.is_set(), it.statistics(), repr(it)),
                lambda: pickle.loads(pickle.dumps(it)),  # noqa: S301 - our own bytes
            ],
        )


class AtomicInts:
    name = "atomic"

    def make(self) -> None:
        AtomicInt.create(self.name, 5).close()

    def open(self) -> AtomicInt:
        return AtomicInt.open(self.name)

    def locks(self, size: int) -> list[int]:
        return served_under(size)

    def use(self, it: AtomicInt, dice: random.Random, verbs: Verbs) -> None:
        pause = dice.choice((0, 0, 0, SHORT))
        in_any_order(
            dice,
            verbs,
            [
                it.load,
                lambda: it.store(dice.getrandbits(62)),
                lambda: it.exchange(7),
                lambda: it.compare_exchange(7, 8),
                lambda: it.add(2**62),
                lambda: it.sub(1),
                lambda: it.wait(it.load(), timeout=pause),
                lambda: it.wake(3),
                lambda: (it.statistics(), repr(it)),
                lambda: pickle.loads(pickle.dumps(it)),  # noqa: S301 - our own bytes
            ],
        )


class Onces:
    name = "once"

    def make(self) -> None:
        Once.create(self.name).close()

    def open(self) -> Once:
        return Once.open(self.name)

    def locks(self, size: int) -> list[int]:
        # As in a mutex: a wrong owner costs the time of a wait.
        assert size == HEADER + 2 * 64
        return []

    def use(self, it: Once, dice: random.Random, verbs: Verbs) -> None:
        pause = dice.choice((0, 0, 0, SHORT))

        def run() -> None:
            with it.running(timeout=pause):
                pass

        in_any_order(
            dice,
            verbs,
            [
                run,
                lambda: it.call(int, timeout=pause),
                lambda: it.call(int, timeout=pause),
                lambda: (it.done, it.statistics(), repr(it)),
                lambda: pickle.loads(pickle.dumps(it)),  # noqa: S301 - our own bytes
            ],
        )


class Latches:
    name = "latch"

    def make(self) -> None:
        Latch.create(self.name, 4).count_down()

    def open(self) -> Latch:
        return Latch.open(self.name)

    def locks(self, size: int) -> list[int]:
        assert size == HEADER + 64
        return []

    def use(self, it: Latch, dice: random.Random, verbs: Verbs) -> None:
        pause = dice.choice((0, 0, 0, SHORT))
        in_any_order(
            dice,
            verbs,
            [
                it.wait_nowait,
                lambda: it.wait(timeout=pause),
                lambda: it.wait(timeout=pause),
                it.count_down,
                lambda: it.count_down(2**31 - 1),
                lambda: (it.count, it.statistics(), repr(it)),
                lambda: pickle.loads(pickle.dumps(it)),  # noqa: S301 - our own bytes
            ],
        )


class Regions:
    name = "region"

    def make(self) -> None:
        Region.create(self.name, 4 * HEADER)[0] = 7

    def open(self) -> Region:
        return Region.open(self.name)

    def locks(self, size: int) -> list[int]:
        assert size == 4096 + 4 * HEADER
        return []

    def use(self, it: Region, dice: random.Random, verbs: Verbs) -> None:
        def look() -> bytes:
            with memoryview(it) as view:
                return bytes(view[: dice.choice((1, 4 * HEADER))]) + bytes(view[-1:])

        in_any_order(
            dice,
            verbs,
            [
                look,
                look,
                lambda: len(it),
                lambda: it.array(1, "uint8").sum(),
                lambda: (it.sealed, it.readonly, it.statistics(), repr(it)),
                lambda: pickle.loads(pickle.dumps(it)),  # noqa: S301 - our own bytes
            ],
        )


class Barriers:
    name = "barrier"

    def make(self) -> None:
        Barrier.create(self.name, 2).join()

    def open(self) -> Barrier:
        return Barrier.open(self.name)

    def locks(self, size: int) -> list[int]:
        return served_under(size, words=320)

    def use(self, it: Barrier, dice: random.Random, verbs: Verbs) -> None:
        pause = dice.choice((0, 0, 0, SHORT))
        in_any_order(
            dice,
            verbs,
            [
                lambda: it.wait(timeout=pause),
                lambda: it.wait(timeout=pause),
                it.join,
                it.abort,
                it.reset,
                it.reset,
                lambda: (it.parties, it.n_waiting, it.broken, it.statistics(), repr(it)),
                lambda: pickle.loads(pickle.dumps(it)),  # noqa: S301 - our own bytes
            ],
        )


class Conditions:
    name = "condition"

    def make(self) -> None:
        Condition.create(self.name).notify()

    def open(self) -> Condition:
        return Condition.open(self.name)

    def locks(self, size: int) -> list[int]:
        return [HEADER, *served_under(size, words=448)]

    def use(self, it: Condition, dice: random.Random, verbs: Verbs) -> None:
        pause = dice.choice((0, SHORT, SHORT))

        def wait() -> None:
            with it.recovering(timeout=pause):
                it.wait(timeout=pause)

        in_any_order(
            dice,
            verbs,
            [
                wait,
                wait,
                lambda: it.acquire(timeout=pause),
                it.release,
                lambda: it.notify(2),
                it.notify_all,
                lambda: (it.owner, it.statistics(), repr(it)),
                lambda: pickle.loads(pickle.dumps(it)),  # noqa: S301 - our own bytes
            ],
        )


def served_under(size: int, words: int = 64) -> list[int]:
    """Where the lock is under which waiters in slots are served, behind the object's own words. See layout/waiters.rs."""
    assert size > HEADER + words + 16
    return [HEADER + words + 8]


class RWLocks:
    name = "rwlock"

    def make(self) -> None:
        with RWLock.create(self.name, prefer="arrival").reading():
            pass

    def open(self) -> RWLock:
        return RWLock.open(self.name)

    def locks(self, size: int) -> list[int]:
        # The gate comes first, then a cache line for each place.
        return served_under(size, words=64 + 64 * 64)

    def use(self, it: RWLock, dice: random.Random, verbs: Verbs) -> None:
        pause = dice.choice((0, 0, 0, SHORT))

        def read() -> None:
            with it.reading(timeout=pause):
                verbs(dice.choice((it.upgrade_nowait, lambda: it.upgrade(timeout=pause), it.downgrade)))

        def write() -> None:
            with it.writing(timeout=pause):
                verbs(dice.choice((it.downgrade, it.upgrade_nowait, lambda: it.reading(timeout=0).__enter__())))

        in_any_order(
            dice,
            verbs,
            [
                read,
                read,
                write,
                write,
                lambda: it.upgrade(timeout=pause),
                it.downgrade,
                lambda: (it.statistics(), repr(it)),
                lambda: pickle.loads(pickle.dumps(it)),  # noqa: S301 - our own bytes
            ],
        )


class Queues:
    def __init__(self, name: str, max_deliveries: int | None) -> None:
        self.name = name
        self.max_deliveries = max_deliveries

    def make(self) -> None:
        queue = Queue.create(self.name, 6, 100, max_deliveries=self.max_deliveries)
        for number in range(5):
            queue.put(b"x" * (number * 20))
        queue.get()
        queue.take().put_back()
        leases = [queue.take(), queue.take()]
        leases[0].put_back()
        leases[1].put_back(front=False)
        if self.max_deliveries:
            for _ in range(self.max_deliveries):
                queue.take().put_back()
        queue.close()

    def open(self) -> Queue:
        return Queue.open(self.name)

    def locks(self, size: int) -> list[int]:
        # Each room starts with the putters' lock; two cache lines on is the getters'. See layout/queue.rs.
        rooms = 2 if self.max_deliveries else 1
        room = (size - HEADER) // rooms
        return [HEADER + index * room + side for index in range(rooms) for side in (0, 128)]

    def use(self, it: Queue, dice: random.Random, verbs: Verbs) -> None:
        pause = dice.choice((0, 0, 0, SHORT))
        in_any_order(dice, verbs, self.operations(it, dice, verbs, pause))
        letters = verbs(lambda: it.dead_letters)
        if isinstance(letters, Queue):
            in_any_order(dice, verbs, self.operations(letters, dice, verbs, pause))
            letters.close()
        if dice.random() < 0.2:
            verbs(lambda: it.shutdown(immediate=dice.random() < 0.5))
            in_any_order(dice, verbs, self.operations(it, dice, verbs, pause))

    def operations(self, it: Queue, dice: random.Random, verbs: Verbs, pause: float) -> list[Callable[[], object]]:
        def lease() -> None:
            lease = it.take(timeout=pause)
            bytes(lease.value)
            verbs(dice.choice((lease.done, lease.put_back, lambda: lease.put_back(front=False))))

        def loan() -> None:
            loan = it.loan(100, timeout=pause)
            loan[:3] = b"abc"
            verbs(dice.choice((loan.commit, lambda: loan.commit(3), loan.abandon)))

        def putting() -> None:
            with it.putting():
                it.put_nowait(b"from a registered putter")

        return [
            lambda: it.put(b"y" * 100, timeout=pause),
            lambda: it.put_nowait(b""),
            lambda: it.put_many([b"z" * size for size in (1, 50, 100)], timeout=pause),
            lambda: it.get(timeout=pause),
            it.get_nowait,
            lambda: it.get_into(bytearray(100), timeout=pause),
            lambda: it.get_many(3, timeout=pause),
            lease,
            lease,
            loan,
            putting,
            lambda: it.peek(0),
            lambda: it.peek(3),
            it.purge if dice.random() < 0.2 else it.statistics,
            lambda: it.join(timeout=pause),
            lambda: (it.depth, it.capacity, it.message_size, it.statistics(), repr(it)),
            lambda: pickle.loads(pickle.dumps(it)),  # noqa: S301 - our own bytes
        ]


SUBJECTS: list[Subject] = [
    Semaphores(),
    HandingOver(),
    Leased("barging"),
    Leased("arrival"),
    Mutexes(),
    HandedOver(),
    Lending(),
    SpinLocks(),
    Notifications(),
    Events(),
    AtomicInts(),
    Onces(),
    Latches(),
    Regions(),
    Barriers(),
    Conditions(),
    RWLocks(),
    Queues("queue", None),
    Queues("letters", 2),
    Pipes(),
]
