"""Pool: blocks that are taken, given back and handed on, between threads, processes and the lab's."""

import pickle

import pytest

from tests.conformance.backends import SOON, Processes, Threads
from underpass import Block, ClosedError, Event, MismatchError, MisuseError, Pool, Queue, TimedOut, WouldBlock, wait_any

World = Threads | Processes

# ── one process, nobody waits ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("blocks", "size", "more"),
    [
        (0, 64, None),
        (-1, 64, None),
        (2**24 + 1, 64, None),
        (1, 0, None),
        (1, -5, None),
        (1, 2**40 + 1, None),
        (2**20, 2**40, None),
        (1, 64, {64: 1}),
        (1, 64, {128: 0}),
        (2**24, 1, {2: 1}),
        (1, 1, {2: 1, 3: 1, 4: 1, 5: 1}),
        (2**70, 1, None),
    ],
)
def test_shape_out_of_range_is_refused(blocks: int, size: int, more: dict[int, int] | None) -> None:
    with pytest.raises(ValueError, match=r"blocks|block_size|sizes|bytes|range"):
        Pool(blocks, size, more=more)


def test_more_is_a_mapping() -> None:
    with pytest.raises(TypeError, match="a mapping from bytes to how many"):
        Pool(1, 64, more=[128])  # pyright: ignore[reportArgumentType]


def test_smallest_block_that_fits_is_taken() -> None:
    pool = Pool(1, 1000, more={64: 2, 100_000: 1})
    assert pool.sizes == {64: 2, 1000: 1, 100_000: 1}
    held = [pool.alloc_nowait(size) for size in (64, 10, 10, 0)]
    assert [size.free for size in pool.statistics().sizes] == [0, 0, 0]
    assert [len(block) for block in held] == [64, 10, 10, 0]
    with pytest.raises(WouldBlock, match="gave no block of 1 bytes"):
        pool.alloc_nowait(1)
    del held[1]
    with pytest.raises(WouldBlock):
        pool.alloc_nowait(65)
    assert len(pool.alloc_nowait(64)) == 64


def test_a_block_is_whole_by_default() -> None:
    with Pool(1, 10, more={100: 1}).alloc() as block:
        assert len(block) == 100
        with pytest.raises(IndexError):
            block[100]


def test_what_no_block_holds_is_refused() -> None:
    pool = Pool(1, 64)
    for attempt in (lambda: pool.alloc(65), lambda: pool.alloc_nowait(65), lambda: pool.room_for(65)):
        with pytest.raises(ValueError, match="more than the 64 bytes"):
            attempt()
    with pytest.raises(ValueError, match="size=-1 is negative"):
        pool.alloc(-1)
    assert pool.free == 1


def test_leaving_or_forgetting_gives_back() -> None:
    pool = Pool(1, 64)
    with pool.alloc() as block:
        assert pool.free == 0
    assert pool.free == 1
    with pytest.raises(MisuseError, match="settled before"):
        block.release()
    with pytest.raises(ZeroDivisionError), pool.alloc():
        raise ZeroDivisionError
    assert pool.free == 1
    block = pool.alloc()
    del block
    assert pool.free == 1


def test_views_keep_a_block() -> None:
    pool = Pool(1, 64)
    block = pool.alloc(5)
    view = memoryview(block)
    for end in (block.release, block.hand_on):
        with pytest.raises(MisuseError, match="1 views of its bytes are still in use"):
            end()
    view[:] = b"hello"
    view.release()
    block.release()
    with pytest.raises(BufferError, match="block has ended"):
        memoryview(block)


def test_views_outlive_the_handle() -> None:
    pool = Pool(2, 64)
    block = pool.alloc(5)
    view = memoryview(block)
    pool.close()
    with pytest.raises(ClosedError):
        pool.alloc_nowait()
    view[:] = b"hello"
    assert bytes(view) == b"hello"
    view.release()
    block.release()
    assert pool.free == 2


def test_bytes_are_the_blocks_own() -> None:
    pool = Pool(5, 100)
    held = [pool.alloc() for _ in range(5)]
    for number, block in enumerate(held):
        block[:] = bytes([number]) * 100
    assert [bytes(block) for block in held] == [bytes([number]) * 100 for number in range(5)]
    assert (held[3][7], held[3][1:3]) == (3, b"\3\3")


def test_statistics_say_who_has_how_much() -> None:
    pool = Pool(4, 100, more={1000: 2})
    held = [pool.alloc(size) for size in (25, 75, 500)]
    small, large = pool.statistics().sizes
    assert (small.block_size, small.blocks, small.free, small.high_water, small.fragmentation) == (100, 4, 2, 2, 0.5)
    assert (large.block_size, large.blocks, large.free, large.high_water, large.fragmentation) == (1000, 2, 1, 1, 0.5)
    assert list(pool.statistics().holders.values()) == [3]
    held.clear()
    for _ in range(10):
        pool.alloc(1).release()
    small, large = pool.statistics().sizes
    assert (small.free, small.high_water, small.fragmentation) == (4, 2, 0)
    assert pool.statistics().holders == {}
    assert "6 of 6 blocks free" in repr(pool)


# ── handing on ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_handing_on_moves_a_block() -> None:
    pool = Pool.create("yard", 2, 64)
    block = pool.alloc(5)
    block[:] = b"hello"
    reference = pickle.dumps(block)
    assert (pool.free, "handed on" in repr(block)) == (1, True)
    with pytest.raises(BufferError):
        memoryview(block)
    with pytest.raises(MisuseError, match="settled before"):
        pickle.dumps(block)
    got = pickle.loads(reference)  # noqa: S301 - our own bytes
    del block
    assert (bytes(got), pool.free) == (b"hello", 1)
    with pytest.raises(MisuseError, match="received before"):
        pickle.loads(reference)  # noqa: S301 - our own bytes
    got.release()
    with pytest.raises(MisuseError, match="received before, given back"):
        pickle.loads(reference)  # noqa: S301 - our own bytes
    assert pool.free == 2
    pool.unlink()


def test_what_was_handed_on_is_taken_back() -> None:
    pool = Pool.create("yard", 1, 64)
    block = pool.alloc(5)
    references = pickle.dumps(block)
    block.release()
    assert pool.free == 1
    with pytest.raises(MisuseError, match="given back"):
        pickle.loads(references)  # noqa: S301 - our own bytes
    with pytest.raises(MisuseError, match="given back before"):
        block.release()
    pool.unlink()


def test_what_was_received_is_not_taken_back() -> None:
    pool = Pool.create("yard", 1, 64)
    block = pool.alloc(5)
    got = pickle.loads(pickle.dumps(block))  # noqa: S301 - our own bytes
    with pytest.raises(MisuseError, match="another process has taken it over"):
        block.release()
    assert len(got) == 5
    pool.unlink()


def test_blocks_go_through_a_queue(world: World) -> None:
    pool, queue = Pool.create("yard", 3, 4096), Queue(8, 1024)

    def produce() -> None:
        for number in range(12):
            block = pool.alloc(4096)
            block[:] = bytes([number]) * 4096
            queue.put(pickle.dumps(block))

    producer = world.start(produce)
    for number in range(12):
        with pickle.loads(queue.get()) as block:  # noqa: S301 - our own bytes
            assert bytes(block) == bytes([number]) * 4096
    producer.result()
    assert pool.free == 3
    pool.unlink()


def test_a_reference_is_enough_where_the_pool_is_open(world: World) -> None:
    pool, queue = Pool(2, 1 << 20), Queue(8, 24)

    def produce() -> None:
        for number in range(20):
            block = pool.alloc(1 + number)
            block[:] = bytes([number]) * (1 + number)
            queue.put(block.hand_on())

    producer = world.start(produce)
    for number in range(20):
        with pool.receive(queue.get()) as block:
            assert bytes(block) == bytes([number]) * (1 + number)
    producer.result()


def test_what_is_no_reference_is_refused() -> None:
    pool, other = Pool(2, 64), Pool(2, 64)
    reference = pool.alloc().hand_on()
    with pytest.raises(ValueError, match="5 bytes are no reference"):
        pool.receive(b"hello")
    with pytest.raises(MisuseError, match="another pool's"):
        other.receive(reference)
    for place, forged in ((8, 2), (12, 9), (16, 65)):
        with pytest.raises(MisuseError, match=r"no reference|received before"):
            pool.receive(reference[:place] + bytes([forged]) + reference[place + 1 :])
    assert len(pool.receive(reference)) == 64


# ── waiting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_alloc_waits_for_a_block(world: World) -> None:
    pool, taken = Pool(2, 64), Event()
    held = [pool.alloc(), pool.alloc()]

    def take() -> int:
        with pool.alloc() as block:
            taken.set()
            return len(block)

    waiter = world.start(take)
    waiter.until_asleep()
    held.pop().release()
    taken.wait()
    assert waiter.result() == 64


def test_each_takes_what_fits(world: World) -> None:
    pool = Pool(1, 64, more={1000: 1})
    small, large = pool.alloc(64), pool.alloc(1000)

    def take(size: int) -> int:
        with pool.alloc(size) as block:
            return len(block)

    waiters = [world.start(take, size) for size in (1000, 64)]
    for waiter in waiters:
        waiter.until_asleep()
    small.release()
    assert waiters[1].result() == 64
    waiters[0].until_asleep()
    large.release()
    assert waiters[0].result() == 1000


def test_timeout_says_who_has_the_blocks() -> None:
    pool = Pool(2, 64)
    held = [pool.alloc(), pool.alloc()]
    with pytest.raises(
        TimedOut, match=r"gave no block of 64 bytes within 0.02 s.*0 of its 2 blocks are free, pid \d+ has 2"
    ):
        pool.alloc(timeout=SOON)
    held.clear()


def test_room_is_waited_for_beside_others(world: World) -> None:
    pool, stop = Pool(1, 64, more={1000: 1}), Event()
    held = pool.alloc(1000)
    room = pool.room_for(1000)
    assert wait_any(pool.room_for(64), stop, timeout=0) != [stop]
    waiter = world.start(lambda: wait_any(room, stop) == [room])
    waiter.until_asleep()
    held.release()
    assert waiter.result()
    with pytest.raises(TypeError, match="room_for"):
        wait_any(pool)


# ── names ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_by_name() -> None:
    pool = Pool.create("frames", 2, 64, more={128: 1})
    same = Pool.open_or_create("frames", 1, 128, more={64: 2})
    block = same.alloc(100)
    assert (pool.free, Pool.open("frames").sizes) == (2, {64: 2, 128: 1})
    with pytest.raises(MismatchError, match="block_size"):
        Pool.open_or_create("frames", 2, 32)
    assert isinstance(block, Block)
    assert block.pool is same
    pool.unlink()
