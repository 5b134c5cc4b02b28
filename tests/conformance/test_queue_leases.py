"""Queue: messages at work. What a lease is, dead letters, and who waits for the end of one."""

import gc
import os
import pickle

import pytest

from tests.conformance.backends import SOON, Processes, Threads
from underpass import EndOfStream, MisuseError, Queue, TimedOut, WouldBlock

World = Threads | Processes


# ── a lease, in one process ─────────────────────────────────────────────────────────────────────────────────────────


def test_lease_reads_in_place_and_ends_once() -> None:
    queue = Queue(4, 16)
    queue.put(b"work")
    lease = queue.take()
    assert bytes(lease.value) == b"work"
    assert (lease.value.readonly, lease.deliveries, len(lease), queue.depth) == (True, 1, 4, 0)
    with pytest.raises(TypeError):
        lease.value[0] = 0
    lease.done()
    for use in (lease.done, lease.put_back):
        with pytest.raises(MisuseError, match="settled before"):
            use()
    with pytest.raises((BufferError, ValueError)):
        bytes(lease.value)
    assert queue.depth == 0
    queue.join(timeout=0)


def test_block_that_ends_normally_is_done_and_an_exception_puts_back() -> None:
    queue = Queue(4, 16)
    queue.put_many([b"a", b"b"])
    with queue.take() as job:
        assert bytes(job.value) == b"a"
    with pytest.raises(LookupError), queue.take() as job:
        raise LookupError
    assert queue.peek() == b"b"
    with queue.take() as job:
        assert (bytes(job.value), job.deliveries) == (b"b", 2)
    queue.join(timeout=0)


def test_block_respects_what_was_settled_inside() -> None:
    queue = Queue(4, 16)
    queue.put_many([b"a", b"b"])
    with queue.take() as job:
        job.put_back(front=False)
    job = queue.take()
    job.done()
    with pytest.raises(LookupError), job:
        raise LookupError
    assert queue.get_many() == [b"a"]


def test_lease_with_a_view_in_use_is_not_settled() -> None:
    queue = Queue(4, 16)
    queue.put(b"work")
    lease = queue.take()
    view = memoryview(lease)
    for use in (lease.done, lease.put_back):
        with pytest.raises(MisuseError, match="still in use"):
            use()
    assert bytes(view) == b"work"
    assert len(queue.statistics().leases) == 1
    view.release()
    lease.done()
    assert queue.statistics().leases == []


def test_forgotten_lease_is_put_back() -> None:
    queue = Queue(4, 16)
    queue.put_many([b"a", b"b"])
    lease = queue.take()
    del lease
    gc.collect()
    assert queue.get_many() == [b"a", b"b"]


def test_put_back_to_either_end() -> None:
    queue = Queue(4, 16)
    queue.put_many([b"a", b"b", b"c"])
    queue.take().put_back()
    assert [queue.peek(index) for index in range(3)] == [b"a", b"b", b"c"]
    queue.take().put_back(front=False)
    assert [queue.peek(index) for index in range(3)] == [b"b", b"c", b"a"]
    first, second = queue.take(), queue.take()
    second.put_back()
    first.put_back()
    leases = [queue.take() for _ in range(3)]
    assert [(bytes(lease.value), lease.deliveries) for lease in leases] == [(b"b", 2), (b"c", 2), (b"a", 3)]
    for lease in leases:
        lease.done()


def test_deliveries_start_anew_for_a_new_message() -> None:
    queue = Queue(1, 16)
    queue.put(b"a")
    queue.take().put_back()
    queue.take().done()
    queue.put(b"b")
    with queue.take() as job:
        assert job.deliveries == 1


def test_leased_message_counts_against_capacity() -> None:
    queue = Queue(2, 16)
    queue.put_many([b"a", b"b"])
    lease = queue.take()
    with pytest.raises(WouldBlock):
        queue.put_nowait(b"c")
    lease.put_back(front=False)
    with pytest.raises(TimedOut):
        queue.put(b"c", timeout=0)
    queue.take().done()
    queue.put_nowait(b"c")
    assert queue.get_many() == [b"a", b"c"]


def test_late_putter_is_told_who_works() -> None:
    queue = Queue(1, 16)
    queue.put(b"a")
    lease = queue.take()
    with pytest.raises(TimedOut, match=rf"0 of 1 queued, 1 at work, the oldest by pid {os.getpid()}"):
        queue.put(b"b", timeout=SOON)
    lease.done()


# ── dead letters ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_message_delivered_too_often_becomes_a_dead_letter() -> None:
    queue = Queue(4, 16, max_deliveries=2)
    queue.put_many([b"poison", b"good"])
    queue.take().put_back()
    queue.take().put_back()
    assert queue.depth == 1
    letters = queue.dead_letters
    assert letters.depth == 1
    assert "dead letters" in repr(letters)
    assert queue.get() == b"good"
    with letters.take() as letter:
        assert bytes(letter.value) == b"poison"
    queue.join(timeout=0)


def test_dead_letter_whatever_way_it_comes_back() -> None:
    queue = Queue(4, 16, max_deliveries=1)
    queue.put_many([b"back", b"raise", b"lost"])
    queue.take().put_back(front=False)
    with pytest.raises(LookupError), queue.take():
        raise LookupError
    lost = queue.take()
    del lost
    assert queue.depth == 0
    assert queue.dead_letters.get_many() == [b"back", b"raise", b"lost"]


def test_message_stays_in_front_while_the_dead_letters_are_full() -> None:
    queue = Queue(2, 16, max_deliveries=1)
    letters = queue.dead_letters
    for number in range(letters.capacity):
        queue.put(b"%d" % number)
        queue.take().put_back()
    queue.put_many([b"poison", b"next"])
    queue.take().put_back()
    assert (queue.peek(), letters.depth) == (b"poison", letters.capacity)
    assert letters.get() == b"0"
    queue.take().put_back()
    assert queue.get_many() == [b"next"]
    assert letters.get_many()[-1] == b"poison"


def test_without_a_limit_there_are_no_dead_letters() -> None:
    with pytest.raises(MisuseError, match="max_deliveries="):
        _ = Queue(1, 16).dead_letters


def test_dead_letters_travel_as_themselves() -> None:
    queue = Queue(2, 16, max_deliveries=1)
    letters: Queue = pickle.loads(pickle.dumps(queue.dead_letters))  # noqa: S301 - our own bytes
    queue.put(b"poison")
    queue.take().put_back()
    assert letters.get_nowait() == b"poison"
    queue.unlink()


# ── waiting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_put_wakes_a_taker_and_put_back_another(world: World) -> None:
    queue = Queue(4, 16)

    def work() -> tuple[bytes, int]:
        with queue.take() as job:
            return bytes(job.value), job.deliveries

    first = world.start(work)
    first.until_asleep()
    queue.put(b"a")
    assert first.result() == (b"a", 1)
    queue.put(b"b")
    lease = queue.take()
    second = world.start(work)
    second.until_asleep()
    lease.put_back()
    assert second.result() == (b"b", 2)
    queue.put(b"c")
    lease = queue.take()
    third = world.start(work)
    third.until_asleep()
    lease.put_back(front=False)
    assert third.result() == (b"c", 2)


@pytest.mark.parametrize("front", [True, False])
def test_end_of_a_lease_lets_a_putter_in_and_put_back_does_not(world: World, front: bool) -> None:  # noqa: FBT001
    queue = Queue(1, 16)
    queue.put(b"a")
    putter = world.start(queue.put, b"b")
    putter.until_asleep()
    queue.take().put_back(front=front)
    lease = queue.take()
    putter.until_asleep()
    lease.done()
    putter.result()
    assert queue.get_many() == [b"b"]


def test_stream_ends_only_when_nothing_is_leased(world: World) -> None:
    queue = Queue(4, 16)
    queue.put_many([b"a", b"b"])
    first, second = queue.take(), queue.take()
    queue.shutdown()
    getters = [world.start(lambda: list(queue)) for _ in range(2)]
    for getter in getters:
        getter.until_asleep()
    first.done()
    second.put_back()
    assert sorted(getter.result() for getter in getters) == [[], [b"b"]]
    with pytest.raises(EndOfStream):
        queue.get()


def test_leases_come_until_the_end(world: World) -> None:
    queue, items = Queue(4, 16), [b"%d" % number for number in range(100)]

    def work() -> list[bytes]:
        done: list[bytes] = []
        for job in queue.leases():
            with job:
                done.append(bytes(job.value))
        return done

    workers = [world.start(work) for _ in range(2)]
    queue.put_many(items)
    queue.join()
    queue.shutdown()
    assert sorted(workers[0].result() + workers[1].result()) == sorted(items)


def test_end_of_a_thread_frees_nothing(threads: Threads) -> None:
    queue = Queue(1, 16)
    queue.put(b"a")
    lease = threads.start(queue.take).result()
    with pytest.raises(WouldBlock):
        queue.get_nowait()
    lease.done()
