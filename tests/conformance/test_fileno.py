"""`fileno()` of objects: readable while they are ready, in loops that know descriptors and nothing of this library."""

import asyncio
import gc
import os
import resource
import select
import selectors
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing import connection
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.backends import PATIENCE, Processes, Threads, until
from underpass import (
    AtomicInt,
    Barrier,
    ClosedError,
    Condition,
    Event,
    MisuseError,
    Mutex,
    Notification,
    Once,
    OwnerDiedError,
    Pipe,
    Port,
    Queue,
    RWLock,
    Semaphore,
    TimedOut,
    WaitSet,
    WouldBlock,
    _core,
    lab,
)
from underpass.sync import Latch, SpinLock

World = Threads | Processes


def is_readable(what: Any, seconds: float = 0) -> bool:
    """Say what a loop would be told that has the number, and does not ask for it again."""
    return bool(select.select([what], [], [], seconds)[0])


def number_of(what: Any) -> int:
    return int(what.fileno())


def full() -> Queue:
    queue = Queue(capacity=1)
    queue.put(b"a")
    return queue


def is_missed(attempt: Callable[[], object]) -> bool:
    """Say whether there is nothing to take."""
    try:
        attempt()
    except WouldBlock:
        return True
    return False


# What is made; what makes it ready; what takes it, or fails.
KINDS: dict[str, tuple[Callable[[], Any], Callable[[Any], object], Callable[[Any], object]]] = {
    "Semaphore": (lambda: Semaphore(0), Semaphore.release, Semaphore.acquire_nowait),
    "Semaphore, by arrival": (
        lambda: Semaphore(0, fairness="arrival"),
        Semaphore.release,
        Semaphore.acquire_nowait,
    ),
    "Notification": (Notification, lambda it: it.notify(4), lambda it: it.wait_nowait(4)),
    "Queue": (Queue, lambda it: it.put(b"a"), Queue.get_nowait),
    "Pipe": (lambda: Pipe(8), lambda it: it.write(b"a"), lambda it: it.read_nowait(1)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_readable_until_nothing_is_found(world: World, kind: str) -> None:
    make, change, take = KINDS[kind]
    it = make()
    number = number_of(it)
    assert not is_readable(number)
    for _ in range(3):
        actor = world.start(change, it)
        assert is_readable(number, PATIENCE)
        actor.result()
        # Asking takes nothing.
        assert is_readable(number)
        assert is_readable(it)
        take(it)
        assert is_missed(lambda: take(it))
        assert not is_readable(number)
        assert number == number_of(it)


def test_a_unit_that_is_given_back() -> None:
    it = Semaphore(1, leased=True)
    number = it.fileno()
    assert is_readable(number)
    it.acquire_nowait()
    assert is_missed(it.acquire_nowait)
    assert not is_readable(number)
    it.release()
    assert is_readable(number)


def test_what_stays_ready_stays_readable(world: World) -> None:
    event, latch, queue = Event(), Latch(1), full()
    room, drained, flags = queue.room, queue.drained, (news := Notification()).flags(4)
    numbers = [number_of(what) for what in (event, latch, room, drained, flags)]
    changes: list[Callable[[], object]] = [event.set, latch.count_down, queue.get, int, lambda: news.set(4)]
    assert [is_readable(number) for number in numbers] == [False] * 5
    # Once it is got, nothing is queued or leased either.
    for number, change in zip(numbers, changes, strict=True):
        actor = world.start(change)
        for _ in range(2):
            assert is_readable(number, PATIENCE)
        actor.result()
    assert event.wait_nowait() is True
    latch.wait_nowait()
    assert all(map(is_readable, numbers))
    event.clear()
    queue.put(b"b")
    assert is_missed(event.wait_nowait)
    assert is_missed(lambda: queue.put_nowait(b"c"))
    assert [is_readable(number) for number in numbers] == [False, True, False, False, True]
    # A part that is asked for again is the same; of the flags each that is asked for has its own.
    assert [number_of(queue.room), number_of(queue.drained), number_of(flags)] == numbers[2:]
    assert number_of(news.flags(4)) != numbers[4]


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_part_takes_its_descriptor_along(private_space: Path) -> None:
    count, news = AtomicInt(), Notification()
    first, flags = count.change_from(0), news.flags(1)
    numbers = [number_of(first), number_of(flags)]
    taken, files = descriptors(), sorted(private_space.iterdir())
    for value in range(1, 50):
        assert is_readable(count.change_from(value))
        assert not is_readable(news.flags(1 << value))
    assert descriptors() == taken
    assert sorted(private_space.iterdir()) == files
    # What is kept goes on.
    count.add(1)
    news.set(1)
    assert [number_of(first), number_of(flags)] == numbers
    assert all(map(is_readable, numbers))


def test_a_mutex_that_is_given_back(world: World) -> None:
    mutex, taken, go = Mutex(), world.flag(), world.flag()

    def hold() -> None:
        with mutex:
            taken.raise_()
            go.wait()

    holder = world.start(hold)
    taken.wait()
    number = mutex.fileno()
    assert not is_readable(number)
    assert is_missed(mutex.acquire_nowait)
    go.raise_()
    assert is_readable(number, PATIENCE)
    holder.result()
    mutex.acquire_nowait()
    mutex.release()


def test_a_port_with_a_call(world: World) -> None:
    with Port.create("desk") as port:
        number = port.fileno()
        assert not is_readable(number)
        gate = port.gate()
        caller = world.start(gate.call, b"hello")
        while not caller.ended:
            assert is_readable(number, PATIENCE)
            try:
                port.receive(timeout=0).reply(b"world")
            except TimedOut:
                # It came to be let in, and calls next.
                continue
            break
        assert caller.result() == b"world"


# ── loops ──


@pytest.mark.parametrize("poller", ["poll", "epoll", "selectors", "connection.wait"])
def test_pollers(world: World, poller: str) -> None:
    queue = Queue()
    number = queue.fileno()
    count = 50
    putter = world.start(lambda: [queue.put(b"a") for _ in range(count)])
    wait: Callable[[], object]
    if poller == "selectors":
        selector = selectors.DefaultSelector()
        selector.register(queue, selectors.EVENT_READ)
        wait, close = lambda: selector.select(PATIENCE), selector.close
    elif poller == "connection.wait":
        wait, close = lambda: connection.wait([number], PATIENCE), int
    else:
        polled = getattr(select, poller)()
        polled.register(number, select.POLLIN)
        seconds = PATIENCE * 1000 if poller == "poll" else PATIENCE
        wait, close = lambda: polled.poll(seconds), getattr(polled, "close", int)
    # One at a time: what is left is told again.
    for _ in range(count):
        while is_missed(queue.get_nowait):
            assert wait(), "a wake was lost"
    putter.result()
    close()


def test_asyncio_add_reader(processes: Processes) -> None:
    queue, stop = Queue(capacity=4), Event()
    each, got = 300, list[bytes]()

    def put() -> None:
        for _ in range(each):
            queue.put(b"a")

    async def main() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def take() -> None:
            if not is_missed(lambda: got.append(queue.get_nowait())) and len(got) == 2 * each:
                loop.remove_reader(queue)
                stop.set()

        def end() -> None:
            # Readable is not set: it is told of each process that comes as well.
            if not is_missed(stop.wait_nowait):
                done.set()

        loop.add_reader(queue, take)
        loop.add_reader(stop, end)
        await asyncio.wait_for(done.wait(), PATIENCE)
        loop.remove_reader(stop)

    putters = [processes.start(put) for _ in range(2)]
    asyncio.run(main())
    assert len(got) == 2 * each
    for putter in putters:
        putter.result()


def test_threads_that_poll_one_object(processes: Processes) -> None:
    queue, each, got = Queue(capacity=4), 200, list[bytes]()
    number = queue.fileno()

    def take() -> None:
        while len(got) < 2 * each:
            if is_readable(number, 0.05):
                is_missed(lambda: got.append(queue.get_nowait()))

    takers = [threading.Thread(target=take) for _ in range(3)]
    for taker in takers:
        taker.start()
    putters = [processes.start(lambda: [queue.put(b"a") for _ in range(each)]) for _ in range(2)]
    for putter in putters:
        putter.result()
    for taker in takers:
        taker.join()
    assert len(got) == 2 * each


def test_a_thousand(processes: Processes) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < 8192:
        pytest.skip("fewer than 8,192 descriptors are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 8192), hard))
    before = len(list(Path("/proc/self/fd").iterdir()))
    try:
        events, go = [Event() for _ in range(1000)], Event()

        def set_some() -> None:
            go.wait()
            for event in events[::100]:
                event.set()

        # Of each process that is new here all are told once.
        setter = processes.start(set_some)
        setter.until_asleep()
        with selectors.DefaultSelector() as selector:
            for event in events:
                selector.register(event, selectors.EVENT_READ)
            assert selector.select(0) == []
            go.set()
            setter.result()
            # Its end is told to all, and whoever finds nothing is quiet again.
            assert len(selector.select(PATIENCE)) >= 10
            ready = [event for event in events if not is_missed(event.wait_nowait)]
            assert ready == events[::100]
            told = {id(key.fileobj) for key, _ in selector.select(PATIENCE)}
            assert told == {id(event) for event in ready}
            for event in events:
                selector.unregister(event)
                event.close()
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 4
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# ── deaths ──


@pytest.fixture
def no_recheck() -> Iterator[None]:
    """Turn the re-check off: whoever is told here is told by the kernel."""
    _core.set_recheck(None)
    yield
    _core.set_recheck(1.0)


def hold(mutex: Mutex, queue: Queue, ready: Semaphore) -> None:
    """Hold both until the end."""
    lease = queue.take()
    mutex.acquire()
    ready.release()
    signal.pause()
    lease.done()


@pytest.mark.usefixtures("no_recheck")
@pytest.mark.parametrize("first", [True, False])
def test_a_killed_holder_is_told(processes: Processes, first: bool) -> None:  # noqa: FBT001 - pytest passes it
    """One that lived here before the descriptor was made, or came later."""
    mutex, queue, ready = Mutex(), full(), Semaphore(0)
    numbers = [] if first else [mutex.fileno(), queue.fileno()]
    holder = processes.start(hold, mutex, queue, ready)
    ready.acquire()
    numbers = numbers or [mutex.fileno(), queue.fileno()]
    assert is_missed(mutex.acquire_nowait)
    assert is_missed(queue.get_nowait)
    assert not any(map(is_readable, numbers))
    holder.kill()
    assert all(is_readable(number, PATIENCE) for number in numbers)
    assert queue.get_nowait() == b"a"
    with pytest.raises(OwnerDiedError):
        mutex.acquire_nowait()
    with mutex.recovering():
        pass


def poll_for_ever(event: Event, ready: Semaphore) -> None:
    number = event.fileno()
    ready.release()
    while True:
        is_readable(number, PATIENCE)


def test_a_killed_poller_costs_nobody_anything(processes: Processes) -> None:
    event, ready = Event(), Semaphore(0)
    poller = processes.start(poll_for_ever, event, ready)
    ready.acquire()
    number = event.fileno()
    poller.kill()
    event.set()
    assert is_readable(number)
    event.close()
    _core.Space.default().sweep()


def test_a_killed_runner_leaves_it_to_others(processes: Processes) -> None:
    once, runs = Once(), Event()

    def run() -> None:
        with once.running():
            runs.set()
            signal.pause()

    number = once.fileno()
    assert is_readable(number), "nobody runs it"
    runner = processes.start(run)
    runs.wait()
    with pytest.raises(TimedOut):
        once.call(int, timeout=0)
    assert not is_readable(number)
    runner.kill()
    assert is_readable(number, PATIENCE)
    assert once.call(int)
    assert is_readable(number), "it has run"


# ── whose it is ──


REFUSED = [Condition, lambda: Barrier(2), AtomicInt]


@pytest.mark.parametrize("make", REFUSED, ids=["Condition", "Barrier", "AtomicInt"])
def test_what_is_not_ready_has_none(make: Callable[[], Any]) -> None:
    it = make()
    with pytest.raises(TypeError) as refused:
        it.fileno()
    with WaitSet() as members, pytest.raises(TypeError) as not_added:
        members.add(it)
    assert str(refused.value) == str(not_added.value)


def test_a_lock_of_readers_and_writers_while_it_is_free(processes: Processes) -> None:
    table, spin, count = RWLock(), SpinLock(), AtomicInt(3)
    change = count.change_from(3)
    inside, go = processes.flag(), processes.flag()

    def hold() -> None:
        with table.reading():
            inside.raise_()
            go.wait()
        spin.acquire()
        spin.release()
        count.add(1)

    assert is_readable(table.fileno())
    assert is_readable(spin.fileno())
    holder = processes.start(hold)
    inside.wait()
    with pytest.raises(TimedOut), table.writing(timeout=0):
        pass
    with pytest.raises(WouldBlock):
        count.wait_nowait(3)
    assert not is_readable(table.fileno())
    assert not is_readable(change.fileno())
    go.raise_()
    assert is_readable(table.fileno(), PATIENCE)
    assert is_readable(change.fileno(), PATIENCE)
    holder.result()
    assert count.wait_nowait(3)
    with table.writing(timeout=0):
        pass


def test_it_is_closed_with_its_handle() -> None:
    queue = Queue.create("jobs")
    again = Queue.open("jobs")
    number, other = queue.fileno(), again.fileno()
    assert number != other
    queue.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
    with pytest.raises(ClosedError, match="queue 'jobs'"):
        queue.fileno()
    again.put(b"a")
    assert is_readable(other)
    again.unlink()
    # The last reference closes too, at once: nothing waits for the collector.
    gc.disable()
    try:
        del again
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(other)
    finally:
        gc.enable()


def test_a_forked_child_has_its_own(processes: Processes) -> None:
    queue, told = Queue(), Queue()
    number = queue.fileno()

    def poll() -> None:
        own = queue.fileno()
        assert not is_readable(own)
        told.put(b"polls")
        assert is_readable(own, PATIENCE)
        assert queue.get_nowait() == b"a"
        assert is_missed(queue.get_nowait)
        assert not is_readable(own)
        # A process that ends without this leaves the file of its bell to the sweep.
        queue.close()

    child = processes.start(poll)
    assert told.get(timeout=PATIENCE) == b"polls"
    queue.put(b"a")
    child.result()
    # What the child did to its own is nothing to this one.
    assert is_missed(queue.get_nowait)
    assert not is_readable(number)
    queue.put(b"b")
    assert is_readable(number)


def test_nothing_of_it_is_left_behind(private_space: Path) -> None:
    event = Event()
    event.fileno()
    assert [path for path in private_space.iterdir() if "bell" in path.name]
    event.close()
    assert not [path for path in private_space.iterdir() if "bell" in path.name]
    # The bell is free for others, and who rings finds nobody.
    for _ in range(1100):
        with_one = Event()
        with_one.fileno()
        with_one.close()


def test_in_the_lab_there_is_none() -> None:
    def program(_world: lab.World) -> None:
        with pytest.raises(MisuseError, match="lab"):
            Event().fileno()

    lab.explore(program, schedules=1)


def test_a_signal_handler_may_take(processes: Processes) -> None:
    """It looks in the middle of another's look, and leaves it to that one."""
    queue, got = Queue(capacity=64), list[bytes]()
    number = queue.fileno()

    def take(_number: int = 0, _frame: object = None) -> None:
        is_missed(lambda: got.append(queue.get_nowait()))

    before = signal.signal(signal.SIGUSR1, take)
    pid, count = os.getpid(), 300

    def put() -> None:
        for _ in range(count):
            queue.put(b"a")
            os.kill(pid, signal.SIGUSR1)

    try:
        putter = processes.start(put)
        while len(got) < count:
            if is_readable(number, PATIENCE):
                take()
        putter.result()
    finally:
        signal.signal(signal.SIGUSR1, before)
    until(lambda: len(got) == count)
