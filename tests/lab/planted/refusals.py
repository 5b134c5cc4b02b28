"""Queues and spaces that are full when nobody expects it."""

from contextlib import suppress

from tests.lab.planted.catalogue import planted
from underpass import AtomicInt, Mutex, OutOfSpaceError, Queue, TimedOut, WouldBlock
from underpass.lab import World


@planted("queue full", oracle="at the end")
def message_dropped_by_a_full_queue(world: World, fixed: bool) -> None:
    """A queue that is large enough is never full, until others use it too."""
    jobs = Queue(8, 8)

    def send() -> None:
        try:
            jobs.put_nowait(b"job")
        except WouldBlock:
            if fixed:
                jobs.put(b"job")

    world.process(send)
    world.at_end(lambda: jobs.depth == 1)


@planted("queue full", oracle="deadlock")
def end_that_is_not_told(world: World, fixed: bool) -> None:
    """The message that ends the other side is one that may not fit."""
    news = Queue(4, 8)

    def send() -> None:
        news.put(b"news")
        with suppress(TimedOut):
            news.put(b"end", timeout=None if fixed else 1)

    def read() -> None:
        while news.get() != b"end":
            pass

    world.process(send)
    world.process(read)


@planted("queue full", oracle="leak")
def lock_kept_before_a_full_queue(world: World, fixed: bool) -> None:
    """Whoever finds the queue full leaves at once, and takes the lock along."""
    lock, jobs = Mutex(), Queue(4, 8)

    def send() -> None:
        lock.acquire()
        try:
            jobs.put_nowait(b"job")
        except WouldBlock:
            if not fixed:
                return
        lock.release()

    world.process(send)


@planted("space full", oracle="deadlock")
def lock_kept_without_space(world: World, fixed: bool) -> None:
    """An object that cannot be made is an exception on the way to the release."""
    lock = Mutex()

    def grow() -> None:
        lock.acquire()
        try:
            Queue(4, 8)
        except OutOfSpaceError:
            if fixed:
                lock.release()
            # The process goes on to other things, for ever.
            AtomicInt.open("rest").wait(0)
        lock.release()

    def visit() -> None:
        with lock:
            pass

    AtomicInt.create("rest")
    world.process(grow, servant=True)
    world.process(visit)


@planted("space full", oracle="at the end")
def counted_before_it_is_made(world: World, fixed: bool) -> None:
    """The number of boxes is one too high if the last could not be made."""
    count, made = AtomicInt(), AtomicInt()

    def extend() -> None:
        if not fixed:
            count.add(1)
        try:
            box = Queue(1, 8)
        except OutOfSpaceError:
            return
        made.add(1)
        if fixed:
            count.add(1)
        box.close()

    world.process(extend)
    world.at_end(lambda: count.load() == made.load())
