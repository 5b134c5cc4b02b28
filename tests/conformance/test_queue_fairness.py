"""Queue(fairness=): who waits at either side has its turn; a getter that waits can be sent away."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Literal, TypeVar, overload

import pytest

from tests.conformance.backends import Actor, ProcessActor, Processes, Threads
from underpass import EndOfStream, MisuseError, Queue, ResetError, TimedOut, WouldBlock, sync, wait_any

World = Threads | Processes
T = TypeVar("T")
FAIR: tuple[Literal["arrival", "priority"], ...] = ("arrival", "priority")


@overload
def asleep(world: Processes, verb: Callable[..., T], *arguments: object) -> ProcessActor[T]: ...
@overload
def asleep(world: World, verb: Callable[..., T], *arguments: object) -> Actor[T]: ...
def asleep(world: World, verb: Callable[..., T], *arguments: object) -> Actor[T]:
    """Start one that does that, and wait until it sleeps."""
    actor = world.start(verb, *arguments)
    actor.until_asleep()
    return actor


def results(actors: Sequence[Actor[T]]) -> list[T]:
    return [actor.result() for actor in actors]


# ── turns ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fairness", FAIR)
def test_getters_have_their_turns_in_order_of_arrival(world: World, fairness: Literal["arrival", "priority"]) -> None:
    queue = Queue(4, 8, fairness=fairness)
    getters = [asleep(world, queue.get) for _ in range(3)]
    for number in range(3):
        queue.put(b"%d" % number)
    assert results(getters) == [b"0", b"1", b"2"]


@pytest.mark.parametrize("fairness", FAIR)
def test_messages_put_together_go_to_getters_in_order(world: World, fairness: Literal["arrival", "priority"]) -> None:
    queue = Queue(4, 8, fairness=fairness)
    getters = [asleep(world, queue.get) for _ in range(3)]
    queue.put_many([b"0", b"1", b"2"])
    assert results(getters) == [b"0", b"1", b"2"]


@pytest.mark.parametrize("fairness", FAIR)
def test_messages_of_putters_that_waited_lie_in_order(world: World, fairness: Literal["arrival", "priority"]) -> None:
    queue = Queue(1, 8, fairness=fairness)
    queue.put(b"first")
    putters = [asleep(world, queue.put, b"%d" % number) for number in range(3)]
    assert [queue.get() for _ in range(4)] == [b"first", b"0", b"1", b"2"]
    results(putters)


def test_several_slots_freed_together_go_to_putters_in_order(world: World) -> None:
    queue = Queue(3, 8, fairness="arrival")
    queue.put_many([b"a", b"b", b"c"])
    putters = [asleep(world, queue.put, b"%d" % number) for number in range(3)]
    assert queue.get_many() == [b"a", b"b", b"c"]
    results(putters)
    assert queue.get_many() == [b"0", b"1", b"2"]


def _get_as(queue: Queue, urgency: int) -> bytes:
    with sync.priority(urgency):
        return queue.get()


def _put_as(queue: Queue, urgency: int) -> None:
    with sync.priority(urgency):
        queue.put(b"%d" % urgency)


def test_most_urgent_getter_is_first(world: World) -> None:
    queue = Queue(4, 8, fairness="priority")
    getters = [asleep(world, _get_as, queue, urgency) for urgency in (1, 3, 2)]
    for message in (b"a", b"b", b"c"):
        queue.put(message)
    assert results(getters) == [b"c", b"a", b"b"]


def test_most_urgent_putter_is_first(world: World) -> None:
    queue = Queue(1, 8, fairness="priority")
    queue.put(b"0")
    putters = [asleep(world, _put_as, queue, urgency) for urgency in (1, 3, 2)]
    assert [queue.get() for _ in range(4)] == [b"0", b"3", b"2", b"1"]
    results(putters)


def test_workers_and_lenders_stand_in_the_same_lines(world: World) -> None:
    queue = Queue(2, 8, fairness="arrival")

    def take() -> bytes:
        with queue.take() as lease:
            return bytes(lease.value)

    getters = [asleep(world, take), asleep(world, queue.get), asleep(world, take)]
    for message in (b"a", b"b", b"c"):
        queue.put(message)
    assert results(getters) == [b"a", b"b", b"c"]

    def lend() -> None:
        with queue.loan(1) as loan:
            loan[:] = b"l"

    queue.put_many([b"x", b"y"])
    putters = [asleep(world, lend), asleep(world, queue.put, b"p")]
    assert queue.get() == b"x"
    putters[0].result()  # has had the first room, and what it lent is a message when it ends
    assert queue.get() == b"y"
    putters[1].result()
    assert [queue.get() for _ in range(2)] == [b"l", b"p"]
    results(putters)


# ── nobody passes ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_newcomers_do_not_overtake_a_getter_that_waits(world: World) -> None:
    queue = Queue(1, 8, fairness="arrival")
    getter = asleep(world, queue.get)
    queue.put(b"its")
    # Whether it has come for it or not.
    with pytest.raises(WouldBlock):
        queue.get_nowait()
    with pytest.raises(WouldBlock):
        queue.take_nowait()
    assert getter.result() == b"its"


def test_newcomers_do_not_overtake_a_putter_that_waits(world: World) -> None:
    queue = Queue(1, 8, fairness="arrival")
    queue.put(b"first")
    putter = asleep(world, queue.put, b"second")
    assert queue.get() == b"first"
    with pytest.raises(WouldBlock):
        queue.put_nowait(b"third")
    putter.result()
    assert queue.get() == b"second"


def test_one_who_waits_for_many_has_what_no_getter_waits_for(world: World) -> None:
    queue, other = Queue(2, 8, fairness="arrival"), Queue(2, 8)

    def watch() -> bytes:
        assert wait_any(queue, other) == [queue]
        return queue.get_nowait()

    onlooker = asleep(world, watch)
    getter = asleep(world, queue.get)
    queue.put_many([b"a", b"b"])
    assert (getter.result(), onlooker.result()) == (b"a", b"b")


def test_one_who_waits_for_many_to_put_has_room_that_no_putter_waits_for(world: World) -> None:
    queue = Queue(2, 8, fairness="arrival")
    queue.put_many([b"a", b"b"])

    def watch() -> None:
        wait_any(queue.room)
        queue.put_nowait(b"d")

    onlooker = asleep(world, watch)
    putter = asleep(world, queue.put, b"c")
    assert queue.get_many() == [b"a", b"b"]
    putter.result()
    onlooker.result()
    assert queue.get_many() == [b"c", b"d"]


# ── who leaves ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_whose_time_is_over_holds_up_nobody(world: World) -> None:
    queue = Queue(1, 8, fairness="arrival")

    def get_late() -> None:
        with pytest.raises(TimedOut):
            queue.get(timeout=0.01)

    world.start(get_late).result()
    queue.put(b"a")
    assert queue.get_nowait() == b"a"
    queue.put(b"b")

    def put_late() -> None:
        with pytest.raises(TimedOut):
            queue.put(b"c", timeout=0.01)

    world.start(put_late).result()
    assert queue.get_nowait() == b"b"
    queue.put_nowait(b"d")


def test_shutdown_and_purge_reach_all_in_line(world: World) -> None:
    queue = Queue(1, 8, fairness="arrival")
    queue.put(b"a")

    def put() -> str:
        try:
            queue.put(b"b")
        except ResetError:
            return "purged"
        return "put"

    putters = [asleep(world, put) for _ in range(2)]
    assert queue.purge() == 1
    assert results(putters) == ["purged", "purged"]

    def get() -> str:
        with suppress(EndOfStream):
            return queue.get().decode()
        return "end"

    getters = [asleep(world, get) for _ in range(2)]
    queue.put(b"c")
    queue.shutdown()
    assert results(getters) == ["c", "end"]


def test_more_than_have_places_are_all_served(threads: Threads) -> None:
    queue = Queue(1, 8, fairness="arrival")
    getters = [threads.start(queue.get) for _ in range(70)]
    for getter in getters:
        getter.until_asleep()
    for number in range(70):
        queue.put(b"%d" % number)
    assert sorted(int(getter.result()) for getter in getters) == list(range(70))
    assert queue.depth == 0


# ── who dies ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_getter_that_dies_in_line_holds_up_nobody(processes: Processes) -> None:
    queue = Queue(2, 8, fairness="arrival")
    dead = [asleep(processes, queue.get) for _ in range(2)]
    second = asleep(processes, queue.get)
    for actor in dead:
        actor.kill()
    queue.put(b"a")
    assert second.result() == b"a"
    queue.put(b"b")
    assert queue.get_nowait() == b"b"


def test_putter_that_dies_in_line_holds_up_nobody(processes: Processes) -> None:
    queue = Queue(1, 8, fairness="priority")
    queue.put(b"a")
    dead = asleep(processes, queue.put, b"dead")
    second = asleep(processes, queue.put, b"b")
    dead.kill()
    assert queue.get() == b"a"
    second.result()
    assert queue.get_nowait() == b"b"


def test_one_who_is_stopped_in_line_hides_no_shutdown(processes: Processes) -> None:
    queue = Queue(2, 8, fairness="arrival")
    queue.put_many([b"a", b"b"])
    stopped = asleep(processes, queue.put, b"c")
    stopped.stop()
    queue.shutdown()
    with pytest.raises(EndOfStream):
        queue.put_nowait(b"d")
    with pytest.raises(EndOfStream):
        queue.put(b"d")
    assert list(queue) == [b"a", b"b"]
    stopped.resume()
    with pytest.raises(EndOfStream):
        stopped.result()


def test_nobody_stands_in_line_when_all_have_died(processes: Processes) -> None:
    queue = Queue(1, 8, fairness="arrival")
    asleep(processes, queue.get).kill()
    queue.put_nowait(b"a")
    assert wait_any(queue) == [queue]
    assert queue.get_nowait() == b"a"


def test_cancel_wait_passes_the_dead(processes: Processes) -> None:
    queue = Queue(1, 8, fairness="arrival")
    asleep(processes, queue.get).kill()
    assert not queue.cancel_wait()

    def get() -> str:
        with pytest.raises(ResetError):
            queue.get()
        return "sent away"

    asleep(processes, queue.get).kill()
    second = asleep(processes, get)
    assert queue.cancel_wait()
    assert second.result() == "sent away"


# ── cancel_wait ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fairness", FAIR)
def test_cancel_wait_sends_the_first_getter_away(world: World, fairness: Literal["arrival", "priority"]) -> None:
    queue = Queue(1, 8, fairness=fairness)

    def get() -> str:
        try:
            return queue.get().decode()
        except ResetError:
            return "sent away"

    first, second = asleep(world, get), asleep(world, get)
    assert queue.cancel_wait()
    assert first.result() == "sent away"
    queue.put(b"a")
    assert second.result() == "a"
    assert not queue.cancel_wait()


def test_cancel_wait_concerns_nobody_who_comes_later(world: World) -> None:
    queue = Queue(1, 8, fairness="arrival")
    assert not queue.cancel_wait()
    getter = asleep(world, queue.get)
    queue.put(b"a")
    assert getter.result() == b"a"


def test_each_cancel_wait_sends_one_away(world: World) -> None:
    queue = Queue(1, 8, fairness="priority")

    def take_as(urgency: int) -> str:
        with sync.priority(urgency):
            try:
                queue.take().done()
            except ResetError:
                return "sent away"
        return "took"

    low, high, middle = (asleep(world, take_as, urgency) for urgency in (1, 3, 2))
    assert queue.cancel_wait()
    assert queue.cancel_wait()
    queue.put(b"a")
    assert [actor.result() for actor in (low, high, middle)] == ["took", "sent away", "sent away"]


def test_cancel_wait_is_refused_where_getters_barge() -> None:
    with pytest.raises(MisuseError, match="fairness='arrival'"):
        Queue().cancel_wait()


def test_cancelled_get_says_who_it_was(world: World) -> None:
    queue = Queue(1, 8, fairness="arrival")

    def get() -> str:
        with pytest.raises(ResetError) as caught:
            queue.get()
        return str(caught.value)

    getter = asleep(world, get)
    queue.cancel_wait()
    assert "sent away" in getter.result()


# ── what is there beside it ─────────────────────────────────────────────────────────────────────────────────────────


def test_fairness_is_a_parameter() -> None:
    with pytest.raises(ValueError, match="fairness"):
        Queue(fairness="fair")  # pyright: ignore[reportArgumentType]
    assert Queue().fairness == "barging"
    named = Queue.create("fair", 2, 8, fairness="priority", max_deliveries=2)
    assert Queue.open("fair").fairness == named.fairness == "priority"
    assert named.dead_letters.fairness == "barging"
    named.unlink()


def test_puts_that_drop_pass_those_who_wait_to_lend(world: World) -> None:
    queue = Queue(1, 8, when_full="drop_newest", fairness="arrival")
    queue.put(b"a")

    def lend() -> None:
        with queue.loan(1) as loan:
            loan[:] = b"l"

    lender = asleep(world, lend)
    queue.put(b"b")
    assert (queue.dropped, queue.get()) == (1, b"a")
    lender.result()
    assert queue.get() == b"l"
