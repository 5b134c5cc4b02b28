"""Those who wait for ever, or go round for ever."""

from contextlib import suppress

from tests.lab.planted.catalogue import planted
from underpass import AtomicInt, Event, Mutex, Queue, Semaphore, TimedOut, WouldBlock
from underpass.lab import World


@planted("order", oracle="deadlock")
def abba(world: World, fixed: bool) -> None:
    """Two locks in two orders."""
    a, b = Mutex(), Mutex()

    def one() -> None:
        with a, b:
            pass

    def other() -> None:
        with a if fixed else b, b if fixed else a:
            pass

    world.process(one)
    world.process(other)


@planted("order", oracle="deadlock")
def philosophers(world: World, fixed: bool) -> None:
    """Three forks, three philosophers, all left-handed; one who is right-handed helps."""
    forks = [Mutex() for _ in range(3)]

    def dine(left: int, right: int) -> None:
        with forks[left], forks[right]:
            pass

    world.process(dine, 0, 1)
    world.process(dine, 1, 2)
    world.process(dine, *((0, 2) if fixed else (2, 0)))


@planted("order", oracle="deadlock")
def check_then_wait(world: World, fixed: bool) -> None:
    """Looks, finds nothing, and announces itself too late to be woken."""
    stock, sleepers, bell = AtomicInt(), AtomicInt(), Semaphore(0)

    def take() -> None:
        if fixed:
            sleepers.add(1)
            if stock.load():
                return
        else:
            if stock.load():
                return
            sleepers.add(1)
        bell.acquire()

    def deliver() -> None:
        stock.add(1)
        if sleepers.load():
            bell.release()

    world.process(take)
    world.process(deliver)


@planted("order", oracle="deadlock")
def cleared_too_late(world: World, fixed: bool) -> None:
    """An event that is cleared after the look misses what came between."""
    jobs, news = Queue(2, 8), Event()

    def consume() -> None:
        while True:
            if fixed:
                news.clear()
            if jobs.depth:
                jobs.get()
                return
            if not fixed:
                news.clear()
            news.wait()

    def produce() -> None:
        jobs.put(b"job")
        news.set()

    world.process(consume)
    world.process(produce)


@planted("order", oracle="deadlock")
def two_units_one_by_one(world: World, fixed: bool) -> None:
    """A readers' and writers' lock: a writer takes every reader's place, and so does the other."""
    places, turn = Semaphore(2), Mutex()

    def write() -> None:
        if fixed:
            with turn:
                places.acquire()
                places.acquire()
        else:
            places.acquire()
            places.acquire()
        places.release(2)

    world.process(write)
    world.process(write)


@planted("order", oracle="deadlock")
def queues_in_a_ring(world: World, fixed: bool) -> None:
    """Who asks three times before it listens fills the one queue, and then the other."""
    questions, answers = Queue(1, 8), Queue(6 if fixed else 1, 8)

    def ask() -> None:
        for _ in range(3):
            questions.put(b"?")
        for _ in range(3):
            answers.get()

    def serve() -> None:
        for _ in range(6):
            answers.put(questions.get())

    world.process(ask)
    world.process(ask)
    world.process(serve)


@planted("order", oracle="deadlock")
def one_poison_for_two(world: World, fixed: bool) -> None:
    """A worker that ends throws away what is left, and with it the message that should have ended the other."""
    jobs = Queue(4, 8)

    def work() -> None:
        while jobs.get() != b"stop":
            pass
        if not fixed:
            with suppress(WouldBlock):
                jobs.get_nowait()

    def send() -> None:
        for data in (b"job", b"stop", b"stop"):
            jobs.put(data)

    world.process(work)
    world.process(work)
    world.process(send)


@planted("order", "waiter", oracle="deadlock")
def one_bell_for_two_kinds(world: World, fixed: bool) -> None:
    """A wake for whom it is nothing: it was meant for the other one."""
    tea, coffee = AtomicInt(), AtomicInt()
    bell = Semaphore(0)
    bells = {0: Semaphore(0), 1: Semaphore(0)}

    def drink(kind: int) -> None:
        cups = (tea, coffee)[kind]
        while cups.load() == 0:
            (bells[kind] if fixed else bell).acquire()

    def pour(kind: int) -> None:
        (tea, coffee)[kind].add(1)
        (bells[kind] if fixed else bell).release()

    world.process(drink, 0)
    world.process(drink, 1)
    world.process(pour, 0)
    world.process(pour, 1)


@planted("waiter", oracle="assertion")
def first_come_first_served(world: World, fixed: bool) -> None:
    """Which of two sleepers a release wakes is not promised."""
    bell, ticket, served = Semaphore(0), AtomicInt(), AtomicInt()
    own = [Semaphore(0), Semaphore(0)]

    def queue_up() -> None:
        mine = ticket.add(1)
        (own[mine] if fixed else bell).acquire()
        assert served.add(1) == mine, "served out of turn"
        if fixed and mine == 0:
            own[1].release()

    def open_counter() -> None:
        while (now := ticket.load()) < 2:
            ticket.wait(now)
        if fixed:
            own[0].release()
        else:
            bell.release()
            while served.load() == 0:
                served.wait(0)
            bell.release()

    world.process(queue_up)
    world.process(queue_up)
    world.process(open_counter)


@planted("order", "time-out", oracle="livelock")
def deadlock_behind_a_timeout(world: World, fixed: bool) -> None:
    """Waits for what another can only do under the lock that it holds; the time-out hides that."""
    lock, ready = Mutex(), Event()

    def wait() -> None:
        if fixed:
            ready.wait()
        with lock:
            while not ready.is_set():
                with suppress(TimedOut):
                    ready.wait(timeout=1)

    def prepare() -> None:
        with lock:
            ready.set()

    world.process(wait)
    world.process(prepare)


@planted("order", "time-out", oracle="livelock")
def retried_for_ever(world: World, fixed: bool) -> None:
    """A flag is read once, before the loop that waits for it."""
    flag, bell = AtomicInt(), Event()

    def wait() -> None:
        seen = flag.load()
        while not seen:
            with suppress(TimedOut):
                bell.wait(timeout=1)
            if fixed:
                seen = flag.load()

    def tell() -> None:
        flag.store(1)
        bell.set()

    world.process(wait)
    world.process(tell)


@planted("time-out", oracle="always")
def released_without_being_held(world: World, fixed: bool) -> None:
    """A ``finally`` that releases what the time-out did not let it acquire."""
    seat, inside = Semaphore(1), AtomicInt()

    def visit() -> None:
        try:
            seat.acquire(timeout=1)
        except TimedOut:
            if not fixed:
                seat.release()
            return
        inside.add(1)
        inside.sub(1)
        seat.release()

    for _ in range(3):
        world.process(visit)
    world.invariant(always=lambda: inside.load() <= 1 and seat.value <= 1)


@planted("time-out", oracle="assertion")
def answer_to_an_older_question(world: World, fixed: bool) -> None:
    """The answer to a question that was given up is taken for that to the next."""
    questions, answers = Queue(4, 8), Queue(4, 8)

    def serve() -> None:
        for question in questions:
            answers.put(question)

    def ask() -> None:
        for question in (b"1", b"2"):
            questions.put(question)
            with suppress(TimedOut):
                answer = answers.get(timeout=1)
                while fixed and answer < question:
                    answer = answers.get(timeout=1)
                assert answer == question
        questions.shutdown()

    world.process(serve)
    world.process(ask)


@planted("time-out", oracle="at the end", schedules=2_000)
def job_dropped_at_a_timeout(world: World, fixed: bool) -> None:
    """What could not be passed on in time is forgotten."""
    jobs, results = Queue(2, 8), Queue(1, 8)
    jobs.put(b"1")
    jobs.put(b"2")
    done = AtomicInt()

    def work() -> None:
        for _ in range(2):
            with jobs.take() as lease, suppress(TimedOut):
                results.put(lease, timeout=None if fixed else 1)
        results.shutdown()

    def collect() -> None:
        for _ in results:
            done.add(1)

    world.process(work)
    world.process(collect)
    world.at_end(lambda: done.load() == 2)
