"""WaitSet.wait_for: until the handler of one member was called, by whomever, and who may not wait for it."""

import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.conformance.backends import SOON, Actor, Processes, Threads, until
from underpass import ClosedError, Event, MisuseError, Mutex, Queue, Semaphore, TimedOut, WaitSet

World = Threads | Processes


@pytest.fixture
def members() -> Iterator[WaitSet]:
    """Make a set, and close it."""
    with WaitSet() as members:
        yield members


def test_wait_for_handles_others_until_its_own_was_handled(world: World, members: WaitSet) -> None:
    jobs, reply, after, got = Queue(), Event(), Event(), list[object]()

    def work(jobs: Queue) -> None:
        got.append(jobs.get_nowait())
        if len(got) == 2:
            reply.set()
            after.set()

    def put() -> None:
        jobs.put(b"a")
        jobs.put(b"b")

    members.add(jobs, work, persistent=True)
    members.add(reply, got.append)
    members.add(after, got.append)
    actor = world.start(put)
    assert members.wait_for(reply) == 3
    actor.result()
    assert got == [b"a", b"b", reply]
    assert reply not in members
    # What is ready after it is left to the next dispatch.
    assert members.dispatch() == 1
    assert got[-1] == after


def test_a_call_does_not_wait_for_what_is_waited_for_around_it(threads: Threads, members: WaitSet) -> None:
    """The outer one's handler waits for the inner one's, which runs inside a wait for the outer one, and returns before that."""
    outer, inner, handled = Event(), Event(), list[Event]()
    called, inside, asks = threading.Event(), threading.Event(), threading.Event()

    def wait_for_inner(_: Event) -> None:
        outer.clear()
        called.set()
        inside.wait()
        asks.set()
        members.wait_for(inner)
        handled.append(outer)

    def return_soon(_: Event) -> None:
        inner.clear()
        inside.set()
        asks.wait()
        until(lambda: other.asleep or other.ended, "the other one's wait")
        handled.append(inner)

    members.add(outer, wait_for_inner, persistent=True)
    members.add(inner, return_soon, persistent=True)
    outer.set()
    other = threads.start(members.dispatch)
    called.wait()
    inner.set()
    members.wait_for(outer)
    assert other.result() == 1
    assert handled == [inner, outer]


def test_wait_for_a_persistent_one_waits_for_its_next_call(world: World, members: WaitSet) -> None:
    event, called = Event(), list[object]()
    members.add(event, lambda event: (event.clear(), called.append(event)), persistent=True)
    for count in (1, 2):
        actor = world.start(event.set)
        assert members.wait_for(event) == 1
        actor.result()
        assert len(called) == count


def test_wait_for_in_a_handler(world: World, members: WaitSet) -> None:
    request, reply, called = Event(), Event(), list[str]()

    def ask(_: Event) -> None:
        called.append("ask")
        assert members.wait_for(reply) == 1
        called.append("told")

    members.add(request, ask)
    members.add(reply, lambda _: called.append("reply"))
    request.set()
    actor = world.start(reply.set)
    # If both were ready at once, the handler has handled the other.
    assert members.dispatch() == 1
    actor.result()
    assert called == ["ask", "reply", "told"]


def test_wait_for_ends_with_what_a_handler_raises(world: World, members: WaitSet) -> None:
    other, own = Event(), Event()
    members.add(other, lambda _: 1 / 0)
    members.add(own, members.remove)
    world.start(lambda: (other.set(), own.set())).result()
    with pytest.raises(ZeroDivisionError):
        members.wait_for(own)
    assert own in members
    # Its handler is called once, so it is no member by then.
    with pytest.raises(KeyError, match="is not in the set"):
        members.wait_for(own)
    assert len(members) == 0


def test_wait_for_in_time(world: World, members: WaitSet) -> None:
    never, other = Event(), Event()
    members.add(never, lambda _: None)
    for timeout in (0, SOON):
        with pytest.raises(TimedOut, match="in the wait set not handled within"):
            members.wait_for(never, timeout=timeout)
    members.add(other, lambda _: None)
    world.start(other.set).result()
    with pytest.raises(TimedOut):
        members.wait_for(never, timeout=SOON)
    assert other not in members


def test_what_is_always_ready_beside_it_makes_no_wait_longer(members: WaitSet) -> None:
    # Not in the lab, whose time goes on only when nobody can act.
    never, busy = Event(), Event()
    members.add(never, lambda _: None)
    members.add(busy, lambda _: None, persistent=True)
    busy.set()
    for timeout in (0, SOON):
        with pytest.raises(TimedOut):
            members.wait_for(never, timeout=timeout)


def test_wait_for_what_cannot_be_handled(world: World, members: WaitSet) -> None:
    plain, mine, stranger = Event(), Event(), Event()
    members.add(plain)
    with pytest.raises(MisuseError, match="no handler that could be waited for"):
        members.wait_for(plain)
    with pytest.raises(KeyError, match="is not in the set"):
        members.wait_for(stranger)
    members.add(mine, members.wait_for, persistent=True)
    world.start(mine.set).result()
    with pytest.raises(MisuseError, match="would wait for itself"):
        members.dispatch()
    members.remove(mine)
    members.add(mine, members.wait_for)
    with pytest.raises(KeyError):
        members.dispatch()


def test_wait_for_a_call_that_another_thread_makes(threads: Threads, members: WaitSet) -> None:
    event, begun, end = Event(), Event(), Event()

    def handle(_: Event) -> None:
        begun.set()
        end.wait()
        raise InterruptedError

    members.add(event, handle, persistent=True)
    helper = threads.start(members.dispatch)
    event.set()
    begun.wait()
    waiter = threads.start(members.wait_for, event)
    waiter.until_asleep()
    end.set()
    with pytest.raises(InterruptedError):
        helper.result()
    assert waiter.result() == 0


def test_wait_for_a_call_that_another_thread_has_made_meanwhile(threads: Threads, members: WaitSet) -> None:
    event, other, begun, end = Event(), Event(), Event(), Event()
    members.add(other, lambda _: (begun.set(), end.wait()))
    members.add(event, lambda _: None)
    other.set()
    waiter = threads.start(members.wait_for, event)
    begun.wait()
    event.set()
    assert members.dispatch() == 1
    end.set()
    assert waiter.result() == 1


@pytest.mark.usefixtures("no_recheck")
def test_the_end_of_a_call_reaches_who_waits_for_it_whoever_hears_it(threads: Threads) -> None:
    begun, end = Event(), Event()

    def handle(event: Event) -> None:
        event.clear()
        begun.set()
        end.wait()

    for order in range(20):
        event = Event()
        begun.clear()
        end.clear()
        with WaitSet() as members:
            members.add(event, handle, persistent=True)
            event.set()
            helper = threads.start(members.dispatch)
            begun.wait()
            # One word tells of the end, and any of those who sleep may read it.
            sleepers = list[Actor[int]]()
            for turn in range(3):
                waits = turn == order % 3
                sleepers.append(threads.start(members.wait_for, event) if waits else threads.start(members.dispatch))
                sleepers[-1].until_asleep()
            end.set()
            waiter = sleepers.pop(order % 3)
            assert waiter.result() == 0
            assert helper.result() == 1
        for bystander in sleepers:
            with pytest.raises(ClosedError):
                bystander.result()


def test_two_handlers_that_would_wait_for_each_other_are_told(threads: Threads, members: WaitSet) -> None:
    first, second, inside = Event(), Event(), Semaphore(0)

    def wait_for(other: Event) -> Callable[[Event], object]:
        def handle(mine: Event) -> None:
            mine.clear()
            inside.release()
            both.wait()
            members.wait_for(other)

        return handle

    both = Event()
    members.add(first, wait_for(second), persistent=True)
    members.add(second, wait_for(first), persistent=True)
    helpers = list[Actor[int]]()
    for event in (first, second):
        event.set()
        helpers.append(threads.start(members.dispatch))
        inside.acquire()
    both.set()
    # The one that comes second is refused; its call has ended then, and the other's wait with it.
    ends = list[object]()
    for helper in helpers:
        try:
            ends.append(helper.result())
        except MisuseError as error:
            ends.append("wait for each other" in str(error))
    assert sorted(ends, key=repr) == [1, True]


def test_handlers_that_wait_one_for_the_next_are_no_ring(threads: Threads, members: WaitSet) -> None:
    first, second, third, inside = Event(), Event(), Event(), Semaphore(0)

    def wait_for(other: Event) -> Callable[[Event], object]:
        def handle(mine: Event) -> None:
            mine.clear()
            inside.release()
            members.wait_for(other)

        return handle

    # In a set of its own, so that nobody calls it who is inside another.
    with WaitSet() as outermost:
        # It stays ready, so that whoever comes late to wait for it finds a call of it.
        members.add(third, lambda _: None, persistent=True)
        members.add(second, wait_for(third), persistent=True)
        outermost.add(first, wait_for(second))
        helpers = list[Actor[int]]()
        for event, where in ((second, members), (first, outermost)):
            event.set()
            helpers.append(threads.start(where.dispatch))
            inside.acquire()
        third.set()
        assert [helper.result() for helper in helpers] == [1, 1]


def test_wait_for_what_is_removed_or_moved_or_closed(threads: Threads) -> None:
    for how in ("removed", "moved", "closed"):
        event = Event()
        with WaitSet() as members, WaitSet() as other:
            members.add(event, print, persistent=True)
            members.add(Event(), print)
            waiter = threads.start(members.wait_for, event)
            waiter.until_asleep()
            if how == "removed":
                members.remove(event)
            elif how == "moved":
                members.migrate(event, other)
            else:
                members.close()
            with pytest.raises(ClosedError if how == "closed" else KeyError):
                waiter.result()


def test_wait_for_is_told_of_the_death_of_an_owner(processes: Processes, members: WaitSet) -> None:
    mutex, held, called = Mutex(), Event(), list[object]()
    owner = processes.start(hold, mutex, held)
    held.wait()
    members.add(mutex, called.append)
    members.add(Event(), print)
    waiter = threading.Thread(target=members.wait_for, args=(mutex,))
    waiter.start()
    owner.kill()
    waiter.join()
    assert called == [mutex]


def hold(mutex: Mutex, held: Event) -> None:
    """Own it until the end."""
    mutex.acquire()
    held.set()
    signal.pause()
