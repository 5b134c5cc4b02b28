"""Programs that are right, and go wrong where the library has a fault: one for each of those that the wake protocol exists for."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from underpass import (
    AtomicInt,
    Barrier,
    Broadcast,
    BrokenBarrierError,
    Condition,
    EndOfStream,
    Event,
    Mutex,
    Notification,
    OwnerDiedError,
    Pool,
    Queue,
    RWLock,
    Semaphore,
    TimedOut,
    WouldBlock,
    wait_any,
)
from underpass.lab import World
from underpass.sync import Latch


@dataclass(frozen=True)
class Replanted:
    """A fault of the library, and a program that it breaks."""

    fault: str
    """As the native module calls it."""
    program: Callable[[World], None]
    kind: str
    """What the lab says of it."""
    kills: int = 0
    schedules: int = 500
    """Enough to find it."""


def missing_baton(world: World) -> None:
    """One of two releasers dies between its store and its wake: the other sees a unit that nobody waits for."""
    units = Semaphore(0)
    world.process(units.release, name="release")
    world.process(units.release, name="release")
    world.process(units.acquire, mortal=False, name="acquire")


def wake_before_store(world: World) -> None:
    """The one that is woken looks before the unit is there."""
    unit = Semaphore(0)
    world.process(unit.acquire, name="acquire")
    world.process(unit.release, name="release")


def wake_before_store_beside_others(world: World) -> None:
    """The one that is rung looks before the unit is there."""
    unit, never = Semaphore(0), Event()
    world.process(wait_any, never, unit, name="wait_any")
    world.process(unit.release, name="release")


def uncompared_announcement(world: World) -> None:
    """A releaser dies before it rings, while who has announced itself is about to sleep."""
    units, never = Semaphore(0), Event()
    world.process(wait_any, never, units, mortal=False, name="wait_any")
    world.process(units.release, name="release")
    world.process(units.release, mortal=False, name="release")


def grant_to_the_dead(world: World) -> None:
    """A waiter is dead when it is given a flag: it has to come back for the other, who sleeps until there are two."""
    flags = Notification()

    def wait_for_one() -> None:
        with suppress(TimedOut):
            flags.wait(1, timeout=1)

    def wait_for_two() -> None:
        flags.wait(3, all=True)

    def notify() -> None:
        world.join(first)
        flags.notify(1)
        flags.notify(2)

    first = world.process(wait_for_one)
    world.process(wait_for_two, mortal=False)
    world.process(notify, mortal=False)


def unit_for_the_dead(world: World) -> None:
    """The first of two waiters is dead when a unit is handed to it: the second has to get it."""
    units = Semaphore(0, fairness="arrival")

    def give_up() -> None:
        with suppress(TimedOut):
            units.acquire(timeout=1)
            units.release()

    def release() -> None:
        world.join(first)
        units.release()

    first = world.process(give_up)
    world.process(units.acquire, mortal=False, name="acquire")
    world.process(release, mortal=False)


def unwatched_heir(world: World) -> None:
    """Two stand in line for a mutex. It is handed to one of them, which dies with it, while the one who had it before lives on."""
    lock, over = Mutex(fairness="arrival"), Semaphore(0)

    def have_it_first() -> None:
        with lock.recovering():
            pass
        over.acquire()

    def have_it() -> None:
        with lock.recovering():
            pass

    def have_it_last() -> None:
        have_it()
        over.release()

    world.process(have_it_first, mortal=False)
    world.process(have_it)
    world.process(have_it_last, mortal=False)


def untold_onlooker(world: World) -> None:
    """One looks on while a mutex that lends is held, and has to see that it was given back: its owner lives on."""
    lock, never, over = Mutex(inherit_priority=True), Event(), Semaphore(0)

    def have_it() -> None:
        with lock:
            pass
        over.acquire()

    def look_on() -> None:
        wait_any(never, lock)
        over.release()

    world.process(have_it)
    world.process(look_on)


def unseen_onlooker(world: World) -> None:
    """One looks on at flags that nobody waits for alone, and has to see that they were set."""
    never, flags = Event(), Notification()

    def look_on() -> None:
        wait_any(never, flags)

    world.process(look_on)
    world.process(flags.notify)


def untold_onlooker_of_readers(world: World) -> None:
    """One looks on while somebody writes, and has to see that it leaves."""
    table, never, over = RWLock(), Event(), Semaphore(0)

    def write() -> None:
        with table.writing():
            pass
        over.acquire()

    def look_on() -> None:
        wait_any(never, table.reading())
        over.release()

    world.process(write)
    world.process(look_on)


def unseen_onlooker_of_a_number(world: World) -> None:
    """One looks on at a number that nobody waits for alone, and has to see that it changed."""
    never, count = Event(), AtomicInt()
    change = count.change_from(0)

    def look_on() -> None:
        wait_any(never, change)

    world.process(look_on)
    world.process(count.add, 1)


def kept_watch(world: World) -> None:
    """Two sleep for a lock. One of them gets it, and dies with it, while the one who had it before lives on."""
    lock, over = Mutex(), Semaphore(0)

    def have_it_first() -> None:
        with lock.recovering():
            pass
        over.acquire()

    def have_it() -> None:
        with lock.recovering():
            pass

    def have_it_last() -> None:
        have_it()
        over.release()

    world.process(have_it_first, mortal=False)
    world.process(have_it)
    world.process(have_it_last, mortal=False)


def kept_watch_of_one_who_leaves(world: World) -> None:
    """The same without a death: a thread ends with the lock, and after all others somebody cleans up."""
    lock, over = Mutex(), Semaphore(0)

    def have_it() -> None:
        with lock.recovering():
            pass

    def have_it_first() -> None:
        have_it()
        over.acquire()

    def keep_it() -> None:
        lock.recovering().__enter__()

    def have_it_last() -> None:
        have_it()
        over.release()

    def clean_up() -> None:
        world.join(keeper)
        world.join(last)
        have_it()

    world.process(have_it_first)
    keeper = world.process(keep_it)
    last = world.process(have_it_last)
    world.process(clean_up)


def unwatched_party(world: World) -> None:
    """One joins while another waits, and dies: the other has to be told. Of one who dies before that a third one tells."""
    start, joined = Barrier(2), AtomicInt()

    def wait() -> None:
        with suppress(BrokenBarrierError):
            start.wait()

    def join_and_wait() -> None:
        start.join()
        joined.store(1)
        wait()

    def tell() -> None:
        if not joined.load():
            start.abort()

    world.process(wait, mortal=False)
    world.process(join_and_wait)
    world.process(tell, mortal=False)


def late_seat(world: World) -> None:
    """The one that is notified holds no slot yet, and sleeps after it."""
    news, ready = Condition(), AtomicInt()

    def wait() -> None:
        with news:
            news.wait_for(ready.load)

    def notify() -> None:
        with news:
            ready.store(1)
            news.notify()

    world.process(wait)
    world.process(notify)


def kept_turn(world: World) -> None:
    """Two are notified together: the first has the mutex, and the second is not told."""
    news, ready = Condition(), AtomicInt()

    def wait() -> None:
        with news:
            news.wait_for(ready.load)

    def notify() -> None:
        with news:
            ready.store(1)
            news.notify_all()

    world.process(wait)
    world.process(wait)
    world.process(notify)


def unwatched_reader(world: World) -> None:
    """A reader is let in before a writer that goes on waiting, and dies inside, while the one who had it before lives on."""
    table, over = RWLock(prefer="readers"), Semaphore(0)

    def write_first() -> None:
        with table.writing():
            pass
        over.acquire()

    def read() -> None:
        with table.reading():
            pass

    def write_last() -> None:
        with table.writing():
            pass
        over.release()

    world.process(write_first, mortal=False)
    world.process(read)
    world.process(write_last, mortal=False)


def lease_in_the_ring(world: World) -> None:
    """Of two slots one is leased until something was put into the other."""
    jobs, over = Queue(2, 8), Semaphore(0)
    jobs.put_many([b"slow", b"quick"])

    def take_slowly() -> None:
        with jobs.take():
            over.acquire()

    def put_one_more() -> None:
        jobs.put(b"next")
        over.release()

    world.process(take_slowly)
    world.process(jobs.get, name="get")
    world.process(put_one_more)


def lease_of_the_dead(world: World) -> None:
    """A worker dies with the only job: the other has to get it."""
    jobs, results = Queue(1, 8), Queue(2, 8)
    jobs.put(b"job")

    def work() -> None:
        with jobs.take() as lease:
            results.put(lease)

    world.process(work, servant=True)
    world.process(work, servant=True)
    world.process(results.get, mortal=False, name="collect")


def early_end_of_stream(world: World) -> None:
    """A worker dies with the last job of a queue that is shut down: the other must not have gone home."""
    jobs, done = Queue(1, 8), AtomicInt()
    jobs.put(b"job")
    jobs.shutdown()

    def work() -> None:
        with suppress(EndOfStream):
            while True:
                with jobs.take():
                    done.store(1)

    world.process(work)
    world.process(work, mortal=False)
    world.at_end(lambda: done.load() == 1)


def early_end_of_a_job_put_back(world: World) -> None:
    """The same without a death: somebody else should do the job."""
    jobs, done = Queue(1, 8), AtomicInt()
    jobs.put(b"job")
    jobs.shutdown()

    def decline() -> None:
        with suppress(EndOfStream):
            jobs.take().put_back()

    def work() -> None:
        with suppress(EndOfStream):
            while True:
                with jobs.take():
                    done.store(1)

    world.process(decline)
    world.process(work)
    world.at_end(lambda: done.load() == 1)


def units_of_the_dead(world: World) -> None:
    """One dies with the only unit: who waits for it has to get it."""
    seats = Semaphore(1, leased=True)

    def sit() -> None:
        with seats.holding():
            seats.statistics()

    world.process(sit)
    world.process(sit, mortal=False)


def blocks_of_the_dead(world: World) -> None:
    """One dies with the only block: who waits for it has to get it."""
    yard = Pool(1, 64)

    def fill() -> None:
        with yard.alloc(1) as block:
            yard.statistics()
            block[:] = b"x"

    world.process(fill)
    world.process(fill, mortal=False)


def uncounted_call(world: World) -> None:
    """A worker dies with the only job, which it was the first to lease: who was about to sleep has to watch it."""
    jobs, results = Queue(1, 8), Queue(2, 8)

    def work() -> None:
        with jobs.take() as lease:
            results.put(lease)

    world.process(jobs.put, b"job", mortal=False, name="put")
    world.process(work, servant=True)
    world.process(work, servant=True)
    world.process(results.get, mortal=False, name="collect")


def wake_of_one(world: World) -> None:
    """Two wait until one more has come."""
    latch = Latch(1)
    world.process(latch.wait, name="wait")
    world.process(latch.wait, name="wait too")
    world.process(latch.count_down, name="arrive")


def unheard_call(world: World) -> None:
    """The last putter leaves while one getter has been woken and another sleeps on, and the first takes the last message."""
    jobs = Queue(1)

    def get() -> None:
        with suppress(EndOfStream):
            jobs.get()

    def put_get_and_put() -> None:
        jobs.put(b"a")
        with suppress(WouldBlock):
            jobs.get_nowait()
        with jobs.putting():
            jobs.put(b"b")

    world.process(get, name="get")
    world.process(get, name="get")
    world.process(put_get_and_put, name="put")


def _publish_three(broadcast: Broadcast) -> None:
    """Two of them fit."""
    for _ in range(3):
        broadcast.publish(b"0123456789abcdef")
    broadcast.shutdown()


def _read_all(broadcast: Broadcast) -> None:
    with broadcast.subscribe() as mine:
        for _ in mine:
            pass


def reader_of_the_dead(world: World) -> None:
    """A reader dies that has not got what is in its writer's way."""
    broadcast = Broadcast(32 * 2, when_full="wait")
    world.process(_read_all, broadcast, name="read")
    world.process(_publish_three, broadcast, mortal=False, name="publish")


def untold_room(world: World) -> None:
    """A reader gets what is in the way of its writer, which sleeps."""
    broadcast = Broadcast(32 * 2, when_full="wait")
    world.process(_read_all, broadcast, name="read")
    world.process(_publish_three, broadcast, name="publish")


def unpinned_lease(world: World) -> None:
    """A message is read in place while its writer, which waits for readers, needs the room."""
    broadcast, torn = Broadcast(32 * 2, when_full="wait"), AtomicInt()

    def read() -> None:
        with broadcast.subscribe(start="oldest") as mine:
            with mine.take() as lease:
                first = bytes(lease.value)
                torn.load()
                if bytes(lease.value) != first:
                    torn.store(1)
            for _ in mine:
                pass

    def write() -> None:
        for number in range(4):
            broadcast.publish(bytes([number]) * 16)
        broadcast.shutdown()

    world.process(read)
    world.process(write)
    world.at_end(lambda: torn.load() == 0)


def loan_of_the_dead(world: World) -> None:
    """A writer dies with a message that it writes in place: the next one goes on."""
    broadcast, turn = Broadcast(64), Mutex()

    def write() -> None:
        with turn.holding():
            loan = broadcast.loan(8)
            loan[:] = b"12345678"
            loan.commit()

    def go_on() -> None:
        try:
            turn.acquire()
        except OwnerDiedError:
            broadcast.publish(b"next")
        else:
            turn.release()

    world.process(write)
    world.process(go_on, mortal=False)


REPLANTED = (
    Replanted("missing baton", missing_baton, "untold death", kills=1),
    Replanted("wake before store", wake_before_store, "lost wake-up"),
    Replanted("wake before store", wake_before_store_beside_others, "lost wake-up"),
    Replanted("uncompared announcement", uncompared_announcement, "untold death", kills=1, schedules=2_000),
    Replanted("grant to the dead", grant_to_the_dead, "untold death", kills=1),
    Replanted("grant to the dead", unit_for_the_dead, "untold death", kills=1),
    Replanted("unwatched heir", unwatched_heir, "untold death", kills=1, schedules=10_000),
    Replanted("untold onlooker", untold_onlooker, "lost wake-up"),
    Replanted("untold onlooker", untold_onlooker_of_readers, "lost wake-up"),
    Replanted("unseen onlooker", unseen_onlooker, "lost wake-up"),
    Replanted("unseen onlooker", unseen_onlooker_of_a_number, "lost wake-up"),
    Replanted("kept watch", kept_watch, "untold death", kills=1, schedules=10_000),
    Replanted("kept watch", kept_watch_of_one_who_leaves, "lost wake-up"),
    Replanted("unwatched party", unwatched_party, "untold death", kills=1, schedules=5_000),
    Replanted("late seat", late_seat, "deadlock"),
    Replanted("kept turn", kept_turn, "lost wake-up"),
    Replanted("unwatched reader", unwatched_reader, "untold death", kills=1, schedules=10_000),
    Replanted("wake of one", wake_of_one, "lost wake-up"),
    Replanted("lease in the ring", lease_in_the_ring, "deadlock"),
    Replanted("lease of the dead", lease_of_the_dead, "deadlock", kills=1),
    Replanted("units of the dead", units_of_the_dead, "livelock", kills=1),
    Replanted("blocks of the dead", blocks_of_the_dead, "deadlock", kills=1),
    Replanted("unheard call", unheard_call, "lost wake-up", schedules=2_000),
    Replanted("uncounted call", uncounted_call, "deadlock", kills=1, schedules=10_000),
    Replanted("reader of the dead", reader_of_the_dead, "livelock", kills=1),
    Replanted("untold room", untold_room, "lost wake-up"),
    Replanted("unpinned lease", unpinned_lease, "invariant"),
    Replanted("loan of the dead", loan_of_the_dead, "exception", kills=1),
    Replanted("early end of stream", early_end_of_stream, "invariant", kills=1),
    Replanted("early end of stream", early_end_of_a_job_put_back, "invariant"),
)
