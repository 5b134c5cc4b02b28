"""WaitSet: level-triggered, of objects and descriptors, while others add, remove, change, and die."""

import gc
import os
import select
import signal
import socket
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

import underpass
from tests.conformance.backends import SOON, ProcessActor, Processes, Threads
from underpass import (
    ClosedError,
    Event,
    MisuseError,
    Mutex,
    NotFoundError,
    Notification,
    Port,
    Queue,
    Semaphore,
    TimedOut,
    WaitSet,
    _core,
    wait_any,
)
from underpass.sync import Latch

World = Threads | Processes

HEADER = 384
"""Bytes of an object's file that are not the object's own words."""


@pytest.fixture
def members() -> Iterator[WaitSet]:
    """Make a set, and close it."""
    with WaitSet() as members:
        yield members


def is_readable(descriptor: int, seconds: float = 0) -> bool:
    """Say what other loops would be told."""
    return bool(select.select([descriptor], [], [], seconds)[0])


def die() -> None:
    """End as a crash does."""
    os.kill(os.getpid(), signal.SIGKILL)


def acquire_and_die(mutex: Mutex) -> None:
    """Die as its owner."""
    mutex.acquire()
    die()


def loan_and_die(queue: Queue) -> None:
    """Die with what was not committed."""
    queue.loan(1)
    die()


# ── what is ready ──


def test_each_is_told_when_it_becomes_ready(world: World, members: WaitSet) -> None:
    semaphores = [Semaphore(0, fairness=fairness) for fairness in ("barging", "arrival", "priority")]
    notification, event, latch, queue, full = Notification(), Event(), Latch(1), Queue(), Queue(capacity=1)
    full.put(b"a")
    changes = [
        *((semaphore, semaphore.release) for semaphore in semaphores),
        (notification, lambda: notification.set(4)),
        (event, event.set),
        (queue, lambda: queue.put(b"a")),
        (full.room, full.get),
        (latch, latch.count_down),
    ]
    room = full.room
    told: list[list[type]] = []
    for what, _ in changes[:6]:
        members.add(what)
    members.add(room)
    members.add(latch)
    with pytest.raises(TimedOut, match=r"any member of the wait set \(.*\) not ready within"):
        members.wait(timeout=SOON)
    for what, change in changes:
        actor = world.start(change)
        found = members.wait()
        actor.result()
        told.append([type(one) for one in found])
        members.remove(room if isinstance(what, type(room)) else what)
    assert told == [[type(what)] for what, _ in changes]
    assert len(members) == 0


def test_it_takes_nothing_and_says_all_again_and_again(members: WaitSet) -> None:
    queue, event, semaphore = Queue(), Event(), Semaphore(2)
    for what in (queue, event, semaphore):
        members.add(what)
    assert members.wait() == [semaphore]
    event.set()
    queue.put(b"a")
    for _ in range(3):
        assert members.wait(timeout=0) == [queue, event, semaphore]
    queue.get()
    event.clear()
    assert members.wait() == [semaphore]
    semaphore.acquire()
    assert members.wait() == [semaphore]
    semaphore.acquire()
    with pytest.raises(TimedOut):
        members.wait(timeout=0)


def test_a_mutex_is_ready_when_it_is_free_or_its_owner_has_died(mortals: Processes, members: WaitSet) -> None:
    mutex = Mutex()
    members.add(mutex)
    assert members.wait() == [mutex]
    owner = mortals.start(acquire_and_die, mutex)
    owner.die()
    assert members.wait() == [mutex]
    with pytest.raises(underpass.OwnerDiedError):
        mutex.acquire()


def test_the_death_of_an_owner_is_heard(processes: Processes, members: WaitSet) -> None:
    mutex, held = Mutex(), Event()
    owner = processes.start(hold, mutex, held)
    held.wait()
    members.add(mutex)
    with pytest.raises(TimedOut):
        members.wait(timeout=SOON)
    waiter = threading.Thread(target=members.wait)
    waiter.start()
    owner.kill()
    waiter.join()
    assert members.wait(timeout=0) == [mutex]


def hold(mutex: Mutex, held: Event) -> None:
    """Own it until the end."""
    mutex.acquire()
    held.set()
    signal.pause()


def test_what_a_dead_putter_had_reserved_is_room_again(mortals: Processes, members: WaitSet) -> None:
    queue = Queue(capacity=1)
    members.add(queue.room)
    putter = mortals.start(loan_and_die, queue)
    putter.die()
    assert len(members.wait()) == 1
    queue.put_nowait(b"a")


def test_a_port_is_ready_with_a_call(members: WaitSet) -> None:
    with Port() as port:
        members.add(port)
        gate = port.gate()
        with pytest.raises(TimedOut):
            members.wait(timeout=SOON)
        caller = threading.Thread(target=gate.call, args=(b"hello",))
        caller.start()
        assert members.wait() == [port]
        port.receive().reply(b"there")
        caller.join()
        with pytest.raises(TimedOut):
            members.wait(timeout=0)


def test_descriptors_and_ends_of_processes(processes: Processes, members: WaitSet) -> None:
    one, other = socket.socketpair()
    readable, writable = os.pipe()
    with one, other:
        child = processes.start(signal.pause)
        with underpass.process(child.pid) as end:
            for what in (one, readable, end):
                members.add(what)
            with pytest.raises(TimedOut):
                members.wait(timeout=0)
            other.send(b"a")
            assert members.wait() == [one]
            os.write(writable, b"a")
            assert members.wait() == [one, readable]
            child.kill()
            members.remove(one)
            os.read(readable, 1)
            assert members.wait() == [end]
            members.remove(end)
        os.close(writable)
        # The other end is gone.
        assert members.wait() == [readable]
        members.remove(readable)
        os.close(readable)


def test_a_process_that_is_gone() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(NotFoundError, match=f"no process {child}"):
        underpass.process(child)


def test_wait_any_takes_descriptors(machine: World) -> None:
    readable, writable = os.pipe()
    queue = Queue()
    try:
        with pytest.raises(TimedOut, match="any of"):
            wait_any(queue, readable, timeout=SOON)
        actor = machine.start(queue.put, b"a")
        assert wait_any(queue, readable) == [queue]
        actor.result()
        os.write(writable, b"a")
        assert wait_any(readable, queue, readable) == [readable, queue, readable]
    finally:
        os.close(readable)
        os.close(writable)


def test_a_thousand(machine: World, members: WaitSet) -> None:
    events = [Event() for _ in range(1000)]
    for event in events:
        members.add(event)
    for index in (0, 999, 500):
        actor = machine.start(events[index].set)
        assert members.wait() == [events[index]]
        actor.result()
        events[index].clear()


# ── changing it ──


def test_adding_and_removing_while_another_waits(members: WaitSet) -> None:
    first, second = Event(), Event()
    members.add(first)
    found: list[object] = []
    waiter = threading.Thread(target=lambda: found.extend(members.wait()))
    waiter.start()
    second.set()
    members.remove(first)
    first.set()
    members.add(second)
    waiter.join()
    assert found == [second]


def test_each_thread_that_waits_is_told(members: WaitSet) -> None:
    event = Event()
    members.add(event)
    found: list[list[object]] = []
    waiters = [threading.Thread(target=lambda: found.append(members.wait())) for _ in range(4)]
    for waiter in waiters:
        waiter.start()
    event.set()
    for waiter in waiters:
        waiter.join()
    assert found == [[event]] * 4


def test_one_is_a_member_once(members: WaitSet) -> None:
    queue = Queue()
    members.add(queue)
    members.add(queue.room)
    with pytest.raises(ValueError, match="is in the set already"):
        members.add(queue)
    one, other = socket.socketpair()
    with one, other:
        members.add(one)
        with pytest.raises(ValueError, match="is in the set already"):
            members.add(one.fileno())
        members.remove(one.fileno())
        with pytest.raises(KeyError, match="is not in the set"):
            members.remove(one)
        assert one not in members
    assert queue in members
    assert "2 members" in repr(members)


@pytest.mark.parametrize("what", ["condition", "barrier", "counter", "none", "text"])
def test_what_cannot_be_waited_for(members: WaitSet, what: str) -> None:
    refused = {
        "condition": underpass.Condition(),
        "barrier": underpass.Barrier(2),
        "counter": underpass.AtomicInt(),
        "none": None,
        "text": "jobs",
    }[what]
    with pytest.raises(TypeError, match="cannot be waited for beside others"):
        members.add(refused)  # type: ignore[type-var]
    assert len(members) == 0


def test_a_plain_file_is_always_ready(members: WaitSet) -> None:
    with Path(__file__).open() as file, pytest.raises(ValueError, match="a plain file, which is always ready"):
        members.add(file)
    assert len(members) == 0


def test_a_descriptor_that_is_none(members: WaitSet) -> None:
    readable, writable = os.pipe()
    os.close(readable)
    os.close(writable)
    with pytest.raises(OSError, match=f"descriptor {readable}"):
        members.add(readable)
    assert len(members) == 0


def test_a_closed_member_is_told(world: World, members: WaitSet) -> None:
    event, other = Event(), Event()
    members.add(event, lambda event: event.is_set(), persistent=True)
    members.add(other)
    event.close()
    assert members.wait(timeout=0) == [event]
    world.start(other.set).result()
    for look in (members.wait, members.ready):
        assert look() == [event, other]
    with pytest.raises(ClosedError):
        members.dispatch()
    members.remove(event)
    with pytest.raises(ClosedError):
        members.add(event)
    assert members.wait() == [other]


def test_closing_wakes_who_waits(members: WaitSet) -> None:
    members.add(Event())
    errors: list[str] = []

    def wait() -> None:
        try:
            members.wait()
        except ClosedError as error:
            errors.append(str(error))

    waiters = [threading.Thread(target=wait) for _ in range(2)]
    for waiter in waiters:
        waiter.start()
    members.close()
    for waiter in waiters:
        waiter.join()
    assert errors == ["the wait set was closed"] * 2
    members.close()
    with pytest.raises(ClosedError):
        members.add(Event())
    assert repr(members) == "<WaitSet, closed>"


def test_a_signal_handler_that_raises_ends_a_wait(members: WaitSet) -> None:
    members.add(Event())

    def interrupt(*_: object) -> None:
        raise InterruptedError

    def wait() -> None:
        # It may come before the wait on a machine that is slow.
        signal.setitimer(signal.ITIMER_REAL, SOON)
        members.wait()

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(InterruptedError):
            wait()
    finally:
        signal.signal(signal.SIGALRM, before)


def test_it_belongs_to_the_process_that_made_it(members: WaitSet) -> None:
    event = Event()
    members.add(event)
    child = os.fork()
    if child == 0:
        try:
            members.wait(timeout=0)
        except MisuseError:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    event.set()
    assert members.wait() == [event]


class Keeper:
    """A handler that keeps the set it is in."""

    members: WaitSet | None = None

    def __call__(self, _: Event) -> None:
        """Do nothing."""


def test_a_handler_that_keeps_its_set_leaves_with_it() -> None:
    members, keeper = WaitSet(), Keeper()
    members.add(Event(), keeper)
    keeper.members = members
    gone = weakref.ref(keeper)
    del members, keeper
    gc.collect()
    assert gone() is None


# ── without waiting ──


def test_ready_says_what_is_and_never_waits(world: World, members: WaitSet) -> None:
    event, queue, semaphore = Event(), Queue(), Semaphore(1)
    assert members.ready() == []
    for what in (event, queue, semaphore):
        members.add(what)
    assert members.ready() == [semaphore]
    for change in (event.set, lambda: queue.put(b"a")):
        world.start(change).result()
    # Level-triggered: again and again, in the order in which they were added.
    for _ in range(2):
        assert members.ready() == [event, queue, semaphore]
        assert members.ready(everything=True) == [event, queue, semaphore]
    event.clear()
    semaphore.acquire()
    assert members.ready() == [queue]


def test_ready_of_descriptors(members: WaitSet) -> None:
    readable, writable = os.pipe()
    try:
        members.add(readable)
        assert members.ready() == []
        os.write(writable, b"a")
        assert members.ready() == [readable]
        os.read(readable, 1)
        assert members.ready(everything=True) == []
    finally:
        os.close(readable)
        os.close(writable)


def test_everything_finds_what_nobody_told(members: WaitSet) -> None:
    event, twin = Event.create("event"), Event.create("twin")
    members.add(event)
    assert members.ready() == []
    twin.set()
    files = {info.name: Path(underpass.Space.default().path, info.file) for info in underpass.Space.default()}
    # Nobody is rung for what is written past the verbs: the words behind the header, as they are once it is set.
    with files["twin"].open("rb") as source, files["event"].open("r+b") as file:
        source.seek(HEADER)
        file.seek(HEADER)
        file.write(source.read())
    assert members.ready() == []
    assert members.ready(everything=True) == [event]
    event.unlink()
    twin.unlink()


def test_ready_of_a_closed_set(members: WaitSet) -> None:
    members.close()
    with pytest.raises(ClosedError):
        members.ready()


# ── other loops ──


def test_its_descriptor_is_readable_while_something_is_ready(machine: World, members: WaitSet) -> None:
    event, queue = Event(), Queue()
    members.add(event)
    members.add(queue)
    descriptor = members.fileno()
    with pytest.raises(TimedOut):
        members.wait(timeout=0)
    assert not is_readable(descriptor)
    actor = machine.start(event.set)
    assert is_readable(descriptor, 30)
    actor.result()
    assert members.wait(timeout=0) == [event]
    # Nobody has taken anything.
    assert is_readable(descriptor)
    event.clear()
    with pytest.raises(TimedOut):
        members.wait(timeout=0)
    assert not is_readable(descriptor)
    queue.put(b"a")
    assert is_readable(descriptor, 30)


def test_what_is_ready_before_the_descriptor_is_asked_for(members: WaitSet) -> None:
    event = Event()
    event.set()
    members.add(event)
    assert is_readable(members.fileno(), 30)


# ── deaths ──


def test_a_killed_owner_of_a_set_costs_nobody_anything(mortals: Processes) -> None:
    event = Event()
    ready = Event()
    watcher = mortals.start(watch, event, ready)
    ready.wait()
    watcher.kill()
    event.set()
    event.clear()
    with WaitSet() as members:
        members.add(event)
        actor = mortals.start(event.set)
        assert members.wait() == [event]
        actor.result()
    underpass.Space.default().sweep()


def test_the_ends_of_all_are_heard_whoever_lived_and_lives_beside(processes: Processes) -> None:
    """Places of the dead lie between those of the living, and the threads that came here may have ended."""
    queues, taken, owners = [Queue() for _ in range(4)], Semaphore(0), list[ProcessActor[None]]()
    _core.set_recheck(None)
    try:
        with WaitSet() as members:
            for queue in queues:
                queue.put(b"a")
                processes.start(come_and_go).result()
                owners.append(processes.start(lease_in_a_thread, queue, taken))
                taken.acquire()
                members.add(queue)
            with pytest.raises(TimedOut):
                members.wait(timeout=0)
            for number in (2, 0, 3, 1):
                owners[number].kill()
                assert members.wait() == [queues[number]]
                members.remove(queues[number])
    finally:
        _core.set_recheck(1.0)


def come_and_go() -> None:
    """Live here, and end."""
    Event().close()


def lease_in_a_thread(queue: Queue, taken: Semaphore) -> None:
    """Lease what is there until the end of the process, in a thread that ends before."""

    def lease() -> None:
        leases.append(queue.take())

    leases: list[object] = []
    thread = threading.Thread(target=lease)
    thread.start()
    thread.join()
    # The thread that stays is never seen in the space.
    threading.Thread(target=taken.release).start()
    signal.pause()


def watch(event: Event, ready: Event) -> None:
    """Wait in a set until the end."""
    members = WaitSet()
    members.add(event)
    ready.set()
    members.wait()
