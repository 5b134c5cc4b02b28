"""WaitSet and wait_any: members that are closed before they are removed, and numbers that others have by then."""

import os
import select
import socket
import stat
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from tests.conformance.backends import Processes, Threads
from underpass import ClosedError, Event, Peer, Port, Queue, TimedOut, WaitSet, _core, wait_all, wait_any
from underpass import select as select_one


@pytest.fixture
def members() -> Iterator[WaitSet]:
    """Make a set, and close it."""
    with WaitSet() as members:
        yield members


def is_quiet(members: WaitSet) -> bool:
    """Say whether a wait would sleep."""
    with select.epoll() as poller:
        poller.register(members.fileno(), select.EPOLLIN)
        return not poller.poll(0)


# ── what has no descriptor ──


class Numbered:
    """Has a descriptor's number, whatever it is."""

    def __init__(self, number: int) -> None:
        self.number = number

    def fileno(self) -> int:
        return self.number

    def __repr__(self) -> str:
        return f"<numbered {self.number}>"


@pytest.mark.parametrize("number", [-1, -7, -(2**31), 2**31, 2**40])
def test_a_number_that_no_descriptor_has_is_refused_by_name(members: WaitSet, number: int) -> None:
    for what, named in [(Numbered(number), f"<numbered {number}>"), (number, str(number))]:
        with pytest.raises(ValueError, match=f"{named} has no descriptor .* its number is {number}"):
            members.add(what)
        with pytest.raises(ValueError, match=f"{named} has no descriptor"):
            wait_any(Event(), what, timeout=0)
        with pytest.raises(KeyError, match="is not in the set"):
            members.remove(what)
        assert what not in members


def test_a_closed_socket_is_refused_by_name(members: WaitSet) -> None:
    one, other = socket.socketpair()
    one.close()
    with other:
        with pytest.raises(ValueError, match=r"socket \[closed\].* has no descriptor"):
            wait_any(Event(), one, timeout=0)
        with pytest.raises(ValueError, match=r"socket \[closed\].* has no descriptor"):
            members.add(one)


@pytest.mark.parametrize("path", ["/dev/null", "/", __file__])
def test_what_a_read_never_waits_for_is_refused_with_the_remedy(members: WaitSet, path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        for attempt in (lambda: members.add(descriptor), lambda: wait_any(Event(), descriptor, timeout=0)):
            with pytest.raises(ValueError, match=r"(?s)plain file.*device like /dev/null.*read it without waiting"):
                attempt()
    finally:
        os.close(descriptor)
    assert len(members) == 0


@pytest.mark.parametrize("handler", [5, "print", object()])
def test_a_handler_that_cannot_be_called_is_refused(members: WaitSet, handler: Any) -> None:
    event = Event()
    with pytest.raises(TypeError, match=r"handler .* cannot be called"):
        members.add(event, handler)
    assert event not in members


# ── a descriptor that is closed before it is removed ──


@pytest.mark.parametrize("by_number", [False, True], ids=["by object", "by number"])
def test_a_member_that_was_closed_is_removed(members: WaitSet, *, by_number: bool) -> None:
    one, other = socket.socketpair()
    with other:
        number = one.fileno()
        members.add(one)
        one.close()
        assert one in members
        members.remove(number if by_number else one)
        assert (one in members, len(members)) == (False, 0)
        with pytest.raises(KeyError, match="is not in the set"):
            members.remove(one)


def test_who_has_the_number_of_a_closed_member_takes_its_place(members: WaitSet) -> None:
    closed, gone = socket.socketpair()
    number = closed.fileno()
    members.add(closed)
    closed.close()
    one, other = socket.socketpair()
    if one.fileno() != number:
        os.dup2(one.fileno(), number)
        one.close()
        one = socket.socket(fileno=number)
    with gone, one, other:
        assert one not in members
        with pytest.raises(KeyError, match="is not in the set"):
            members.remove(one)
        members.add(one)
        assert (one in members, closed in members, len(members)) == (True, False, 1)
        other.send(b"a")
        assert members.wait(timeout=0) == [one]


def test_another_file_of_the_same_descriptor_is_that_member(members: WaitSet) -> None:
    one, other = socket.socketpair()
    with one, other, one.makefile("rb") as file:
        members.add(one)
        assert file in members
        with pytest.raises(ValueError, match="is in the set already"):
            members.add(file)
        members.remove(file)
        assert len(members) == 0


@pytest.mark.parametrize("removed", [False, True], ids=["member still", "removed"])
def test_what_another_process_still_has_open_wakes_nobody_twice(members: WaitSet, *, removed: bool) -> None:
    one, other = socket.socketpair()
    with other, socket.socket(fileno=os.dup(one.fileno())):  # as a child has it that was forked
        number = one.fileno()
        members.add(one)
        one.close()
        if removed:
            members.remove(number)
        other.send(b"a")
        # What the kernel tells of it is forgotten by the first look.
        assert members.ready() == []
        assert is_quiet(members)
        assert members.ready() == []


def test_what_another_process_still_has_open_is_not_told_to_who_dispatches(members: WaitSet) -> None:
    one, other = socket.socketpair()
    event = Event()
    called: list[object] = []
    with other, socket.socket(fileno=os.dup(one.fileno())):
        members.add(one, called.append)
        members.add(event, called.append)
        one.close()
        other.send(b"a")
        event.set()
        assert members.dispatch(timeout=0) == 1
        assert called == [event]


def test_a_descriptor_is_told_again_and_again_to_each_who_waits(members: WaitSet) -> None:
    readable, writable = os.pipe()
    members.add(readable)
    try:
        os.write(writable, b"ab")
        for _ in range(3):
            assert members.wait(timeout=0) == [readable]
            assert not is_quiet(members)
        found: list[list[object]] = []
        waiters = [threading.Thread(target=lambda: found.append(members.wait())) for _ in range(3)]
        for waiter in waiters:
            waiter.start()
        for waiter in waiters:
            waiter.join()
        assert found == [[readable]] * 3
        os.read(readable, 2)
        with pytest.raises(TimedOut):
            members.wait(timeout=0)
    finally:
        members.remove(readable)
        os.close(readable)
        os.close(writable)


# ── a number that the set itself has by now ──


def told_of_what_others_put(processes: Processes, wait: Callable[[], object], queue: Queue) -> None:
    """Hear of it by the bell's socket: the other process has no other way to tell."""
    putter = processes.start(queue.put, b"a")
    wait()
    putter.result()
    assert queue.get_nowait() == b"a"


def polls_with_number_of(members: WaitSet, closed: int, handler: Callable[[Any], object] | None = None) -> Queue:
    """Have the set open what it polls for objects, with a number that was closed."""
    queue = Queue()
    holes = [os.dup(closed)]
    while holes[-1] < closed:
        holes.append(os.dup(closed))
    os.close(closed)
    members.add(queue, handler)
    for hole in holes:
        os.close(hole)
    assert stat.S_ISSOCK(os.fstat(closed).st_mode), "the bell's socket"
    return queue


def open_member(
    members: WaitSet, handler: Callable[[Any], object] | None = None
) -> tuple[socket.socket, int, socket.socket]:
    """Add one; it, its number, and its other end."""
    one, other = socket.socketpair()
    members.add(one, handler)
    return one, one.fileno(), other


def test_removing_a_closed_member_leaves_the_set_what_has_its_number(processes: Processes, members: WaitSet) -> None:
    closed, number, other = open_member(members)
    with other:
        queue = polls_with_number_of(members, number)
        closed.detach()
        members.remove(closed)
        assert len(members) == 1
        told_of_what_others_put(processes, members.wait, queue)


def test_who_dispatches_is_not_told_of_a_closed_member_by_what_has_its_number(
    processes: Processes, members: WaitSet
) -> None:
    called: list[object] = []
    closed, number, other = open_member(members, called.append)
    with other:
        queue = polls_with_number_of(members, number, called.append)
        closed.detach()
        for _ in range(2):
            with pytest.raises(TimedOut):
                members.dispatch(timeout=0)
            with pytest.raises(TimedOut):
                members.wait(timeout=0)
        told_of_what_others_put(processes, members.dispatch, queue)
        assert called == [queue]


def test_a_closed_member_that_is_open_elsewhere_is_told_by_no_number_of_the_sets(
    processes: Processes, members: WaitSet
) -> None:
    closed, number, other = open_member(members)
    with other, closed.dup():
        queue = polls_with_number_of(members, number)
        closed.detach()
        other.send(b"a")
        for _ in range(2):
            assert members.ready() == []
        told_of_what_others_put(processes, members.wait, queue)


def test_a_number_that_is_the_sets_own_is_refused(processes: Processes, members: WaitSet) -> None:
    closed, number, other = open_member(members)
    with other:
        members.remove(closed)
        queue = polls_with_number_of(members, number)
        closed.detach()
        with pytest.raises(ValueError, match=f"{number} .* is the set's own.* open it anew"):
            members.add(number)
        assert len(members) == 1
        told_of_what_others_put(processes, members.wait, queue)


# ── a number that stands for another file for a moment ──


@pytest.fixture
def moved() -> Iterator[Callable[[], AbstractContextManager[int]]]:
    """Make one that can be read, and what has its number stand for another file for a while."""
    readable, writable = os.pipe()
    os.write(writable, b"a")
    saved, other = os.dup(readable), os.open("/dev/zero", os.O_RDONLY)

    @contextmanager
    def away() -> Generator[int]:
        os.dup2(other, readable)
        yield readable
        os.dup2(saved, readable)

    yield away
    for descriptor in (readable, writable, saved, other):
        os.close(descriptor)


Away = Callable[[], AbstractContextManager[int]]


def number_in(moved: Away) -> int:
    with moved() as number:
        return number


@pytest.mark.parametrize("polled", [False, True], ids=["slept for", "polled"])
def test_a_number_that_comes_back_is_told_again(members: WaitSet, moved: Away, *, polled: bool) -> None:
    number = number_in(moved)
    members.add(number)
    for _ in range(2):
        assert members.wait(timeout=0) == [number]
        with moved():
            for _ in range(2):
                assert members.ready() == []
        if polled:
            assert members.ready() == [number]
        else:
            assert members.wait(timeout=0) == [number]
    assert not is_quiet(members)


def test_a_number_that_stays_away_is_asked_for_once_per_recheck(members: WaitSet, moved: Away) -> None:
    number = number_in(moved)
    members.add(number)
    _core.set_recheck(3600)
    with moved():
        for _ in range(2):
            assert members.ready() == []
    assert members.ready() == []
    _core.set_recheck(1e-9)
    assert members.ready() == [number]


def test_a_number_that_comes_back_is_told_to_who_dispatches(members: WaitSet, moved: Away) -> None:
    number, called = number_in(moved), list[object]()
    members.add(Event(), called.append)
    members.add(number, called.append)
    with moved(), pytest.raises(TimedOut):
        members.dispatch(timeout=0)
    assert members.dispatch(timeout=0) == 1
    assert called == [number]


def test_a_number_that_was_removed_meanwhile_is_added_again(members: WaitSet, moved: Away) -> None:
    number, called = number_in(moved), list[object]()
    members.add(Event(), called.append)
    with pytest.raises(TimedOut):
        members.dispatch(timeout=0)
    members.add(number, called.append)
    with moved():
        members.remove(number)
    members.add(number, called.append)
    assert members.wait(timeout=0) == [number]
    assert members.dispatch(timeout=0) == 1
    assert called == [number]


# ── what its fileno() raises ──


class Broken:
    """Says of its descriptor what it was told to."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def fileno(self) -> int:
        raise self.error


def test_what_has_no_descriptor_is_not_there_and_a_fault_is_raised(members: WaitSet) -> None:
    for error in (ValueError("closed"), OSError(9, "closed"), TypeError("none")):
        it = Broken(error)
        assert it not in members
        with pytest.raises(KeyError, match="is not in the set"):
            members.remove(it)
    for error in (RuntimeError("a fault"), ZeroDivisionError("a fault"), AttributeError("a fault")):
        it = Broken(error)
        with pytest.raises(type(error), match="a fault"):
            members.remove(it)
        with pytest.raises(type(error), match="a fault"):
            _ = it in members


def test_a_member_is_found_without_a_look_at_its_descriptor(members: WaitSet) -> None:
    one, other = socket.socketpair()
    with one, other:
        it = Numbered(one.fileno())
        members.add(it)
        it.fileno = Broken(RuntimeError("a fault")).fileno
        assert it in members
        members.remove(it)
        assert len(members) == 0


# ── given twice ──


def test_each_that_has_a_descriptor_is_told_whoever_was_added_for_it() -> None:
    one, other = socket.socketpair()
    with one, other, one.makefile("rb") as file:
        other.send(b"a")
        what = [one, one.fileno(), file, Event(), one]
        assert wait_any(*what, timeout=0) == [one, one.fileno(), file, one]


# ── the handle of an object ──


@pytest.mark.parametrize("polled", [False, True], ids=["slept for", "polled"])
def test_closing_a_member_tells_who_waits_at_once(threads: Threads, members: WaitSet, *, polled: bool) -> None:
    event, other = Event(), Event()
    members.add(event)
    members.add(other)
    if polled:
        assert members.ready() == []
        assert is_quiet(members)
        event.close()
        assert not is_quiet(members)
        assert members.ready() == [event]
    else:
        waiter = threads.start(members.wait)
        waiter.until_asleep()
        event.close()
        assert waiter.result() == [event]
    # It stays so until it is removed, and its verbs say why.
    assert members.wait(timeout=0) == [event]
    with pytest.raises(ClosedError):
        event.wait()
    members.remove(event)
    with pytest.raises(TimedOut):
        members.wait(timeout=0)


@pytest.mark.parametrize("wait", [wait_any, wait_all])
def test_closing_ends_a_wait_for_it(threads: Threads, wait: Callable[..., Any]) -> None:
    event, other = Event(), Event()
    other.set()
    waiter = threads.start(wait, *([event] if wait is wait_any else [other, event]))
    waiter.until_asleep()
    event.close()
    assert waiter.result() == ([event] if wait is wait_any else None)
    # Who comes now is told why.
    with pytest.raises(ClosedError):
        wait(event, timeout=0)


def test_closing_ends_a_choice_with_the_reason(threads: Threads) -> None:
    event, jobs = Event(), Queue()
    waiter = threads.start(select_one, jobs.get, event.wait)
    waiter.until_asleep()
    event.close()
    with pytest.raises(ClosedError, match="event"):
        waiter.result()


def test_another_handle_of_what_is_closed_waits_on(threads: Threads) -> None:
    event = Event.create("kept")
    again = Event.open("kept")
    waiter = threads.start(wait_any, event)
    waiter.until_asleep()
    again.close()
    event.set()
    assert waiter.result() == [event]
    event.unlink()


# ── what runs without the set's lock ──


def test_an_admission_may_use_the_set_that_a_port_is_added_to(threads: Threads, members: WaitSet) -> None:
    seen: list[int] = []

    def admit(_: Peer) -> bool:
        seen.append(len(members))
        return True

    with Port(admit=admit) as port:
        number = port.fileno()
        client = threads.start(port.gate().call, b"in?")
        assert select.select([number], [], [], 60)[0]
        members.add(port)
        assert members.wait() == [port]
        request = port.receive()
        request.reply(b"in")
        assert client.result() == b"in"
        assert seen in ([0], [1])
        members.remove(port)
