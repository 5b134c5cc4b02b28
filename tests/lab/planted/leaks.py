"""Those who come to their end and keep what is not theirs."""

from contextlib import suppress

from tests.lab.planted.catalogue import planted
from underpass import (
    CallAbortedError,
    CallCancelledError,
    ClosedError,
    Gate,
    Lease,
    Loan,
    Mutex,
    NotFoundError,
    PeerDiedError,
    Port,
    Queue,
    Request,
    TimedOut,
)
from underpass.lab import World


@planted("time-out", oracle="leak")
def lock_kept_at_a_timeout(world: World, fixed: bool) -> None:
    """The way out past a time-out does not come by the release."""
    lock, news = Mutex(), Queue(1, 8)
    news.put(b"old")

    def tell() -> None:
        lock.acquire()
        try:
            news.put(b"news", timeout=1)
        except TimedOut:
            if fixed:
                lock.release()
            return
        lock.release()

    world.process(tell)
    world.process(tell)
    world.process(news.get, name="read")


@planted("program", oracle="leak")
def job_kept_for_later(world: World, fixed: bool) -> None:
    """A job that is not for this worker stays with it."""
    jobs = Queue(2, 8)
    later: list[Lease[memoryview]] = []

    def work() -> None:
        lease = jobs.take()
        if lease.value[0] == 1 and not fixed:
            later.append(lease)
        else:
            lease.done()

    def send() -> None:
        jobs.put(bytes([world.choose(2)]))

    world.process(work)
    world.process(send)


@planted("order", oracle="leak")
def loan_without_a_message(world: World, fixed: bool) -> None:
    """There is nothing to say after all, and the slot stays lent."""
    news, rumours = Queue(2, 8), Queue(1, 8)
    begun: list[Loan] = []

    def tell() -> None:
        loan = news.loan(5)
        begun.append(loan)
        if rumours.depth:
            loan[:] = rumours.get()
            loan.commit()
        elif fixed:
            loan.abandon()

    world.process(tell)
    world.process(rumours.put, b"rumor", name="invent")


@planted("time-out", oracle="leak")
def call_without_an_answer(world: World, fixed: bool) -> None:
    """A server that is asked something odd says nothing, and its client's time-out hides that."""
    odd: list[Request] = []

    def serve() -> None:
        with Port.create("answers", message_size=8) as port, suppress(TimedOut):
            request = port.receive(timeout=2)
            if request.data == b"?" and not fixed:
                odd.append(request)
            else:
                request.reply(b"!")

    def ask() -> None:
        with suppress(CallAbortedError, CallCancelledError, ClosedError, NotFoundError, PeerDiedError, TimedOut):
            Gate.open("answers", timeout=1).call(b"?", timeout=1)

    world.process(serve)
    world.process(ask)
