"""Queue: what a death gives back, to whom, and in which order."""

import gc
import os
import random

import pytest

from tests.conformance.backends import Flag, Processes, until
from underpass import MisuseError, Queue, WouldBlock

# One more than a queue's roster of holders has places for.
CROWD = 62


def hold(queue: Queue, count: int, taken: Flag, never: Flag) -> None:
    """Take ``count`` messages and wait to be killed."""
    leases = [queue.take() for _ in range(count)]
    taken.raise_()
    never.wait()
    del leases


# ── a death ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_dead_takers_messages_come_first_and_in_their_order(processes: Processes) -> None:
    queue, taken, never = Queue(8, 16), processes.flag(), processes.flag()
    queue.put_many([b"0", b"1", b"2", b"3", b"4"])
    taker = processes.start(hold, queue, 3, taken, never)
    taken.wait()
    assert [(holding.pid, holding.deliveries) for holding in queue.statistics().leases] == [(taker.pid, 1)] * 3
    assert queue.peek() == b"3"
    taker.kill()
    assert queue.get_nowait() == b"3"  # death is looked for when there is nothing else to get
    leases = [queue.take_nowait() for _ in range(4)]
    assert [(bytes(lease.value), lease.deliveries) for lease in leases] == [(b"4", 1), (b"0", 2), (b"1", 2), (b"2", 2)]
    for lease in leases:
        lease.done()


def test_death_of_the_taker_wakes_a_getter_and_front_is_kept(processes: Processes) -> None:
    queue, taken, never = Queue(8, 16), processes.flag(), processes.flag()
    queue.put_many([b"0", b"1"])
    taker = processes.start(hold, queue, 2, taken, never)
    taken.wait()
    getter = processes.start(queue.get)
    getter.until_asleep()
    taker.kill()
    assert getter.result() == b"0"
    queue.put(b"2")
    assert queue.get_many() == [b"1", b"2"]


def test_two_sleepers_and_two_deaths_one_after_the_other(processes: Processes) -> None:
    queue, taken, never = Queue(8, 16), processes.flag(), processes.flag()
    queue.put_many([b"0", b"1"])
    takers = [processes.start(hold, queue, 1, taken, never) for _ in range(2)]
    taken.wait()
    taken.wait()
    getters = [processes.start(queue.get) for _ in range(2)]
    for getter in getters:
        getter.until_asleep()
    takers[0].kill()
    until(lambda: any(getter.ended for getter in getters), "the first getter's end")
    (other,) = [getter for getter in getters if not getter.ended]
    other.until_asleep()
    takers[1].kill()
    assert sorted(getter.result() for getter in getters) == [b"0", b"1"]


def test_putter_waits_until_the_dead_ones_message_is_got(processes: Processes) -> None:
    queue, taken, never = Queue(1, 16), processes.flag(), processes.flag()
    queue.put(b"a")
    taker = processes.start(hold, queue, 1, taken, never)
    taken.wait()
    putter = processes.start(queue.put, b"b")
    putter.until_asleep()
    taker.kill()
    until(lambda: queue.depth == 1, "the return of the message, by the putter that sleeps")
    putter.until_asleep()
    assert queue.get() == b"a"
    putter.result()
    assert queue.get() == b"b"


def test_loans_of_the_dead_become_free(processes: Processes) -> None:
    queue, lent, never = Queue(2, 16), processes.flag(), processes.flag()

    def borrow() -> None:
        loans = [queue.loan(3) for _ in range(2)]
        loans[0][:] = b"abc"
        lent.raise_()
        never.wait()

    borrower = processes.start(borrow)
    lent.wait()
    assert [holding.pid for holding in queue.statistics().loans] == [borrower.pid] * 2
    with pytest.raises(WouldBlock):
        queue.put_nowait(b"x")
    putter = processes.start(queue.put_many, [b"x", b"y"])
    putter.until_asleep()
    borrower.kill()
    putter.result()
    assert queue.statistics().loans == []
    assert queue.get_many() == [b"x", b"y"]


def test_joiner_waits_for_what_a_dead_one_gave_back(processes: Processes) -> None:
    queue, taken, never = Queue(2, 16), processes.flag(), processes.flag()
    queue.put(b"a")
    taker = processes.start(hold, queue, 1, taken, never)
    taken.wait()
    joiner = processes.start(queue.join)
    joiner.until_asleep()
    taker.kill()
    until(lambda: queue.depth == 1, "the return of the message, by the joiner")
    joiner.until_asleep()
    queue.get()
    joiner.result()


def test_stream_does_not_end_while_a_dead_ones_message_is_out(processes: Processes) -> None:
    queue, taken, never = Queue(2, 16), processes.flag(), processes.flag()
    queue.put(b"a")
    taker = processes.start(hold, queue, 1, taken, never)
    taken.wait()
    queue.shutdown()
    getter = processes.start(lambda: list(queue))
    getter.until_asleep()
    taker.kill()
    assert getter.result() == [b"a"]


def test_process_that_ends_without_settling_puts_back(processes: Processes) -> None:
    queue = Queue(2, 16)
    queue.put(b"a")

    def leave() -> None:
        lease = queue.take()
        assert bytes(lease.value) == b"a"
        os._exit(0)

    processes.start(leave).die()
    with queue.take(timeout=20) as job:
        assert (bytes(job.value), job.deliveries) == (b"a", 2)


def test_exec_puts_back(processes: Processes) -> None:
    queue, taken = Queue(2, 16), processes.flag()
    queue.put(b"a")

    def become_another() -> None:
        lease = queue.take()
        taken.raise_()
        os.execv("/bin/sleep", ["sleep", str(60 + lease.deliveries)])  # noqa: S606 - that is what is tested

    holder = processes.start(become_another)
    taken.wait()
    with queue.take(timeout=20) as job:
        assert (bytes(job.value), job.deliveries) == (b"a", 2)
    holder.kill()


def test_lease_ends_with_its_process_though_a_forked_child_lives(processes: Processes) -> None:
    queue, taken, never = Queue(2, 16), processes.flag(), processes.flag()
    queue.put(b"a")

    def hold_and_fork() -> None:
        lease = queue.take()
        child = os.fork()
        if child == 0:
            never.wait()
            os._exit(0)
        taken.raise_()
        never.wait()
        lease.done()

    holder = processes.start(hold_and_fork)
    taken.wait()
    holder.kill()
    assert queue.get(timeout=20) == b"a"
    never.raise_(2)


def test_forked_copy_of_a_lease_is_not_the_childs(processes: Processes) -> None:
    queue = Queue(2, 16)
    queue.put(b"a")
    lease = queue.take()

    def meddle() -> None:
        nonlocal lease
        for use in (lease.done, lease.put_back):
            with pytest.raises(MisuseError, match="forked"):
                use()
        del lease
        gc.collect()

    processes.start(meddle).result()
    assert queue.statistics().leases[0].pid == os.getpid()
    lease.done()
    queue.join(timeout=0)


def test_child_of_a_holder_holds_for_itself(processes: Processes) -> None:
    queue = Queue(2, 16)
    queue.put_many([b"mine", b"childs"])
    lease = queue.take()
    taken, never = processes.flag(), processes.flag()
    child = processes.start(hold, queue, 1, taken, never)
    taken.wait()
    assert [holding.pid for holding in queue.statistics().leases] == [os.getpid(), child.pid]
    child.kill()
    assert queue.get(timeout=20) == b"childs"
    lease.done()


def test_more_holders_than_the_roster_has_places(processes: Processes) -> None:
    queue, taken, never = Queue(CROWD, 16), processes.flag(), processes.flag()
    queue.put_many([b"%d" % number for number in range(CROWD)])
    holders = [processes.start(hold, queue, 1, taken, never) for _ in range(CROWD)]
    for _ in holders:
        taken.wait()
    assert {holding.pid for holding in queue.statistics().leases} == {holder.pid for holder in holders}
    for holder in holders:
        holder.kill()
    messages = [queue.get(timeout=20) for _ in range(CROWD)]
    assert sorted(map(int, messages)) == list(range(CROWD))


def test_poison_that_kills_its_takers_is_buried(processes: Processes) -> None:
    queue, taken, never = Queue(2, 16, max_deliveries=3), processes.flag(), processes.flag()
    queue.put(b"poison")
    burier = processes.start(queue.dead_letters.get)
    burier.until_asleep()
    for _ in range(3):
        taker = processes.start(hold, queue, 1, taken, never)
        taken.wait()
        taker.kill()
    with pytest.raises(WouldBlock):
        queue.get_nowait()
    assert burier.result() == b"poison"


# ── many of everything, and death at random ─────────────────────────────────────────────────────────────────────────


def test_killed_workers_lose_nothing(processes: Processes, dice: random.Random) -> None:
    count, jobs, results = 2_000, Queue(16, 16), Queue(32, 16)

    def produce() -> None:
        with jobs.putting():
            for number in range(count):
                jobs.put(b"%d" % number)

    def work() -> None:
        for job in jobs.leases():
            with job:
                results.put(bytes(job.value) + b" %d" % job.deliveries)

    producer = processes.start(produce)
    until(lambda: jobs.depth or producer.ended, "the first job")
    workers = [processes.start(work) for _ in range(3)]
    done: dict[int, list[int]] = {}
    kills, next_kill = 0, dice.randrange(100)
    for received in range(10 * count):
        if len(done) == count:
            break
        number, deliveries = map(int, results.get(timeout=30).split())
        done.setdefault(number, []).append(deliveries)
        if received == next_kill and kills < 12:
            victim = dice.randrange(len(workers))
            workers[victim].kill()
            workers[victim] = processes.start(work)
            kills, next_kill = kills + 1, received + dice.randrange(1, 200)
    jobs.join(timeout=30)
    producer.result()
    for worker in workers:
        worker.result()
    while results.depth:  # done twice: reported, killed before the lease ended, and done again
        number, deliveries = map(int, results.get().split())
        done[number].append(deliveries)
    assert sorted(done) == list(range(count))
    twice = {number: deliveries for number, deliveries in done.items() if len(deliveries) > 1}
    assert len(twice) <= kills
    assert all(deliveries == sorted(set(deliveries)) for deliveries in twice.values()), "only a redelivery repeats"
