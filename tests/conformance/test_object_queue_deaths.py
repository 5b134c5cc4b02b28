"""ObjectQueue: no object is lost or got half, and no block is, wherever who puts or gets it dies."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.conformance.backends import Flag, Processes
from underpass import ObjectQueue, WouldBlock

LONG = 4096


def frames(blocks: int = 2) -> ObjectQueue[Any]:
    return ObjectQueue[Any](inline_size=64, blocks=blocks, block_size=2 * LONG)


def long(start: int) -> bytes:
    return bytes([start]) * LONG


def test_an_object_survives_its_putter(processes: Processes) -> None:
    queue, done, never = frames(), processes.flag(), processes.flag()

    def put() -> None:
        queue.put(long(1))
        done.raise_()
        never.wait()

    putter = processes.start(put)
    done.wait()
    putter.kill()
    assert queue.pool.statistics().queued == 1
    # Who needs a block takes none that is a message's.
    held = queue.pool.alloc_nowait()
    with pytest.raises(WouldBlock):
        queue.pool.alloc_nowait()
    assert queue.get() == long(1)
    held.release()
    assert queue.pool.free == 2


def arrive(queue: ObjectQueue[Any], done: Flag, never: Flag) -> None:
    """Put an object as far as its message's arrival, and wait to be killed."""
    pieces, size = queue._encode(long(1))
    block = queue._alloc(queue.pool, size, None)
    with memoryview(block) as view:
        view[:] = b"".join(pieces)
    queue._messages.put(b"\0" + block._reference())
    done.raise_()
    never.wait()


def test_what_has_arrived_is_put_if_it_is_taken_first(processes: Processes) -> None:
    queue, done, never = frames(), processes.flag(), processes.flag()
    putter = processes.start(arrive, queue, done, never)
    done.wait()
    with queue.take() as lease:
        putter.kill()
        # The one whose block it was is dead, and nobody frees it under the reader.
        held = queue.pool.alloc_nowait()
        with pytest.raises(WouldBlock):
            queue.pool.alloc_nowait()
        held.release()
        assert lease.value == long(1)
    assert (queue.pool.free, queue.depth) == (2, 0)


def test_what_has_arrived_is_put_though_its_putter_is_dead(processes: Processes) -> None:
    queue, done, never = frames(), processes.flag(), processes.flag()
    putter = processes.start(arrive, queue, done, never)
    done.wait()
    putter.kill()
    assert queue.peek() == long(1)
    assert queue.get() == long(1)
    assert queue.pool.free == 2


def test_what_has_arrived_is_void_once_its_block_is_freed(processes: Processes) -> None:
    queue, done, never = frames(1), processes.flag(), processes.flag()
    putter = processes.start(arrive, queue, done, never)
    done.wait()
    putter.kill()
    held = queue.pool.alloc_nowait()
    queue.put("next")
    assert (queue.depth, queue.peek()) == (2, "next")
    assert queue.get_nowait() == "next"
    held[:2] = b"ab"
    assert (held[:2], queue.depth) == (b"ab", 0)
    with pytest.raises(WouldBlock):
        queue.get_nowait()


def test_what_was_leased_comes_back_whole(processes: Processes) -> None:
    queue, done, never = frames(), processes.flag(), processes.flag()
    queue.put(long(1))

    def take() -> None:
        lease = queue.take()
        assert lease.value == long(1)
        done.raise_()
        never.wait()

    taker = processes.start(take)
    done.wait()
    taker.kill()
    with queue.take() as lease:
        assert (lease.deliveries, lease.value) == (2, long(1))
    assert queue.pool.free == 2


def test_what_was_adopted_is_got(processes: Processes) -> None:
    queue, done, never = frames(1), processes.flag(), processes.flag()
    queue.put(long(1))
    queue.put("next")

    def get() -> None:
        lease = queue.take()
        block = lease._block
        assert block is not None
        block._adopt()
        done.raise_()
        never.wait()

    getter = processes.start(get)
    done.wait()
    getter.kill()
    # The message comes back, void, and its block is free.
    assert queue.get() == "next"
    queue.put_nowait(long(2))
    assert queue.get() == long(2)
    assert (queue.pool.free, queue.depth) == (1, 0)


def test_what_a_dead_one_looked_at_is_free(processes: Processes) -> None:
    queue, done, never = frames(1), processes.flag(), processes.flag()
    queue.put(np.frombuffer(long(1), np.uint8))

    def get() -> None:
        kept = queue.get()
        done.raise_()
        never.wait()
        del kept

    getter = processes.start(get)
    done.wait()
    assert (queue.pool.free, queue.depth) == (0, 0)
    getter.kill()
    queue.put_nowait(long(2))
    assert queue.get() == long(2)


def test_a_purge_takes_what_was_not_secured(processes: Processes) -> None:
    queue, done, go = frames(1), processes.flag(), processes.flag()
    putter = processes.start(arrive, queue, done, go)
    done.wait()
    assert (queue.purge(), queue.pool.free) == (1, 1)
    go.raise_()
    putter.result()
    queue.put_nowait(long(2))
    assert queue.get() == long(2)


def test_puts_and_gets_that_are_killed_anywhere(processes: Processes) -> None:
    queue = frames(4)

    def put() -> None:
        while True:
            queue.put(long(7))

    def get() -> None:
        while True:
            with queue.take() as lease:
                assert lease.value == long(7)

    for _ in range(4):
        putter, getter = processes.start(put), processes.start(get)
        for _ in range(5):
            assert queue.get() == long(7)
        putter.kill()
        getter.kill()
        while True:
            try:
                assert queue.get_nowait() == long(7)
            except WouldBlock:
                break
        assert (queue.depth, queue.pool.free) == (0, 4)
