"""Deaths of one who asks an object for its descriptor: the others' descriptors go on telling them."""

from collections.abc import Callable
from typing import Protocol

from tests.crash.stepping.elsewhere import Elsewhere
from tests.crash.stepping.operation import Operation, Tally
from underpass import Event, Mutex, Notification, Once, Queue, Semaphore, wait_any
from underpass.sync import Latch


class HasDescriptor(Protocol):
    """What becomes ready."""

    def fileno(self) -> int:
        """Return what is readable while it is."""
        ...


class Outlet:
    """What has a descriptor, and what makes it ready."""

    def __init__(
        self, what: HasDescriptor, ready: Callable[[], object], close: Callable[[], object] = lambda: None
    ) -> None:
        self.what = what
        self.ready = ready
        self.close = close

    def known(self) -> HasDescriptor:
        """Return it once this process has a life."""
        Semaphore(0).reset()
        return self.what

    def wait(self) -> str:
        """Wait as a loop does that knows descriptors alone."""
        wait_any(self.what.fileno())
        return "readable"

    def make_ready(self) -> None:
        self.ready()

    def books(self, _tally: Tally) -> str:
        """Ask for another descriptor, which tells the same."""
        return self.wait()


def event() -> Outlet:
    it = Event()
    return Outlet(it, it.set)


def notification() -> Outlet:
    it = Notification()
    return Outlet(it, lambda: it.notify(1))


def latch() -> Outlet:
    it = Latch(1)
    return Outlet(it, it.count_down)


def queue() -> Outlet:
    it = Queue(1)
    return Outlet(it, lambda: it.put_nowait(b"message"))


def full() -> Queue:
    it = Queue(1)
    it.put(b"message")
    return it


def room() -> Outlet:
    it = full()
    return Outlet(it.room, it.get_nowait)


def drained() -> Outlet:
    it = full()
    return Outlet(it.drained, it.get_nowait)


def some_flags() -> Outlet:
    it = Notification()
    return Outlet(it.flags(6), lambda: it.notify(2))


def mutex() -> Outlet:
    it = Mutex()
    elsewhere = Elsewhere(it, it.holding)
    return Outlet(it, elsewhere.let_go, elsewhere.close)


def once() -> Outlet:
    it = Once()
    elsewhere = Elsewhere(it, it.running)
    return Outlet(it, elsewhere.let_go, elsewhere.close)


def asked(noun: str, world: Callable[[], Outlet]) -> Operation[Outlet]:
    """Return an operation that asks for the first descriptor that its process has."""
    return Operation(
        noun=noun,
        verb="fileno, the first",
        world=world,
        prepare=lambda it: it.known().fileno,
        wait=Outlet.wait,
        again=Outlet.make_ready,
        books=Outlet.books,
        close=lambda it: it.close(),
    )


OPERATIONS: list[Operation[Outlet]] = [
    asked("Event", event),
    asked("Notification", notification),
    asked("Latch", latch),
    asked("Notification.flags", some_flags),
    asked("Mutex", mutex),
    asked("Once", once),
    asked("Queue", queue),
    asked("Queue.room", room),
    asked("Queue.drained", drained),
]
