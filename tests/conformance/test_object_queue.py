"""ObjectQueue: objects that come as they were put, where their bytes lie, and what is refused."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import msgspec
import numpy as np
import pytest

from tests.conformance.backends import Processes, Threads
from underpass import (
    EndOfStream,
    MessageTooLongError,
    MismatchError,
    MisuseError,
    ObjectLease,
    ObjectQueue,
    Pool,
    Queue,
    ResetError,
    TimedOut,
    WouldBlock,
    wait_any,
)

World = Threads | Processes

LONG = 4096
Sizes = dict[str, Any]
SMALL: Sizes = {"inline_size": 256, "blocks": 2, "block_size": 2 * LONG}


def long(start: int) -> bytes:
    return bytes([start]) * LONG


def pixels(start: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.full((64, 64), start, np.uint8)


class Point(NamedTuple):
    x: int
    y: int


@dataclass
class Worker:
    name: str
    tools: dict[str, list[object]] = field(default_factory=dict[str, list[object]])


class Job(msgspec.Struct):
    number: int
    parts: list[str] = []


class Hidden:
    """Whose class is not there when it is got."""

    def __reduce__(self) -> tuple[object, tuple[()]]:
        return _gone, ()


def _gone() -> object:
    raise LookupError("its class is gone")


# ── objects ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_they_come_in_order_as_they_were(world: World) -> None:
    queue = ObjectQueue[Any](capacity=2, **SMALL)
    objects = [7, "wheel", {"a": [None, 1.5]}, Point(3, 4), long(1), {2, 3}, long(2), Worker("w"), long(3), b""]

    def put() -> None:
        with queue.putting():
            for obj in objects:
                queue.put(obj)
        queue.shutdown()

    putter = world.start(put)
    assert list(queue) == objects
    putter.result()
    assert (queue.depth, queue.pool.free) == (0, 2)


def test_an_array_lies_in_its_block(world: World) -> None:
    queue = ObjectQueue[Any](**SMALL)
    putter = world.start(lambda: queue.put({"left": pixels(1), "shape": (64, 64)}))
    frame = queue.get()
    putter.result()
    assert queue.pool.free == 1
    left = frame["left"]
    assert (left.shape, left.dtype, int(left.sum())) == ((64, 64), np.uint8, LONG)
    left[0, 0] = 9
    assert (int(left[0, 0]), queue.pool.free) == (9, 1)
    del frame, left
    assert queue.pool.free == 2


def test_a_view_outlives_the_queue() -> None:
    queue = ObjectQueue[Any](**SMALL)
    queue.put(pixels(5))
    array = queue.get()
    pool = queue.pool
    queue.close()
    del queue
    assert int(array[63, 63]) == 5
    assert pool.free == 1
    part = array[2:4]
    del array
    assert (part.tolist(), pool.free) == ([[5] * 64] * 2, 1)
    del part
    assert pool.free == 2


def test_many_are_put_and_got(world: World) -> None:
    queue = ObjectQueue[Any](capacity=4, **SMALL)
    objects = [1, 2, long(3), 4, long(5), 6, 7]
    putter = world.start(lambda: queue.put_many(objects))
    got: list[Any] = []
    while len(got) < len(objects):
        more = queue.get_many(3)
        assert 1 <= len(more) <= 3
        got += more
    putter.result()
    assert got == objects
    with pytest.raises(ValueError, match="limit=0 gets nothing"):
        queue.get_many(0)


def test_many_short_ones_say_how_many_were_put() -> None:
    queue = ObjectQueue[int](capacity=2)
    with pytest.raises(TimedOut) as late:
        queue.put_many([1, 2, 3], timeout=0)
    assert late.value.transferred == 2
    mixed = ObjectQueue[Any](capacity=2, **SMALL)
    with pytest.raises(TimedOut) as late:
        mixed.put_many([1, long(2), 3], timeout=0)
    assert (late.value.transferred, mixed.pool.free) == (2, 1)


@pytest.mark.parametrize("order", ["lifo", "priority"])
def test_other_orders(order: Any) -> None:
    queue = ObjectQueue[Any](order=order, **SMALL)
    ranks = (1, 2) if order == "priority" else (0, 0)
    for rank, obj in zip(ranks, (long(1), "short"), strict=True):
        queue.put(obj, priority=rank)
    queue.put(long(3), priority=ranks[-1], front=True)
    assert queue.get_many() == [long(3), "short", long(1)]


def test_peek_copies_and_leaves() -> None:
    queue = ObjectQueue[Any](**SMALL)
    queue.put_many([pixels(1), "b"])
    seen = queue.peek()
    seen[0, 0] = 8
    assert (queue.peek(1), queue.depth, queue.pool.free) == ("b", 2, 1)
    assert int(queue.get()[0, 0]) == 1
    with pytest.raises(IndexError, match="has no object at 1: 1 are queued"):
        queue.peek(1)
    with pytest.raises(ValueError, match="negative"):
        queue.peek(-1)


# ── leases ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_lease_reads_in_place() -> None:
    queue = ObjectQueue[Any](**SMALL)
    queue.put(pixels(4))
    with queue.take() as lease:
        value = lease.value
        assert value is lease.value
        assert (value.flags.writeable, lease.deliveries, queue.pool.statistics().queued) == (False, 1, 1)
    # Done, and looked at still: the block is this process's now.
    assert (int(value[1, 1]), queue.pool.free, queue.pool.statistics().queued) == (4, 1, 0)
    del value, lease
    assert queue.pool.free == 2
    queue.join(timeout=0)


def test_an_exception_puts_it_back() -> None:
    queue = ObjectQueue[Any](**SMALL)
    queue.put(pixels(4))

    def work(lease: ObjectLease[Any]) -> None:
        with lease:
            array = lease.value
            raise LookupError(array.shape)

    with pytest.raises(LookupError):
        work(queue.take())
    again = queue.take_nowait()
    assert (again.deliveries, int(again.value[0, 0])) == (2, 4)
    again.done()
    with pytest.raises(MisuseError, match="settled before"):
        again.done()


def test_what_is_put_back_is_not_looked_at() -> None:
    queue = ObjectQueue[Any](**SMALL)
    queue.put(pixels(4))
    queue.put("behind")
    lease = queue.take()
    value = lease.value
    with pytest.raises(MisuseError, match="views of its bytes are still in use"):
        lease.put_back()
    del value
    lease.put_back(front=False)
    assert queue.get() == "behind"
    assert int(queue.get()[0, 0]) == 4


def test_a_forgotten_lease_goes_back_with_its_last_view() -> None:
    queue = ObjectQueue[Any](**SMALL)
    queue.put(pixels(4))
    value = queue.take().value
    with pytest.raises(WouldBlock):
        queue.take_nowait()
    del value
    assert int(queue.get_nowait()[0, 0]) == 4


def test_dead_letters_have_their_blocks() -> None:
    queue = ObjectQueue[Any](max_deliveries=1, **SMALL)
    queue.put(long(7))
    queue.take().put_back()
    letters = queue.dead_letters
    assert (queue.depth, letters.depth, queue.pool.free) == (0, 1, 1)
    again = pickle.loads(pickle.dumps(letters))  # noqa: S301 - our own bytes
    assert (again.get(), queue.pool.free) == (long(7), 2)
    queue.unlink()
    with pytest.raises(MisuseError, match="max_deliveries="):
        ObjectQueue().dead_letters  # noqa: B018 - what asking raises


# ── what is bad ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_bad_object_is_told_where_it_is_put() -> None:
    queue = ObjectQueue[Any](**SMALL)
    bad = Worker("w", {"x": [1, threading.Lock()]})
    path = r"Worker cannot be put: its \.tools\['x'\]\[1\], a lock, cannot be pickled: TypeError"
    with pytest.raises(TypeError, match=path):
        queue.put(bad)
    with pytest.raises(TypeError, match="function cannot be put: it cannot be pickled"):
        queue.put(lambda: None)
    with pytest.raises(TypeError, match=path):
        queue.put_many([1, long(2), bad])
    assert (queue.depth, queue.pool.free) == (0, 2)


def test_what_holds_itself_is_no_path_without_end() -> None:
    bad: list[object] = []
    bad += [bad, threading.Lock()]
    with pytest.raises(TypeError, match=r"its (\[0\])*\[1\]|its \[0\], a list"):
        ObjectQueue().put(bad)


def test_too_long_a_one() -> None:
    queue = ObjectQueue[Any](**SMALL)
    with pytest.raises(MessageTooLongError, match="create it with a larger block_size=, or pass a pool=") as long_one:
        queue.put(bytes(10_000))
    assert (long_one.value.limit, long_one.value.argument) == (2 * LONG, "block_size")
    assert long_one.value.size > 10_000


def test_what_cannot_be_decoded() -> None:
    queue = ObjectQueue[Any](**SMALL)
    queue.put_many([Hidden(), 2, Hidden(), 4])
    with pytest.raises(LookupError, match="its class is gone"):
        queue.get()
    # The next time it comes after another, and stays.
    assert queue.get_many() == [2]
    with pytest.raises(LookupError), queue.take() as lease:
        lease.value  # noqa: B018 - what decoding raises
    assert (queue.depth, queue.take().deliveries) == (2, 3)


def test_a_type_is_checked() -> None:
    queue = ObjectQueue(Job)
    queue.put(Job(1, ["wheel"]))
    assert queue.get() == Job(1, ["wheel"])
    with pytest.raises(TypeError, match=r"Job in a queue of Job: its \.parts\[0\] cannot travel: .*str"):
        queue.put(Job(1, cast("list[str]", [7])))
    with pytest.raises(TypeError, match="Worker in a queue of Job"):
        queue.put(cast("Job", Worker("w")))
    arrays = ObjectQueue[Any](np.ndarray[Any, np.dtype[np.uint8]], **SMALL)
    arrays.put(pixels(3))
    array = arrays.get()
    assert (int(array[5, 5]), arrays.pool.free) == (3, 1)


def test_others_types_are_refused() -> None:
    plain = ObjectQueue[Any].create("plain")
    typed = ObjectQueue[Any].open("plain", Job)
    plain.put(7)
    with pytest.raises(ValueError, match="no message of type Job"):
        typed.get()
    typed.put(Job(1))
    with pytest.raises(ValueError, match="no pickle, but one that begins with"):
        plain.get()
    plain.unlink()


def test_parameters() -> None:
    with pytest.raises(ValueError, match="inline_size=24 is less than 25"):
        ObjectQueue(inline_size=24)
    with pytest.raises(ValueError, match="blocks=0"):
        ObjectQueue(blocks=0)
    with pytest.raises(
        TypeError, match=r"type=4 is none that msgspec can pack: .* leave it out for any picklable object"
    ):
        ObjectQueue(cast("type[int]", 4))
    with pytest.raises(ValueError, match="capacity=0"):
        ObjectQueue(capacity=0)


# ── waiting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_put_waits_for_a_block(world: World) -> None:
    queue = ObjectQueue[Any](**SMALL)
    queue.put_many([long(1), long(2)])
    with pytest.raises(WouldBlock):
        queue.put_nowait(long(3))
    with pytest.raises(TimedOut, match="gave no block"):
        queue.put(long(3), timeout=0)
    queue.put_nowait("short")
    putter = world.start(lambda: queue.put(long(3)))
    putter.until_asleep()
    assert [queue.get(), queue.get(), queue.get()] == [long(1), long(2), "short"]
    putter.result()
    assert queue.get() == long(3)


def test_a_put_waits_for_room(world: World) -> None:
    queue = ObjectQueue[Any](capacity=1, **SMALL)
    queue.put(1)
    putter = world.start(lambda: queue.put(long(3)))
    putter.until_asleep()
    assert queue.pool.free == 1
    assert queue.get() == 1
    putter.result()
    assert queue.get() == long(3)
    with pytest.raises(WouldBlock):
        queue.get_nowait()
    assert queue.pool.free == 2


@pytest.mark.parametrize("end", ["shutdown", "immediate", "purge"])
def test_who_waits_for_a_block_is_told_of_the_end(world: World, end: str) -> None:
    queue = ObjectQueue[Any](**SMALL)
    queue.put_many([long(1), long(2)])
    held = [queue.take(), queue.take()]
    expected = ResetError if end == "purge" else EndOfStream

    def put() -> str:
        with pytest.raises(expected):
            queue.put(long(3))
        return "told"

    putter = world.start(put)
    putter.until_asleep()
    if end == "purge":
        queue.purge()
    else:
        queue.shutdown(immediate=end == "immediate")
    assert putter.result() == "told"
    for lease in held:
        lease.done()
    assert queue.pool.free == 2


def test_a_purge_gives_the_blocks_back() -> None:
    for order in ("fifo", "lifo"):
        queue = ObjectQueue[Any](order=order, **SMALL)
        queue.put_many([long(1), 2, long(3)])
        held = queue.take()
        value = held.value
        assert (queue.purge(), queue.depth) == (2, 0)
        # What is at work is not purged.
        assert held.value == value
        held.done()
        del value
        assert queue.pool.free == 2


def test_what_comes_during_get_many_is_another_call_s() -> None:
    queue = ObjectQueue[Any](**SMALL)

    class Breeds:
        """Puts another when it is read."""

        def __reduce__(self) -> tuple[Callable[[], str], tuple[()]]:
            return breed, ()

    def put_another() -> None:
        queue.put_nowait(Breeds())

    _breeders.append(put_another)
    put_another()
    assert queue.get_many() == ["bred", "bred"]
    assert queue.depth == 1
    _breeders.clear()


def breed() -> str:
    for put_another in _breeders:
        put_another()
    return "bred"


_breeders = list[Callable[[], None]]()


def test_beside_others(world: World) -> None:
    queue, other = ObjectQueue[Any](capacity=1, **SMALL), Queue()
    assert len(wait_any(queue.room, queue.drained)) == 2
    waiter = world.start(lambda: [type(one).__name__ for one in wait_any(other, queue)])
    waiter.until_asleep()
    queue.put(long(1))
    assert waiter.result() == ["ObjectQueue"]
    with pytest.raises(TimedOut):
        wait_any(queue.room, timeout=0)
    assert queue.get() == long(1)


# ── handles ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_names() -> None:
    made = ObjectQueue[Any].create("frames", capacity=3, **SMALL)
    assert (made.name, made.capacity, made.inline_size, made.pool.sizes) == ("frames", 3, 256, {2 * LONG: 2})
    found = ObjectQueue[Any].open_or_create("frames", capacity=3, **SMALL)
    found.put(long(1))
    assert ObjectQueue[Any].open("frames").get() == long(1)
    with pytest.raises(MismatchError, match="capacity=3, inline_size=256"):
        ObjectQueue[Any].open_or_create("frames", capacity=4, **SMALL)
    with pytest.raises(MismatchError):
        Queue.open("frames")
    messages = Queue.create("bytes")
    with pytest.raises(MismatchError):
        ObjectQueue[Any].open("bytes")
    messages.unlink()
    made.unlink()
    made.close()
    assert made.closed


def test_a_pool_of_several_sizes() -> None:
    pool = Pool.create("blocks", 2, LONG // 2, more={4 * LONG: 1})
    queue = ObjectQueue[Any].create("frames", pool=pool)
    queue.put(long(1))
    queue.put(bytes(1500))
    assert [size.free for size in pool.statistics().sizes] == [1, 0]
    with pytest.raises(MismatchError, match="those of another pool: pass it, pool="):
        ObjectQueue[Any].open("frames")
    with pytest.raises(MismatchError, match="another pool"):
        ObjectQueue[Any].open("frames", pool=Pool(1, 64))
    assert ObjectQueue[Any].open("frames", pool=Pool.open("blocks")).get() == long(1)
    again = pickle.loads(pickle.dumps(queue))  # noqa: S301 - our own bytes
    assert (again.get(), pool.free) == (bytes(1500), 3)
    own = ObjectQueue[Any].create("own")
    with pytest.raises(MismatchError, match="its own: leave pool= out"):
        ObjectQueue[Any].open("own", pool=pool)
    for it in (own, queue, pool):
        it.unlink()


def test_handles_travel(world: World) -> None:
    queue, results = ObjectQueue(Job, **SMALL), ObjectQueue[Any](**SMALL)
    results.put(queue)

    def work() -> None:
        jobs = results.get()
        with jobs.take() as job:
            results.put((job.value.number, pixels(job.value.number)))

    worker = world.start(work)
    queue.put(Job(9))
    worker.result()
    number, array = results.get()
    assert (number, int(array[0, 0])) == (9, 9)
    queue.unlink()
