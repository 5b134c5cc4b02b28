"""What goes wrong between two lines that use no object of the library; and what processes only seem to share.

The bytes that they share are those of an anonymous mapping, as after a fork.
"""

import mmap

from tests.lab.planted.catalogue import planted
from underpass import AtomicInt, Mutex, Queue
from underpass.lab import World

served = 0
addresses: dict[str, bytes] = {}


@planted("line", "order", oracle="at the end")
def lost_update_of_a_byte(world: World, fixed: bool) -> None:
    """A read and a write of shared memory, with nothing between them but the end of a line."""
    memory, lock = mmap.mmap(-1, 1), Mutex()

    def add() -> None:
        number = memory[0]
        memory[0] = number + 1

    def add_locked() -> None:
        with lock:
            add()

    for _ in range(2):
        world.process(add_locked if fixed else add)
    world.at_end(lambda: memory[0] == 2)


@planted("line", "order", oracle="assertion")
def torn_record(world: World, fixed: bool) -> None:
    """A reader of two fields comes between their writes."""
    memory, lock = mmap.mmap(-1, 2), Mutex()

    def write() -> None:
        memory[0] = 1
        memory[1] = 1

    def read() -> None:
        first = memory[0]
        second = memory[1]
        assert first == second

    def write_locked() -> None:
        with lock:
            write()

    def read_locked() -> None:
        with lock:
            read()

    world.process(write_locked if fixed else write)
    world.process(read_locked if fixed else read)


@planted("line", "kill", oracle="at the end")
def applied_and_not_noted(world: World, fixed: bool) -> None:
    """A handler dies after it has done the job, and before it says so: whoever gets the job next does it once more."""
    jobs, memory = Queue(), mmap.mmap(-1, 2)

    def handle() -> None:
        with jobs.take():
            if fixed:
                # What is done is what was noted.
                memory[0] = 1
            elif not memory[1]:
                memory[0] += 1
                memory[1] = 1

    world.process(jobs.put, b"job", mortal=False)
    world.process(handle, servant=True, name="one")
    world.process(handle, servant=True, mortal=False, name="other")
    world.at_end(lambda: memory[0] < 2)


@planted("line", "kill", oracle="assertion")
def valid_before_it_is_there(world: World, fixed: bool) -> None:
    """A record that is marked valid first: its writer dies before the data, and whoever takes over believes the mark."""
    memory = mmap.mmap(-1, 2)

    def write() -> None:
        if fixed:
            memory[0] = 42
            memory[1] = 1
        else:
            memory[1] = 1
            memory[0] = 42

    def recover() -> None:
        world.join(writer)
        if memory[1]:
            assert memory[0] == 42

    writer = world.process(write)
    world.process(recover, mortal=False)


@planted("line", "order", oracle="shared global")
def counted_in_the_module(world: World, fixed: bool) -> None:
    """A counter of requests that would be one in each process."""
    number = AtomicInt()

    def serve() -> None:
        global served  # noqa: PLW0603 - the bug
        if fixed:
            number.add(1)
        else:
            served += 1

    world.process(serve)
    world.process(serve)


@planted("line", "order", oracle="shared global")
def registered_in_the_module(world: World, fixed: bool) -> None:
    """A table of addresses that another process would never see."""
    answers, registered = Queue(1, 16), AtomicInt()
    addresses.clear()

    def register() -> None:
        if fixed:
            answers.put(b"here")
        else:
            addresses["printer"] = b"here"
        registered.store(1)

    def look_up() -> None:
        registered.wait(0)
        found = answers.get() if fixed else addresses.get("printer")
        assert found == b"here"

    world.process(register)
    world.process(look_up)
