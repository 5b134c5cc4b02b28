"""select: exactly one of several operations takes effect, each in its turn, and none is lost."""

from __future__ import annotations

import collections
import itertools
import random
import signal
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.backends import SOON, Processes, Threads, until
from underpass import (
    AtomicInt,
    Barrier,
    ClosedError,
    Condition,
    EndOfStream,
    Event,
    MisuseError,
    Mutex,
    Notification,
    OwnerDiedError,
    Queue,
    RWLock,
    Semaphore,
    TimedOut,
    fail_after,
    select,
)
from underpass.sync import Latch, SpinLock, atomic_section

if TYPE_CHECKING:
    from collections.abc import Callable

World = Threads | Processes

NEVER = b"the end"


def sizes(*queues: Queue) -> list[int]:
    return [queue.depth for queue in queues]


# ── one of them ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_exactly_one_takes_effect(world: World) -> None:
    left, right, units = Queue(4, 8), Queue(4, 8), Semaphore(1)
    left.put(b"l")
    right.put(b"r")
    done = [select(left.get, right.get, units.acquire) for _ in range(3)]
    assert sorted(place for place, _ in done) == [0, 1, 2]
    assert {place: value for place, value in done} == {0: b"l", 1: b"r", 2: True}  # noqa: C416
    waiter = world.start(select, left.get, right.get, units.acquire)
    waiter.until_asleep()
    right.put_many([b"1", b"2"])
    assert waiter.result() == (1, b"1")
    assert sizes(left, right) == [0, 1]
    assert units.value == 0


def test_each_kind_of_operation(world: World) -> None:
    jobs, out, units, lock = Queue(4, 8), Queue(1, 8), Semaphore(0), Mutex()
    flags, event, latch = Notification(), Event(), Latch(1)
    out.put(b"full")
    held, go = world.flag(), world.flag()

    def hold() -> None:
        with lock:
            held.raise_()
            go.wait()

    holder = world.start(hold)
    held.wait()

    def choose() -> tuple[int, Any]:
        place, done = select(jobs.get, partial(out.put, b"b"), units.acquire, lock.acquire, event.wait, latch.wait)
        if place == 3:
            lock.release()
        return place, done

    changes: list[tuple[Callable[[], object], Callable[[], object], tuple[int, Any]]] = [
        (lambda: jobs.put(b"a"), lambda: jobs.depth == 0, (0, b"a")),
        (out.get, lambda: out.get_nowait() == b"b" and out.put(b"full") is None, (1, None)),
        (units.release, lambda: units.value == 0, (2, True)),
        (event.set, lambda: event.clear() is None, (4, True)),
    ]
    for change, check, expected in changes:
        waiter = world.start(choose)
        waiter.until_asleep()
        change()
        assert waiter.result() == expected
        assert check()
    waiter = world.start(choose)
    waiter.until_asleep()
    go.raise_()
    holder.result()
    assert waiter.result() == (3, True)
    # A wait that waits for more than the object's being ready is refused or told apart by its flags.
    flags.notify(1)
    latch.count_down()
    assert select(latch.wait) == (0, True)


def test_verbs_that_wait_for_something_of_their_own(world: World) -> None:
    flags, count = Notification(), AtomicInt(5)
    flags.notify(0b1)

    def choose() -> tuple[int, Any]:
        return select(
            partial(flags.wait, 0b11, all=True), partial(count.wait, 5), partial(flags.wait, bits=0b100, consume=False)
        )

    for change, expected, left in [
        (lambda: flags.notify(0b10), (0, 0b11), 0b0),
        (lambda: flags.notify(0b101), (2, 0b100), 0b101),
    ]:
        waiter = world.start(choose)
        waiter.until_asleep()
        change()
        assert waiter.result() == expected
        assert flags.clear() == left
        flags.notify(0b1)
    waiter = world.start(choose)
    waiter.until_asleep()
    count.add(1)
    assert waiter.result() == (1, True)
    # All of them, where none is named.
    flags.notify((1 << 64) - 1)
    assert select(partial(flags.wait, all=True), timeout=0) == (0, (1 << 64) - 1)


def test_blocks_are_returned_held(world: World) -> None:
    table, lock, spin, units = RWLock(), Mutex(), SpinLock(), Semaphore(0)
    held, go = world.flag(), world.flag()

    def hold() -> None:
        with table.writing(), lock:
            held.raise_()
            go.wait()

    holder = world.start(hold)
    held.wait()

    def enter() -> list[str]:
        states: list[str] = []
        for verb in (table.reading, table.writing, lock.recovering, lock.holding):
            place, block = select(units.holding, verb)
            assert place == 1
            with block as died:
                assert died is None
                states.append(f"{table.statistics().state} {lock.statistics().state}")
        return states

    waiters = [world.start(enter) for _ in range(2)]
    for waiter in waiters:
        waiter.until_asleep()
    go.raise_()
    holder.result()
    for waiter in waiters:
        assert [states.split()[index // 2] for index, states in enumerate(waiter.result())] == [
            "read",
            "written",
            "held",
            "held",
        ]
    assert (table.statistics().state, lock.statistics().state, units.value) == ("free", "free", 0)
    with select(spin.holding)[1]:
        assert spin.statistics().state == "held"
    assert spin.statistics().state == "free"


def test_an_upgrade_is_one_too(world: World) -> None:
    table, stop, inside, go = RWLock(), Event(), world.flag(), world.flag()

    def read() -> None:
        with table.reading():
            inside.raise_()
            go.wait()

    def upgrade() -> tuple[int, Any, str]:
        with table.reading():
            place, done = select(stop.wait, table.upgrade)
            return place, done, table.statistics().state

    reader = world.start(read)
    inside.wait()
    upgrader = world.start(upgrade)
    upgrader.until_asleep()
    go.raise_()
    reader.result()
    assert upgrader.result() == (1, True, "written")


def test_what_a_dead_writer_left_is_told_to_one_who_selects(mortals: Processes) -> None:
    table, never, inside = RWLock(), Event(), mortals.flag()

    def write_and_stay() -> None:
        with table.writing():
            inside.raise_()
            mortals.flag().wait()

    writer = mortals.start(write_and_stay)
    inside.wait()

    def read() -> None:
        with pytest.raises(OwnerDiedError):
            select(never.wait, table.reading)

    def repair() -> int:
        done = select(never.wait, table.writing)
        assert done[0] == 1
        with done[1] as died:
            assert isinstance(died, OwnerDiedError)
        return done[0]

    reader = mortals.start(read)
    reader.until_asleep()
    writer.kill()
    reader.result()
    assert mortals.start(repair).result() == 1
    assert table.statistics().state == "free"


def test_a_lease_is_one_too(world: World) -> None:
    jobs = Queue(4, 8)

    def work() -> bytes:
        done = select(Event().wait, jobs.take)
        assert done[0] == 1
        with done[1] as job:
            return bytes(job.value)

    worker = world.start(work)
    worker.until_asleep()
    jobs.put(b"a")
    assert worker.result() == b"a"
    jobs.join(timeout=0)


def test_who_comes_first_gets_it_and_the_others_wait_on(world: World) -> None:
    jobs, never = Queue(4, 8), Event()
    choosers = [world.start(select, never.wait, jobs.get) for _ in range(4)]
    for chooser in choosers:
        chooser.until_asleep()
    for number in range(4):
        jobs.put(b"%d" % number)
    assert sorted(chooser.result() for chooser in choosers) == [(1, b"%d" % number) for number in range(4)]
    assert jobs.depth == 0


def test_what_the_operation_raises(world: World) -> None:
    jobs, never = Queue(4, 8), Event()
    waiter = world.start(select, never.wait, jobs.get)
    waiter.until_asleep()
    jobs.shutdown()
    with pytest.raises(EndOfStream):
        waiter.result()
    small = Queue(4, 2)
    with pytest.raises(ValueError, match="3 bytes"):
        select(partial(small.put, b"abc"))
    assert small.depth == 0
    closed = Semaphore(1)
    closed.close()
    with pytest.raises(ClosedError):
        select(never.wait, closed.acquire)


def test_a_mutex_of_the_dead_raises_and_the_rest_is_untouched(mortals: Processes) -> None:
    lock, held, never, jobs = Mutex(), mortals.flag(), mortals.flag(), Queue(4, 8)

    def hold() -> None:
        lock.acquire()
        held.raise_()
        never.wait()

    owner = mortals.start(hold)
    held.wait()
    waiter = mortals.start(select, jobs.get, lock.acquire)
    waiter.until_asleep()
    owner.kill()
    with pytest.raises(OwnerDiedError):
        waiter.result()
    with lock.recovering():
        pass


def test_in_vain(world: World) -> None:
    jobs, units = Queue(4, 8), Semaphore(0)
    with pytest.raises(TimedOut):
        select(jobs.get, units.acquire, timeout=0)
    with pytest.raises(TimedOut, match=rf"not ready within {SOON} s"):
        select(jobs.get, units.acquire, timeout=SOON)
    with pytest.raises(TimedOut), fail_after(SOON):
        select(jobs.get, units.acquire)
    units.release()
    assert select(jobs.get, units.acquire, timeout=0) == (1, True)
    world.start(jobs.put, b"a").result()
    assert select(jobs.get, units.acquire, timeout=SOON) == (0, b"a")


def test_ctrl_c_takes_nothing(processes: Processes) -> None:
    jobs, units = Queue(4, 8), Semaphore(0)
    waiter, stays = (processes.start(select, jobs.get, units.acquire) for _ in range(2))
    waiter.until_asleep()
    stays.until_asleep()
    waiter.signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        waiter.result()
    units.release()
    assert stays.result() == (1, True)


# ── turns ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_of_several_that_are_ready_each_gets_its_turn(threads: Threads) -> None:
    queues = [Queue(64, 8) for _ in range(4)]
    for queue in queues:
        queue.put_many([b"a"] * 30)
    places = threads.start(lambda: [select(*(queue.get for queue in queues))[0] for _ in range(80)]).result()
    assert collections.Counter(places) == dict.fromkeys(range(4), 20)


def test_messages_of_one_queue_come_in_their_order(world: World) -> None:
    left, right, total = Queue(3, 8), Queue(3, 8), 40

    def produce(queue: Queue) -> None:
        for number in range(total):
            queue.put(b"%d" % number)

    for queue in (left, right):
        world.start(produce, queue)
    got: dict[int, list[int]] = {0: [], 1: []}
    for _ in range(2 * total):
        place, message = select(left.get, right.get)
        got[place].append(int(message))
    assert got == {0: list(range(total)), 1: list(range(total))}


# ── many of both ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_producers_and_consumers_lose_and_double_nothing(world: World) -> None:
    queues, stop, each = [Queue(2, 16) for _ in range(3)], Event(), 60

    def produce(number: int) -> None:
        for item in range(each):
            select(*(partial(queue.put, b"%d:%d" % (number, item)) for queue in queues))

    def consume() -> list[bytes]:
        got = list[bytes]()
        while True:
            place, message = select(*(queue.get for queue in queues), stop.wait)
            if place == len(queues):
                return got
            got.append(message)

    consumers = [world.start(consume) for _ in range(3)]
    direct = world.start(lambda: [queues[0].get(), queues[0].get()])
    for producer in [world.start(produce, number) for number in range(3)]:
        producer.result()
    until(lambda: sizes(*queues) == [0, 0, 0], "the last message's end")
    stop.set()
    got = list(itertools.chain(*(consumer.result() for consumer in consumers)))
    # The consumers may have got all that the one without a choice still waits for: what comes now is for nobody else.
    more = [b"more", b"still more"]
    queues[0].put_many(more)
    got += direct.result()
    queues[0].shutdown()
    got += queues[0]
    assert sorted(got) == sorted([b"%d:%d" % (number, item) for number in range(3) for item in range(each)] + more)


def test_kills_lose_nothing_that_was_leased(mortals: Processes, dice: random.Random) -> None:
    jobs, results, total = [Queue(8, 8), Queue(8, 8)], Queue(256, 8), 60
    dice = copy(dice)  # each schedule of the lab rolls the same

    def work() -> None:
        while True:
            _, lease = select(*(queue.take for queue in jobs))
            with lease as job:
                select(partial(results.put, bytes(job.value)))

    def produce() -> None:
        for number in range(total):
            select(*(partial(queue.put, b"%d" % number) for queue in jobs))

    producer, workers = mortals.start(produce), [mortals.start(work) for _ in range(3)]
    seen = set[bytes]()
    while len(seen) < total:
        seen.add(results.get())
        if dice.random() < 0.2:
            victim = workers.pop(0)
            victim.kill()
            workers.append(mortals.start(work))
    producer.result()
    assert seen == {b"%d" % number for number in range(total)}
    for worker in workers:
        worker.kill()
    for queue in jobs:
        queue.purge()


# ── refusals ────────────────────────────────────────────────────────────────────────────────────────────────────────

QUEUE = Queue

WRONG: list[Callable[[], Any]] = [
    lambda: lambda: 1,
    lambda: Queue(4, 8),
    lambda: 1,
    lambda: print,
    lambda: Queue.get,
    lambda: Event().set,
    lambda: Semaphore(1).release,
    lambda: Queue(4, 8).join,
    lambda: Queue(4, 8).get_nowait,
    lambda: partial(Queue(4, 8).get, timeout=1),
    lambda: partial(Semaphore(1).acquire, timeout=1),
    lambda: partial(Notification().wait, 1, timeout=1),
    lambda: partial(Queue(4, 8).take, timeout=1),
    lambda: AtomicInt().wait,
    lambda: RWLock().reading().__enter__,
    lambda: partial(Queue(4, 8).put_many, [b"a"]),
    lambda: Condition().acquire,
    lambda: Condition().wait,
    lambda: Barrier(2).wait,
]


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_operation_of_a_member_is_refused(wrong: Callable[[], Any]) -> None:
    jobs = Queue(4, 8)
    jobs.put(b"a")
    with pytest.raises(TypeError, match=r"select\(\) cannot do|cannot be waited for"):
        select(jobs.get, wrong(), timeout=0)
    assert jobs.depth == 1


def test_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"select\(\) of nothing"):
        select()
    with pytest.raises(ValueError, match="timeout=-1"):
        select(Event().wait, timeout=-1)


def test_an_atomic_section_refuses_it_though_it_would_not_wait() -> None:
    units = Semaphore(1)
    with atomic_section():
        with pytest.raises(MisuseError, match="select"):
            select(units.acquire)
        assert units.value == 1
        assert select(units.acquire, timeout=0) == (0, True)
