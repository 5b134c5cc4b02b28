"""SIGKILL at random instants, of processes that hammer one object: survivors finish, and the books balance.

What a process has finished it writes into a page that it shares with the test alone, so the books do not lean on what is tested.
The re-check stays on: two deaths in one instant are its business.
"""

import mmap
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tests.conformance.backends import ProcessActor, Processes, until
from underpass import (
    EndOfStream,
    Gate,
    NotFoundError,
    PeerDiedError,
    Port,
    Queue,
    Semaphore,
    Space,
    TimedOut,
    WouldBlock,
)

KILLS = 25
# The longest time a victim lives after it has begun, in seconds.
SPAN = 0.01
# A survivor that waits longer than this has been forgotten.
FORGOTTEN = 20.0


class Book:
    """Numbers that outlive whoever writes them: one for each entry, and only its own process writes it."""

    def __init__(self, entries: int) -> None:
        self._page = mmap.mmap(-1, entries * 8)

    def __getitem__(self, entry: int) -> int:
        return int.from_bytes(self._page[entry * 8 : entry * 8 + 8], "little")

    def __setitem__(self, entry: int, value: int) -> None:
        self._page[entry * 8 : entry * 8 + 8] = value.to_bytes(8, "little")

    def close(self) -> None:
        """Unmap it."""
        self._page.close()


@pytest.fixture
def book() -> Iterator[Book]:
    """Open a book with room for every victim."""
    book = Book(4 * KILLS)
    yield book
    book.close()


def kill_many(
    processes: Processes, dice: random.Random, victim: Callable[[int], object], alive: int = 2, kills: int = KILLS
) -> None:
    """Keep ``alive`` victims running, and kill the oldest at random instants of its work."""
    running: list[ProcessActor[object]] = []
    for number in range(kills):
        running.append(processes.start(victim, number))
        if len(running) < alive and number < kills - 1:
            continue
        time.sleep(dice.random() * SPAN)
        running.pop(0).kill()
    for left in running:
        left.kill()


def test_semaphore(processes: Processes, dice: random.Random) -> None:
    units = KILLS + 2
    semaphore, turns = Semaphore(units, limit=units), 3_000

    def survive() -> None:
        for _ in range(turns):
            semaphore.acquire(timeout=FORGOTTEN)
            semaphore.release()

    def churn(_: int) -> None:
        while True:
            with semaphore.holding():
                pass

    survivors = [processes.start(survive) for _ in range(2)]
    kill_many(processes, dice, churn)
    for survivor in survivors:
        survivor.result()
    assert units - KILLS <= semaphore.value <= units


def test_semaphore_handed_to_sleepers(processes: Processes, dice: random.Random) -> None:
    semaphore, stop = Semaphore(0), Semaphore(0)

    def sleep() -> int:
        slept = 0
        # It may have begun when all others have ended.
        while not (stop.value and slept):
            semaphore.acquire(timeout=FORGOTTEN)
            slept += 1
        return slept

    def give(_: int) -> None:
        while True:
            semaphore.release()
            while semaphore.value > 4:
                time.sleep(0)

    def take(_: int) -> None:
        while True:
            semaphore.acquire()

    sleepers = [processes.start(sleep) for _ in range(3)]
    kill_many(processes, dice, lambda number: give(number) if number % 2 else take(number))
    stop.release()
    semaphore.release(50)
    for sleeper in sleepers:
        assert sleeper.result() > 0


def test_queue_of_dying_putters(processes: Processes, dice: random.Random, book: Book) -> None:
    queue = Queue(8, 32)

    def produce(number: int) -> None:
        for turn in range(1 << 30):
            if turn % 3:
                queue.put(b"%d %d" % (number, turn))
            else:
                with queue.loan(32) as loan:
                    loan[:] = b"%d %d" % (number, turn) + b" " * (32 - len(b"%d %d" % (number, turn)))
            book[number] = turn + 1

    def consume() -> Counter[tuple[int, int]]:
        return Counter((int(number), int(turn)) for number, turn in (message.split() for message in queue))

    consumers = [processes.start(consume) for _ in range(2)]
    kill_many(processes, dice, produce)
    queue.shutdown()
    got = consumers[0].result() + consumers[1].result()
    assert set(got.values()) <= {1}, "a message came twice"
    for number in range(KILLS):
        turns = sorted(turn for source, turn in got if source == number)
        assert turns == list(range(len(turns))), f"putter {number}: a gap"
        assert book[number] <= len(turns) <= book[number] + 1, f"putter {number}: an acknowledged message is lost"
    statistics = queue.statistics()
    assert (statistics.depth, statistics.loans) == (0, [])


def test_queue_of_dying_getters(processes: Processes, dice: random.Random, book: Book) -> None:
    queue, total = Queue(8, 32), Book(1)

    def produce() -> None:
        number = 0
        while not total[0]:
            queue.put(b"%d" % number, timeout=FORGOTTEN)
            number += 1
        book[4 * KILLS - 1] = number

    def consume(number: int) -> None:
        while True:
            queue.get()
            book[number] += 1

    producer = processes.start(produce)
    kill_many(processes, dice, consume)
    total[0] = 1
    with_late = len(list_until_end(queue, producer))
    produced = book[4 * KILLS - 1]
    counted = sum(book[number] for number in range(KILLS)) + with_late
    assert counted <= produced <= counted + KILLS, "more was lost than the dead had in hand"
    total.close()


def list_until_end(queue: Queue, producer: ProcessActor[None]) -> list[bytes]:
    """Get until the producer has ended and nothing is left."""
    messages: list[bytes] = []
    while not (producer.ended and queue.depth == 0):
        try:
            messages.append(queue.get(timeout=0.01))
        except TimedOut:
            continue
    producer.result()
    return messages


@pytest.mark.parametrize("capacity", [2, 16])
def test_queue_of_dying_workers(processes: Processes, dice: random.Random, book: Book, capacity: int) -> None:
    jobs, done, count = Queue(capacity, 32), Queue(64, 32), 10_000

    def produce() -> None:
        with jobs.putting():
            jobs.put_many([b"%d" % number for number in range(count)])

    def work(number: int) -> None:
        for job in jobs.leases():
            if number % 3 == 0 and job.deliveries == 1:
                job.put_back(front=bool(number % 2))
                continue
            with job:
                done.put(bytes(job.value))
                book[number] += 1

    def collect() -> Counter[bytes]:
        return Counter(done)

    collector = processes.start(collect)
    producer = processes.start(produce)
    until(lambda: jobs.depth or producer.ended, "the first job")
    kill_many(processes, dice, work)
    survivors = [processes.start(work, KILLS + 1 + number) for number in range(2)]
    producer.result()
    for survivor in survivors:
        survivor.result()
    done.shutdown()
    results = collector.result()
    assert sorted(map(int, results)) == list(range(count)), "a job is lost"
    assert results.total() - count <= KILLS, "more was done twice than the dead had in hand"
    statistics = jobs.statistics()
    assert (statistics.depth, statistics.leases) == (0, [])
    jobs.join(timeout=FORGOTTEN)


def test_dead_letters_of_dying_workers(processes: Processes, dice: random.Random) -> None:
    queue, count = Queue(8, 32, max_deliveries=2), 8
    queue.put_many([b"%d" % number for number in range(count)])

    def fail(_: int) -> None:
        while True:
            queue.take().put_back(front=False)

    kill_many(processes, dice, fail, kills=6)
    while queue.depth or queue.statistics().leases:
        with suppress(WouldBlock):  # what the last of the dead held comes back now, or went to the letters just now
            queue.take_nowait().put_back()
    assert sorted(queue.dead_letters.get_many()) == [b"%d" % number for number in range(count)]
    queue.join(timeout=FORGOTTEN)


def test_registered_putters(processes: Processes, dice: random.Random) -> None:
    queue = Queue(8, 32)

    def produce(_: int) -> None:
        while True:
            with queue.putting():
                queue.put(b"x")

    def consume() -> int:
        count = 0
        while True:
            try:
                count += len(queue.get_many(timeout=FORGOTTEN))
            except (PeerDiedError, EndOfStream):
                if queue.statistics().shut_down:
                    return count
                time.sleep(0)

    consumers = [processes.start(consume) for _ in range(2)]
    kill_many(processes, dice, produce)
    queue.shutdown()
    for consumer in consumers:
        assert consumer.result() >= 0
    assert queue.depth == 0


def test_clients_of_a_port(processes: Processes, dice: random.Random) -> None:
    calls = 2_000

    def serve() -> int:
        served = 0
        port = Port.create("desk")

        def handle(data: bytes) -> bytes:
            nonlocal served
            served += 1
            if data == b"stop":
                port.close()
            return data[::-1]

        port.serve_bytes(handle)
        return served

    def survive() -> None:
        gate = Gate.open("desk", timeout=FORGOTTEN)
        for number in range(calls):
            data = b"survivor %d" % number
            assert gate.call(data, timeout=FORGOTTEN) == data[::-1]

    def hammer(number: int) -> None:
        gate = Gate.open("desk", timeout=FORGOTTEN)
        while True:
            gate.call(b"victim %d" % number)

    server = processes.start(serve)
    survivors = [processes.start(survive) for _ in range(2)]
    kill_many(processes, dice, hammer)
    for survivor in survivors:
        survivor.result()
    Gate.open("desk").call(b"stop", timeout=FORGOTTEN)
    assert server.result() >= 2 * calls


def test_servers_of_a_port(processes: Processes, dice: random.Random) -> None:
    stop = Semaphore(0)

    def serve(_: int) -> None:
        Port.create("desk").serve_bytes(bytes.upper)

    def survive() -> tuple[int, int]:
        answered = died = 0
        while not (stop.value and answered):
            try:
                gate = Gate.open("desk", timeout=0.01)
                while not (stop.value and answered):
                    assert gate.call(b"abc", timeout=FORGOTTEN) == b"ABC"
                    answered += 1
            except PeerDiedError:
                died += 1
            except NotFoundError:
                continue
        return answered, died

    survivors = [processes.start(survive) for _ in range(3)]
    kill_many(processes, dice, serve, alive=1)
    stop.release()
    # Of those who were killed none may have come as far as to answer.
    last = processes.start(serve, KILLS)
    outcomes = [survivor.result() for survivor in survivors]
    last.kill()
    assert all(answered > 0 and died <= KILLS for answered, died in outcomes)
    Port.create("desk").close()
    Space.default().sweep()


def test_creators_in_a_space(processes: Processes, dice: random.Random) -> None:
    space, stop = Space.default(), Book(1)

    def create(number: int) -> None:
        while True:
            objects = [Semaphore(1), Queue(2, 8), Port()]
            Semaphore.open_or_create(f"name{number % 5}", 1).unlink()
            del objects

    def look() -> int:
        looks = 0
        while not (stop[0] and looks):
            assert not [info for info in Space.default() if info.state == "corrupted"], "an object is half born"
            looks += 1
        return looks

    watcher = processes.start(look)
    kill_many(processes, dice, create)
    stop[0] = 1
    watcher.result()
    stop.close()
    space.sweep()
    for info in space:
        assert info.name is not None
        assert info.state == "orphaned"
        Semaphore.open(info.name).unlink()
