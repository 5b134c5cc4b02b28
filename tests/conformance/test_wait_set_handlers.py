"""WaitSet: handlers that stay, and members that move into another set."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial

import pytest

from tests.conformance.backends import SOON, Processes, Threads, until
from underpass import ClosedError, Event, Queue, Semaphore, TimedOut, WaitSet

World = Threads | Processes

ROUNDS = 30


@pytest.fixture
def members() -> Iterator[WaitSet]:
    """Make a set, and close it."""
    with WaitSet() as members:
        yield members


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Make a pipe with nothing in it."""
    readable, writable = os.pipe()
    yield readable, writable
    os.close(readable)
    os.close(writable)


def nothing_is_called(members: WaitSet) -> None:
    with pytest.raises(TimedOut):
        members.dispatch(timeout=0)


# ── handlers that stay ──


def test_a_persistent_handler_is_called_as_long_as_its_member_is_ready(world: World, members: WaitSet) -> None:
    jobs, got = Queue(), list[bytes]()
    members.add(jobs, lambda jobs: got.append(jobs.get_nowait()), persistent=True)

    def put() -> None:
        for message in (b"a", b"b", b"c"):
            jobs.put(message)

    actor = world.start(put)
    for _ in range(3):
        assert members.dispatch() == 1
    actor.result()
    assert got == [b"a", b"b", b"c"]
    nothing_is_called(members)
    assert jobs in members


def test_persistent_and_once_beside_each_other(world: World, members: WaitSet) -> None:
    stays, leaves, called = Event(), Event(), list[object]()
    members.add(stays, called.append, persistent=True)
    members.add(leaves, called.append)
    world.start(lambda: (stays.set(), leaves.set())).result()
    assert members.dispatch() == 2
    assert members.dispatch() == 1
    assert called == [stays, leaves, stays]
    assert len(members) == 1


def test_a_persistent_handler_of_a_descriptor(members: WaitSet, pipe: tuple[int, int]) -> None:
    readable, writable = pipe
    got = list[bytes]()
    members.add(readable, lambda readable: got.append(os.read(readable, 1)), persistent=True)
    os.write(writable, b"ab")
    assert members.dispatch() == 1
    assert members.dispatch() == 1
    assert got == [b"a", b"b"]
    nothing_is_called(members)
    os.write(writable, b"c")
    assert members.dispatch() == 1


def test_persistent_needs_a_handler(members: WaitSet) -> None:
    with pytest.raises(ValueError, match="there is no handler"):
        members.add(Event(), None, persistent=True)  # type: ignore[call-overload]
    assert len(members) == 0


def test_a_persistent_handler_that_raises_stays(world: World, members: WaitSet) -> None:
    jobs = Queue()
    members.add(jobs, lambda jobs: 1 / len(jobs.get_nowait()), persistent=True)
    world.start(partial(jobs.put, b"")).result()
    with pytest.raises(ZeroDivisionError):
        members.dispatch()
    nothing_is_called(members)
    jobs.put(b"a")
    assert members.dispatch() == 1


def test_a_handler_removes_its_member(members: WaitSet) -> None:
    event = Event()
    event.set()
    members.add(event, members.remove, persistent=True)
    assert members.dispatch() == 1
    assert len(members) == 0
    members.add(event)
    assert members.wait() == [event]


def test_a_handler_does_not_call_itself(world: World, members: WaitSet) -> None:
    outer, inner, called = Event(), Event(), list[object]()

    def nest(event: Event) -> None:
        called.append(event)
        # It is ready still, and its handler is at work.
        assert members.dispatch() == 1
        nothing_is_called(members)

    members.add(outer, nest, persistent=True)
    members.add(inner, called.append)
    outer.set()
    actor = world.start(inner.set)
    # Both may be found at once: then the inner one is not called twice.
    assert members.dispatch() == 1
    actor.result()
    assert called == [outer, inner]


def test_what_a_nested_dispatch_has_handled_is_not_called_again(world: World, members: WaitSet) -> None:
    first, jobs, got = Event(), Queue(), list[bytes]()

    def nest(event: Event) -> None:
        event.clear()
        assert members.dispatch() == 1

    members.add(first, nest, persistent=True)
    members.add(jobs, lambda jobs: got.append(jobs.get_nowait()), persistent=True)
    world.start(lambda: (first.set(), jobs.put(b"a"))).result()
    assert members.dispatch() == 1
    assert got == [b"a"]


def test_one_call_of_a_handler_runs_at_a_time(threads: Threads, members: WaitSet, pipe: tuple[int, int]) -> None:
    readable, writable = pipe
    units, inside, most, calls = Semaphore(0), Semaphore(1), list[int](), Semaphore(0)

    def handle(take: Callable[[], object], _: object) -> None:
        with inside.holding(timeout=0):
            most.append(1)
            take()
        calls.release()

    members.add(units, partial(handle, units.acquire_nowait), persistent=True)
    dispatchers = [threads.start(dispatch_until_closed, members) for _ in range(3)]
    for _ in range(ROUNDS):
        units.release()
    for _ in range(ROUNDS):
        calls.acquire()
    members.remove(units)
    os.set_blocking(readable, False)

    def read() -> None:
        # Of a descriptor a call may come in vain.
        with suppress(BlockingIOError):
            got.append(os.read(readable, 1))

    got = list[bytes]()
    members.add(readable, partial(handle, read), persistent=True)
    os.write(writable, b"a" * ROUNDS)
    until(lambda: len(got) == ROUNDS)
    members.close()
    for dispatcher in dispatchers:
        dispatcher.result()
    assert len(most) >= 2 * ROUNDS


def dispatch_until_closed(members: WaitSet) -> None:
    try:
        while True:
            assert members.dispatch() > 0
    except ClosedError:
        pass


def test_other_members_are_handled_while_a_handler_runs(threads: Threads, members: WaitSet) -> None:
    long, short = Event(), Event()
    begun, end, called = Event(), Event(), list[object]()
    members.add(long, lambda event: (event.clear(), begun.set(), end.wait()), persistent=True)
    members.add(short, called.append)
    worker = threads.start(members.dispatch)
    long.set()
    begun.wait()
    # It is ready once more, and its handler is at work: it is told of to those who wait, and to nobody who dispatches.
    long.set()
    assert members.wait() == [long]
    nothing_is_called(members)
    dispatcher = threads.start(members.dispatch)
    dispatcher.until_asleep()
    short.set()
    assert dispatcher.result() == 1
    dispatcher = threads.start(members.dispatch)
    dispatcher.until_asleep()
    end.set()
    # The end of that call tells who sleeps.
    assert dispatcher.result() == worker.result() == 1
    assert called == [short]


def test_the_end_of_a_call_tells_of_a_descriptor_again(
    threads: Threads, members: WaitSet, pipe: tuple[int, int]
) -> None:
    readable, writable = pipe
    begun, end = Event(), Event()
    members.add(readable, lambda it: (os.read(it, 1), begun.set(), end.wait()), persistent=True)
    worker = threads.start(members.dispatch)
    os.write(writable, b"a")
    begun.wait()
    os.write(writable, b"b")
    nothing_is_called(members)
    dispatcher = threads.start(members.dispatch)
    dispatcher.until_asleep()
    end.set()
    assert dispatcher.result() == worker.result() == 1


def test_a_dispatch_that_others_have_left_nothing_waits_on(threads: Threads, members: WaitSet) -> None:
    """Whoever finds a member beside another dispatcher, and is the slower one, has dispatched nothing: it does not return 0."""
    events = [Event() for _ in range(4)]
    for _ in range(ROUNDS):
        for event in events:
            members.add(event, Event.clear)
        dispatchers = [threads.start(drain, members, len(events)) for _ in range(2)]
        for event in events:
            event.set()
        assert sum(dispatcher.result() for dispatcher in dispatchers) == len(events)


def drain(members: WaitSet, _: int) -> int:
    """Dispatch until nothing is left in the set; how many it has called."""
    called = 0
    while len(members):
        try:
            count = members.dispatch(timeout=SOON)
        except TimedOut:
            continue
        assert count > 0
        called += count
    return called


def test_a_child_that_is_forked_in_a_handler_has_no_part_in_the_set(members: WaitSet) -> None:
    event, children = Event(), list[int]()
    event.set()

    def fork(_: Event) -> None:
        children.append(os.fork())
        if not children[0]:
            raise InterruptedError

    members.add(event, fork, persistent=True)
    try:
        members.dispatch()
    except InterruptedError:
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0


# ── members that move ──


def test_a_member_moves_with_its_handler(world: World, members: WaitSet) -> None:
    event, called = Event(), list[object]()
    with WaitSet() as other:
        members.add(event, called.append, persistent=True)
        members.migrate(event, other)
        assert event not in members
        world.start(event.set).result()
        with pytest.raises(TimedOut):
            members.dispatch(timeout=0)
        assert other.dispatch() == 1
        other.migrate(event, members)
        assert members.dispatch() == 1
        assert called == [event, event]
        # Into its own set, which holds it already.
        members.migrate(event, members)
        assert members.wait() == [event]


def test_one_that_was_ready_is_told_where_it_has_come(
    threads: Threads, members: WaitSet, pipe: tuple[int, int]
) -> None:
    readable, writable = pipe
    event = Event()
    for what, make_ready in ((event, event.set), (readable, lambda: os.write(writable, b"a"))):
        with WaitSet() as other:
            members.add(what, lambda _: None)
            nothing_is_called(members)
            other.add(Event(), print)
            dispatcher = threads.start(other.dispatch)
            dispatcher.until_asleep()
            make_ready()
            assert members.wait() == [what]
            members.migrate(what, other)
            assert dispatcher.result() == 1
            with pytest.raises(TimedOut):
                members.wait(timeout=0)


def test_what_does_not_move_stays(world: World, members: WaitSet) -> None:
    event = Event()
    members.add(event, lambda _: None)
    other = WaitSet()
    with pytest.raises(KeyError, match="is not in the set"):
        members.migrate(Event(), other)
    other.add(event)
    with pytest.raises(ValueError, match="in the set already"):
        members.migrate(event, other)
    other.close()
    with pytest.raises(ClosedError):
        members.migrate(event, other)
    world.start(event.set).result()
    assert members.dispatch() == 1
    with WaitSet() as other:
        members.add(event, lambda _: None)
        event.close()
        with pytest.raises(ClosedError):
            members.migrate(event, other)
        assert len(other) == 0
        assert members.wait() == [event]


def test_a_descriptor_that_was_closed_does_not_move(members: WaitSet) -> None:
    readable, writable = os.pipe()
    members.add(readable, print)
    os.close(readable)
    with WaitSet() as other, pytest.raises(ValueError, match="its descriptor was closed"):
        members.migrate(readable, other)
    members.remove(readable)
    os.close(writable)


def test_a_handler_moves_its_own_member(threads: Threads, members: WaitSet) -> None:
    """The set that it has come into does not call the handler before this call has ended, and does so then."""
    with WaitSet() as other:
        event, calls, end = Event(), Semaphore(0), Event()

        def move(it: Event) -> None:
            if it in members:
                members.migrate(it, other)
                calls.release()
                end.wait()
            else:
                it.clear()

        members.add(event, move, persistent=True)
        event.set()
        mover = threads.start(members.dispatch)
        calls.acquire()
        nothing_is_called(other)
        waiters = [threads.start(other.dispatch), threads.start(other.wait_for, event)]
        for waiter in waiters:
            waiter.until_asleep()
        end.set()
        assert mover.result() == 1
        # The other dispatcher may have found it cleared.
        waiters[1].result()
        other.close()
        with suppress(ClosedError):
            waiters[0].result()


def test_a_member_that_moves_to_and_fro_is_handled_once_for_each_time(threads: Threads) -> None:
    """Under dispatchers of both sets, and two that move it, of which one may be too late."""
    with ExitStack() as stack:
        one, other = (stack.enter_context(WaitSet()) for _ in range(2))
        units, taken = Semaphore(0), Semaphore(0)

        def take(units: Semaphore) -> None:
            # Nobody else handles it: what was found is there.
            units.acquire_nowait()
            taken.release()

        def move(here: WaitSet, there: WaitSet) -> None:
            while not done.is_set():
                try:
                    here.migrate(units, there)
                except KeyError:
                    continue

        done = threading.Event()
        one.add(units, take, persistent=True)
        dispatchers = [threads.start(dispatch_until_closed, members) for members in (one, other)]
        movers = [threads.start(move, *pair) for pair in ((one, other), (other, one))]
        for _ in range(ROUNDS):
            units.release()
            taken.acquire()
        done.set()
        for mover in movers:
            mover.result()
        assert (units in one) != (units in other)
        one.close()
        other.close()
        for dispatcher in dispatchers:
            dispatcher.result()
