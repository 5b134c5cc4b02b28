"""Steps that somebody else comes between."""

from tests.lab.planted.catalogue import planted
from underpass import AtomicInt, Event, Mutex, Notification, Queue, Semaphore
from underpass.lab import World


@planted("order", oracle="at the end")
def lost_update(world: World, fixed: bool) -> None:
    """A read-modify-write without a lock."""
    total, lock = AtomicInt(), Mutex()

    def add() -> None:
        if fixed:
            with lock:
                total.store(total.load() + 1)
        else:
            total.store(total.load() + 1)

    world.process(add)
    world.process(add)
    world.at_end(lambda: total.load() == 2)


@planted("order", oracle="assertion")
def check_then_act(world: World, fixed: bool) -> None:
    """A seat that two find free."""
    owner = AtomicInt()

    def claim(me: int) -> None:
        if fixed:
            mine = owner.compare_exchange(0, me) == 0
        else:
            mine = owner.load() == 0
            if mine:
                owner.store(me)
        if mine:
            assert owner.load() == me, "two have the same seat"

    world.process(claim, 1)
    world.process(claim, 2)


@planted("order", oracle="assertion")
def notify_before_store(world: World, fixed: bool) -> None:
    """The reader is told of a result that is not there yet."""
    result, ready = AtomicInt(), Notification()

    def compute() -> None:
        if fixed:
            result.store(42)
            ready.notify()
        else:
            ready.notify()
            result.store(42)

    def read() -> None:
        ready.wait()
        assert result.load() == 42

    world.process(compute)
    world.process(read)


@planted("order", oracle="exception")
def miscounted_barrier(world: World, fixed: bool) -> None:
    """Who comes last opens the door; but two may find that they are last."""
    arrived, door = AtomicInt(), Semaphore(0, limit=2)

    def meet() -> None:
        if fixed:
            last = arrived.add(1) + 1 == 2
        else:
            arrived.add(1)
            last = arrived.load() == 2
        if last:
            door.release(2)
        door.acquire()

    world.process(meet)
    world.process(meet)


@planted("order", oracle="exception")
def closed_by_the_first(world: World, fixed: bool) -> None:
    """A queue that is shut down by the producer who is done first."""
    jobs, left = Queue(4, 8), AtomicInt(2)

    def produce() -> None:
        jobs.put(b"job")
        if fixed:
            if left.sub(1) == 1:
                jobs.shutdown()
        else:
            jobs.shutdown()

    def consume() -> None:
        for _ in jobs:
            pass

    world.process(produce)
    world.process(produce)
    world.process(consume)


@planted("order", oracle="exception")
def full_queue_not_expected(world: World, fixed: bool) -> None:
    """A queue that is nearly never full."""
    log = Queue(2, 8)

    def write() -> None:
        for _ in range(2):
            if fixed:
                log.put(b"line")
            else:
                log.put_nowait(b"line")

    def read() -> None:
        for _ in range(4):
            log.get()

    world.process(write)
    world.process(write)
    world.process(read)


@planted("order", oracle="always")
def limit_exceeded_for_a_moment(world: World, fixed: bool) -> None:
    """Add, look, and take back: in between there are too many."""
    used, limit = AtomicInt(), 1

    def use() -> None:
        if fixed:
            while (now := used.load()) < limit:
                if used.compare_exchange(now, now + 1) == now:
                    used.sub(1)
                    return
        elif used.add(1) >= limit:
            used.sub(1)
        else:
            used.sub(1)

    world.process(use)
    world.process(use)
    world.invariant(always=lambda: used.load() <= limit)


@planted("order", oracle="always")
def money_on_its_way(world: World, fixed: bool) -> None:
    """Two accounts that hold a hundred together, but not while somebody moves money: in one word they do."""
    ann, bob, both = AtomicInt(50), AtomicInt(50), AtomicInt(50 << 32 | 50)

    def move() -> None:
        if fixed:
            both.add((10 << 32) - 10)
        else:
            ann.add(10)
            bob.sub(10)

    def sum_is_right() -> bool:
        if fixed:
            return (both.load() >> 32) + (both.load() & 0xFFFF_FFFF) == 100
        return ann.load() + bob.load() == 100

    world.process(move)
    world.invariant(always=sum_is_right)


@planted("order", oracle="assertion")
def woken_for_nothing(world: World, fixed: bool) -> None:
    """Who was woken does not look again whether there is something for it."""
    stock = AtomicInt()

    def take() -> None:
        if fixed:
            while (now := stock.load()) == 0 or stock.compare_exchange(now, now - 1) != now:
                stock.wait(0)
        else:
            stock.wait(0)
            assert stock.sub(1) > 0, "took what was not there"

    def deliver() -> None:
        stock.add(1)
        stock.add(1)

    world.process(take)
    world.process(take)
    world.process(deliver)


@planted("order", oracle="at the end")
def result_of_another(world: World, fixed: bool) -> None:
    """Two clients share the queue of answers, and each takes the next."""
    questions, answers, mine = Queue(2, 8), Queue(2, 8), AtomicInt()
    own = {1: Queue(1, 8), 2: Queue(1, 8)}

    def serve() -> None:
        for _ in range(2):
            who = questions.get()
            (own[who[0]] if fixed else answers).put(who)

    def ask(me: int) -> None:
        questions.put(bytes([me]))
        if (own[me] if fixed else answers).get() == bytes([me]):
            mine.add(1)

    world.process(serve)
    world.process(ask, 1)
    world.process(ask, 2)
    world.at_end(lambda: mine.load() == 2)


@planted("order", oracle="exception")
def last_one_counted_too_early(world: World, fixed: bool) -> None:
    """Workers share jobs out by looking how many are left."""
    jobs, left = Queue(4, 8), AtomicInt(3)
    for number in range(3):
        jobs.put(bytes([number]))

    def work() -> None:
        if fixed:
            while left.sub(1) > 0:
                jobs.get_nowait()
        else:
            while left.load() > 0:
                jobs.get_nowait()
                left.sub(1)

    world.process(work)
    world.process(work)


@planted("order", oracle="at the end")
def started_once_each(world: World, fixed: bool) -> None:
    """An event is no lock: both find it clear and do what is to be done once."""
    begun, starts, once = Event(), AtomicInt(), Mutex()

    def start() -> None:
        if fixed:
            with once:
                if not begun.is_set():
                    begun.set()
                    starts.add(1)
        elif not begun.is_set():
            begun.set()
            starts.add(1)

    world.process(start)
    world.process(start)
    world.at_end(lambda: starts.load() == 1)
