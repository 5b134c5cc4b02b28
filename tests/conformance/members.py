"""What wait_any takes: of each kind an object that is not ready, and what makes it so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from underpass import AtomicInt, EndOfStream, Event, Mutex, Notification, Pipe, Queue, RWLock, Semaphore
from underpass.data import MpscRing, SpscRing, Stack
from underpass.sync import Latch, SpinLock

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conformance.backends import Actor, Flag, Processes, Threads


def _nothing(_it: Any) -> None:
    pass


@dataclass(frozen=True)
class Kind:
    """One kind of member. Objects of all kinds are treated alike, so their types are not told apart."""

    name: str
    make: Callable[[], Any]
    change: Callable[[Any], object]
    """Make it ready."""
    take: Callable[[Any], object]
    """Take what it was ready for, without waiting."""
    prepare: Callable[[Any], object] = _nothing
    """What the one who will change it has to do before."""
    seen: Callable[[Any], Any] = lambda it: it
    """What is waited for of it."""


@dataclass(frozen=True)
class Scene:
    """An object of some kind that is not ready, and one who will make it so."""

    kind: Kind
    it: Any
    seen: Any
    changer: Actor[None]
    go: Flag

    def change(self) -> None:
        """Make it ready: it is once this returns."""
        self.go.raise_()
        self.changer.result()

    def take(self) -> None:
        """Take what it was ready for."""
        self.kind.take(self.it)


def _full() -> Queue:
    queue = Queue(1, 8)
    queue.put(b"full")
    return queue


def _full_pipe() -> Pipe:
    pipe = Pipe(8)
    pipe.write(bytes(8))
    return pipe


def _poison(queue: Queue) -> None:
    queue.put(b"poison")
    queue.take().put_back()


def _ended(queue: Queue) -> None:
    with pytest.raises(EndOfStream):
        queue.get_nowait()


def _refused(queue: Queue) -> None:
    with pytest.raises(EndOfStream):
        queue.put_nowait(b"more")


def _held(mutex: Mutex) -> None:
    mutex.acquire_nowait()
    mutex.release()


def _spun(lock: SpinLock) -> None:
    lock.acquire_nowait()
    lock.release()


def _written(lock: RWLock) -> None:
    with lock.writing(timeout=0):
        pass


def _read(lock: RWLock) -> None:
    with lock.reading(timeout=0):
        pass


def _write(lock: RWLock) -> None:
    lock.writing().__enter__()


def _end_writing(lock: RWLock) -> None:
    lock.writing().__exit__(None, None, None)


def _end_reading(lock: RWLock) -> None:
    lock.reading().__exit__(None, None, None)


def _full_ring() -> MpscRing:
    ring = MpscRing(64)
    ring.write(b"a" * 32)
    ring.write(b"a" * 32)
    return ring


def _kinds() -> list[Kind]:
    release, acquire = Semaphore.release, Semaphore.acquire_nowait
    return [
        Kind("semaphore", lambda: Semaphore(0), release, acquire),
        Kind("semaphore-arrival", lambda: Semaphore(0, fairness="arrival"), release, acquire),
        Kind("semaphore-priority", lambda: Semaphore(0, fairness="priority"), release, acquire),
        Kind("mutex", Mutex, Mutex.release, _held, prepare=Mutex.acquire),
        Kind("mutex-inherit", lambda: Mutex(inherit_priority=True), Mutex.release, _held, prepare=Mutex.acquire),
        Kind("spin-lock", SpinLock, SpinLock.release, _spun, prepare=SpinLock.acquire),
        Kind("rwlock", RWLock, _end_writing, _written, prepare=_write),
        Kind("rwlock-reading", RWLock, _end_writing, _read, prepare=_write, seen=RWLock.reading),
        Kind("rwlock-downgraded", RWLock, RWLock.downgrade, _read, prepare=_write, seen=RWLock.reading),
        Kind(
            "rwlock-writing",
            lambda: RWLock(prefer="arrival"),
            _end_reading,
            _written,
            prepare=lambda it: it.reading().__enter__(),
            seen=RWLock.writing,
        ),
        Kind(
            "change",
            lambda: AtomicInt(3),
            lambda it: it.add(1),
            lambda it: it.wait_nowait(3),
            seen=lambda it: it.change_from(3),
        ),
        Kind("notification", Notification, lambda it: it.notify(1 << 63), lambda it: it.wait_nowait(1 << 63)),
        Kind("event", Event, Event.set, Event.wait_nowait),
        Kind("latch", lambda: Latch(1), Latch.count_down, Latch.wait_nowait),
        Kind("stack", lambda: Stack(4), lambda it: it.push(1), Stack.pop_nowait),
        Kind("spsc-ring", lambda: SpscRing(64), lambda it: it.write(b"a"), SpscRing.read_nowait),
        Kind("mpsc-ring", lambda: MpscRing(64), lambda it: it.write(b"a"), MpscRing.read_nowait),
        Kind(
            "ring-room",
            _full_ring,
            MpscRing.read,
            lambda it: it.write_nowait(b"b"),
            seen=lambda it: it.room_for(1),
        ),
        Kind("queue", lambda: Queue(4, 8), lambda it: it.put(b"a"), Queue.get_nowait),
        Kind("queue-ended", lambda: Queue(4, 8), Queue.shutdown, _ended),
        Kind(
            "dead-letters",
            lambda: Queue(4, 8, max_deliveries=1),
            _poison,
            lambda it: it.dead_letters.get_nowait(),
            seen=lambda it: it.dead_letters,
        ),
        Kind("room", _full, Queue.get, lambda it: it.put_nowait(b"b"), seen=lambda it: it.room),
        Kind("room-purged", _full, Queue.purge, lambda it: it.put_nowait(b"b"), seen=lambda it: it.room),
        Kind("pipe", lambda: Pipe(8), lambda it: it.write(b"a"), lambda it: it.read_nowait(1)),
        Kind("pipe-room", _full_pipe, lambda it: it.read(4), lambda it: it.write_nowait(b"b"), seen=lambda it: it.room),
        Kind("room-ended", _full, Queue.shutdown, _refused, seen=lambda it: it.room),
    ]


KINDS = _kinds()

member = pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])


def scene(world: Threads | Processes, kind: Kind) -> Scene:
    """Make one that is not ready."""
    it, prepared, go = kind.make(), world.flag(), world.flag()

    def change() -> None:
        kind.prepare(it)
        prepared.raise_()
        go.wait()
        kind.change(it)

    changer = world.start(change)
    prepared.wait()
    return Scene(kind, it, kind.seen(it), changer, go)


def places(ready: list[Any], *what: Any) -> list[int]:
    """Say where those that are ready stand among what was given."""
    return [next(place for place, one in enumerate(what) if one is it) for it in ready]
