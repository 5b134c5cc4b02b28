"""What a death leaves behind."""

from tests.lab.planted.catalogue import planted
from underpass import AtomicInt, Mutex, OwnerDiedError, Queue, Semaphore, TimedOut
from underpass.lab import World


@planted("kill", oracle="deadlock")
def semaphore_as_a_lock(world: World, fixed: bool) -> None:
    """A unit that the dead held does not come back; a mutex does."""
    unit, lock = Semaphore(1), Mutex()

    def visit() -> None:
        if fixed:
            with lock.recovering():
                pass
        else:
            with unit.holding():
                pass

    world.process(visit)
    world.process(visit, mortal=False)


@planted("kill", "order", oracle="livelock")
def spin_lock_of_the_dead(world: World, fixed: bool) -> None:
    """A lock by hand, whose holder dies: the other spins for ever."""
    word, lock = AtomicInt(), Mutex()

    def visit() -> None:
        if fixed:
            with lock.recovering():
                return
        while word.compare_exchange(0, 1) != 0:
            pass
        word.store(0)

    world.process(visit)
    world.process(visit, mortal=False)


@planted("kill", oracle="exception")
def owner_died_not_expected(world: World, fixed: bool) -> None:
    """A lock's owner can die, and who comes next is told."""
    lock = Mutex()

    def visit() -> None:
        try:
            with lock:
                pass
        except OwnerDiedError:
            if not fixed:
                raise

    world.process(visit)
    world.process(visit)


@planted("kill", oracle="assertion")
def recovered_without_repair(world: World, fixed: bool) -> None:
    """Two numbers that are the same under the lock, but for what a death left."""
    lock, one, two = Mutex(), AtomicInt(), AtomicInt()

    def count() -> None:
        with lock.recovering() as died:
            if died and fixed:
                two.store(one.load())
            assert one.load() == two.load()
            one.add(1)
            two.add(1)

    world.process(count)
    world.process(count)


@planted("kill", oracle="deadlock")
def job_of_the_dead(world: World, fixed: bool) -> None:
    """A job that was got is gone with its worker; one that was taken comes back."""
    jobs, results = Queue(2, 8), Queue(2, 8)
    jobs.put(b"job")

    def work() -> None:
        if fixed:
            with jobs.take() as lease:
                results.put(lease)
        else:
            results.put(jobs.get())

    world.process(work, servant=True)
    world.process(work, servant=True)
    world.process(results.get, mortal=False, name="collect")


@planted("kill", oracle="at the end")
def done_before_it_is_done(world: World, fixed: bool) -> None:
    """The lease is acknowledged, and then the work begins."""
    jobs, result = Queue(1, 8), AtomicInt()
    jobs.put(b"job")

    def work() -> None:
        lease = jobs.take()
        if fixed:
            result.store(1)
            lease.done()
        else:
            lease.done()
            result.store(1)

    world.process(work)
    world.at_end(lambda: result.load() == 1 or jobs.statistics().depth + len(jobs.statistics().leases) == 1)


@planted("kill", oracle="at the end")
def counted_twice(world: World, fixed: bool) -> None:
    """A job that comes back may have been done already: counting it again is wrong, marking it again is not."""
    jobs, total, marks = Queue(1, 8), AtomicInt(), AtomicInt()
    jobs.put(b"\x01")

    def work() -> None:
        try:
            with jobs.take(timeout=1) as lease:
                if fixed:
                    marks.or_(lease.value[0])
                else:
                    total.add(1)
        except TimedOut:
            pass

    world.process(work)
    world.process(work)
    world.at_end(lambda: total.load() <= 1 and marks.load() <= 1)


@planted("kill", "order", oracle="at the end")
def restarted_twice(world: World, fixed: bool) -> None:
    """Two supervisors see the same death, and each starts a successor."""
    alive, starts = Mutex(), AtomicInt()

    def work() -> None:
        with alive:
            pass

    def supervise() -> None:
        if fixed:
            with alive.recovering() as died:
                starts.add(died is not None)
        else:
            try:
                alive.acquire()
                alive.release()
            except OwnerDiedError:
                starts.add(1)

    world.process(work)
    world.process(supervise, mortal=False, name="supervise")
    world.process(supervise, mortal=False, name="deputy")
    world.at_end(lambda: starts.load() <= 1)


@planted("kill", oracle="deadlock")
def barrier_of_the_dead(world: World, fixed: bool) -> None:
    """Who waits for everybody waits for the dead as well."""
    arrived = AtomicInt()

    def party() -> None:
        arrived.add(1)

    def wait_for_all() -> None:
        while (now := arrived.load()) < 2:
            try:
                arrived.wait(now, timeout=1 if fixed else None)
            except TimedOut:
                return

    world.process(party)
    world.process(party)
    world.process(wait_for_all, mortal=False)
