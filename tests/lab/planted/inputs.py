"""What only some inputs bring about: the program leaves them open, and the lab chooses."""

from tests.lab.planted.catalogue import planted
from underpass import AtomicInt, Mutex, Queue
from underpass.lab import World


@planted("program", oracle="exception")
def empty_message(world: World, fixed: bool) -> None:
    """One kind of message in four has no first byte."""
    jobs = Queue(2, 8)

    def send() -> None:
        jobs.put((b"a", b"bc", b"def", b"")[world.choose(4)])

    def work() -> None:
        data = jobs.get()
        if data or not fixed:
            assert data[0] in b"abd"

    world.process(send)
    world.process(work)


@planted("program", "order", oracle="deadlock")
def transfer_between_any_two(world: World, fixed: bool) -> None:
    """Locks in the order of the accounts, whichever they are."""
    accounts = [Mutex() for _ in range(3)]

    def transfer() -> None:
        source, to = world.choose(3), world.choose(3)
        if source == to:
            return
        first, second = sorted((source, to)) if fixed else (source, to)
        with accounts[first], accounts[second]:
            pass

    world.process(transfer)
    world.process(transfer)


@planted("program", "time-out", oracle="assertion")
def cancelled_twice(world: World, fixed: bool) -> None:
    """The user may cancel, and so may the time-out: what is given back, is given back once."""
    state, given_back = AtomicInt(), AtomicInt()

    def cancel() -> None:
        if not fixed or state.compare_exchange(0, 1) == 0:
            assert given_back.add(1) == 0, "given back twice"

    def user() -> None:
        if world.choose(2):
            cancel()

    world.process(user)
    world.process(cancel, name="timer")
