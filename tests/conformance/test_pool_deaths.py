"""Pool: the blocks of those who have died."""

import os
import pickle

import pytest

from tests.conformance.backends import Flag, Processes, until
from underpass import MisuseError, NotFoundError, Pool, Queue, WouldBlock, wait_any


def hold(pool: Pool, count: int, done: Flag, never: Flag) -> None:
    """Take so many blocks and wait to be killed."""
    held = [pool.alloc() for _ in range(count)]
    done.raise_()
    never.wait()
    del held


def test_who_finds_none_free_takes_them_back(processes: Processes) -> None:
    pool, done, never = Pool(3, 64), processes.flag(), processes.flag()
    holder = processes.start(hold, pool, 3, done, never)
    done.wait()
    assert pool.statistics().holders == {holder.pid: 3}
    with pytest.raises(WouldBlock, match=f"0 of its 3 blocks are free, pid {holder.pid} has 3"):
        pool.alloc_nowait()
    holder.kill()
    assert (pool.free, pool.statistics().holders) == (3, {})
    held = [pool.alloc_nowait() for _ in range(3)]
    assert pool.statistics().holders == {os.getpid(): 3}
    held.clear()


def test_one_death_serves_all_who_wait(processes: Processes) -> None:
    pool, done, never = Pool(2, 64), processes.flag(), processes.flag()
    holder = processes.start(hold, pool, 2, done, never)
    done.wait()

    def take() -> int:
        block = pool.alloc()
        done.raise_()
        never.wait()
        return len(block)

    waiters = [processes.start(take) for _ in range(2)]
    for waiter in waiters:
        waiter.until_asleep()
    holder.kill()
    until(lambda: sorted(pool.statistics().holders) == sorted(waiter.pid for waiter in waiters), "both have a block")
    for waiter in waiters:
        waiter.kill()


def test_who_came_later_is_watched(processes: Processes) -> None:
    pool, done, never = Pool(1, 64), processes.flag(), processes.flag()
    first = pool.alloc()
    heir = processes.start(hold, pool, 1, done, never)
    heir.until_asleep()
    waiter = processes.start(lambda: len(pool.alloc()))
    waiter.until_asleep()
    first.release()
    # The heir keeps it, whether the other one has had it before or sleeps.
    until(lambda: heir.pid in pool.statistics().holders and (waiter.asleep or waiter.ended), "the heir has it")
    heir.kill()
    assert waiter.result() == 64


@pytest.mark.usefixtures("no_recheck")
def test_who_sleeps_hears_of_a_receiver_that_came_later(processes: Processes) -> None:
    pool, queue, received, never = Pool(1, 64), Queue(), processes.flag(), processes.flag()

    def receive() -> None:
        block = pool.receive(queue.get())
        received.raise_()
        never.wait()
        block.release()

    def hand_on_and_wait() -> int:
        queue.put(pool.alloc().hand_on())
        return len(pool.alloc())

    # The receiver comes once the other sleeps, and saw itself as the owner of all blocks.
    waiter = processes.start(hand_on_and_wait)
    waiter.until_asleep()
    receiver = processes.start(receive)
    received.wait()
    waiter.until_asleep()
    receiver.kill()
    assert waiter.result() == 64


def test_a_block_whose_pool_cannot_travel_stays() -> None:
    pool = Pool.create("frames", 1, 64)
    block = pool.alloc()
    pool.unlink()
    with pytest.raises(NotFoundError, match="frames"):
        pickle.dumps(block)
    block.release()
    assert pool.free == 1


def test_a_waiting_set_is_told(processes: Processes) -> None:
    pool, done, never = Pool(1, 64), processes.flag(), processes.flag()
    holder = processes.start(hold, pool, 1, done, never)
    done.wait()
    waiter = processes.start(lambda: len(wait_any(pool.room_for())))
    waiter.until_asleep()
    holder.kill()
    assert waiter.result() == 1


def test_what_was_handed_on_goes_with_its_owner(processes: Processes) -> None:
    pool, queue, never = Pool(1, 64), Queue(8, 1024), processes.flag()

    def send() -> None:
        queue.put(pickle.dumps(pool.alloc(5)))
        never.wait()

    sender = processes.start(send)
    reference = queue.get()
    sender.kill()
    block = pool.alloc_nowait()
    with pytest.raises(MisuseError, match="the process had died that handed it on"):
        pickle.loads(reference)  # noqa: S301 - our own bytes
    block.release()


def test_what_was_received_outlives_its_sender(processes: Processes) -> None:
    pool, queue, never = Pool(1, 64), Queue(8, 1024), processes.flag()

    def send() -> None:
        block = pool.alloc(5)
        block[:] = b"hello"
        queue.put(pickle.dumps(block))
        never.wait()

    sender = processes.start(send)
    block = pickle.loads(queue.get())  # noqa: S301 - our own bytes
    sender.kill()
    with pytest.raises(WouldBlock):
        pool.alloc_nowait()
    assert bytes(block) == b"hello"


def test_a_forked_child_gives_nothing_back(processes: Processes) -> None:
    pool = Pool(1, 64)
    block = pool.alloc()

    def release() -> str:
        with pytest.raises(MisuseError) as refused:
            block.release()
        return str(refused.value)

    assert "forked from" in processes.start(release).result()
    assert pool.free == 0
    block.release()
    assert pool.free == 1


@pytest.mark.parametrize("seed", range(3))
def test_killed_anywhere_no_block_is_lost(processes: Processes, seed: int) -> None:
    pool, queue = Pool(4, 64, more={256: 2}), Queue(64, 1024)

    def work(number: int) -> None:
        # Ends by itself after so many turns, or is killed in one.
        for turn in range(2000 * (seed + 1)):
            with pool.alloc(1 + (turn * 37 + number) % 256) as block:
                block[:1] = bytes([number])
                if turn % 5 == 0:
                    queue.put(block.hand_on())
                    pool.receive(queue.get()).release()

    workers = [processes.start(work, number) for number in range(3)]
    until(lambda: any(size.high_water for size in pool.statistics().sizes), "they work")
    workers[0].kill()
    for worker in workers[1:]:
        worker.kill()
    # The large ones first: a small one is taken of the large while one of those is free.
    held = [pool.alloc_nowait(256) for _ in range(2)] + [pool.alloc_nowait(64) for _ in range(4)]
    assert pool.free == 0
    held.clear()
    assert pool.free == 6
