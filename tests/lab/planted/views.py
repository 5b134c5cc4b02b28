"""Bytes that two processes use, as after a fork: only the lab sees both."""

from tests.lab.planted.catalogue import planted
from underpass import Lease, Loan, Queue, Semaphore
from underpass.lab import World


@planted("order", oracle="race")
def lease_read_by_a_child(world: World, fixed: bool) -> None:
    """A child reads a leased message in place, and its parent ends the lease meanwhile."""
    jobs, begun, ended = Queue(1, 8), Semaphore(0), Semaphore(0)
    jobs.put(b"job")
    inherited: list[Lease[memoryview]] = []

    def own() -> None:
        inherited.append(jobs.take())
        begun.release()
        if fixed:
            ended.acquire()
        inherited[0].done()

    def read() -> None:
        begun.acquire()
        with inherited[0].value as view:
            world.step()
            assert bytes(view) == b"job"
        ended.release()

    world.process(own)
    world.process(read)


@planted("order", oracle="race")
def loan_written_by_a_child(world: World, fixed: bool) -> None:
    """A child writes half of a message, and its parent commits it without waiting for that."""
    results, begun, ended = Queue(1, 8), Semaphore(0), Semaphore(0)
    inherited: list[Loan] = []

    def own() -> None:
        loan = results.loan(2)
        inherited.append(loan)
        begun.release()
        loan[:1] = b"1"
        if fixed:
            ended.acquire()
        loan.commit()

    def write() -> None:
        begun.acquire()
        with memoryview(inherited[0]) as view:
            world.step()
            view[1:] = b"2"
        ended.release()

    world.process(own)
    world.process(write)
    world.process(results.get, name="collect")
