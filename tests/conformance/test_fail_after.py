"""fail_after: one time for every wait inside a block."""

from __future__ import annotations

import asyncio
import contextvars
import math
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.conformance.backends import PATIENCE, SOON, Processes, Threads
from underpass import (
    AtomicInt,
    Barrier,
    Event,
    Gate,
    Interface,
    MisuseError,
    Mutex,
    Notification,
    Once,
    Port,
    Queue,
    RWLock,
    Semaphore,
    TimedOut,
    WouldBlock,
    connect,
    fail_after,
    serve,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


class Desk(Interface):
    def add(self, a: int) -> int:
        return a


def full() -> Queue:
    queue = Queue(1)
    queue.put(b"x")
    return queue


def call_of_an_idle_port() -> None:
    port = Port()
    port.gate().call()


def message_to_an_idle_port() -> None:
    with Port() as port:
        port.gate().send(b"x")


def typed_call_of_an_idle_port() -> None:
    with Port() as port:
        connect(Desk, port.gate()).add(1)


def serving_a_port_that_nobody_calls() -> None:
    with Port() as port:
        serve(Desk(), at=port)


def handling_requests_that_nobody_sends() -> None:
    with Port() as port:
        port.serve(lambda _: None)


def name_that_lost_its_receiver() -> None:
    with Port.create("desk"):
        pass
    Gate.open("desk", timeout=None)


def mutex_that_another_thread_holds() -> None:
    mutex, taken, done = Mutex(), threading.Event(), threading.Event()

    def hold() -> None:
        with mutex:
            taken.set()
            done.wait(PATIENCE)

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait(PATIENCE)
    try:
        mutex.acquire()
    finally:
        done.set()
        holder.join()


def once_that_another_thread_runs() -> None:
    once, begun, done = Once(), threading.Event(), threading.Event()
    runner = threading.Thread(target=lambda: once.call(lambda: (begun.set(), done.wait(PATIENCE))))
    runner.start()
    begun.wait(PATIENCE)
    try:
        once.call(runner.join)
    finally:
        done.set()
        runner.join()


def lock_that_another_thread(verb: str, wanted: str) -> None:
    lock, inside, done = RWLock(), threading.Event(), threading.Event()

    def hold() -> None:
        with getattr(lock, verb)():
            inside.set()
            done.wait(PATIENCE)

    holder = threading.Thread(target=hold)
    holder.start()
    inside.wait(PATIENCE)
    try:
        with getattr(lock, wanted)():
            pass
    finally:
        done.set()
        holder.join()


WAITS: list[Callable[[], object]] = [
    lambda: Semaphore(0).acquire(),
    lambda: Semaphore(0).holding().__enter__(),
    lambda: Notification().wait(1),
    lambda: Event().wait(),
    lambda: AtomicInt(0).wait(0),
    lambda: Barrier(2).wait(),
    lambda: Queue().get(),
    lambda: Queue().take(),
    lambda: Queue().get_many(),
    lambda: Queue().get_into(bytearray(256)),
    lambda: next(iter(full().loan(1) for _ in "x")),
    lambda: full().put(b"x"),
    lambda: full().put_many([b"x"]),
    lambda: full().join(),
    lambda: Semaphore.open("nobody/makes/it", timeout=None),
    lambda: Gate.open("nobody/makes/it", timeout=None),
    lambda: connect(Desk, "nobody/serves/it", timeout=None),
    lambda: Port().receive(),
    lambda: Port().receive_any(),
    mutex_that_another_thread_holds,
    once_that_another_thread_runs,
    lambda: lock_that_another_thread("writing", "reading"),
    lambda: lock_that_another_thread("writing", "writing"),
    lambda: lock_that_another_thread("reading", "writing"),
    name_that_lost_its_receiver,
    call_of_an_idle_port,
    message_to_an_idle_port,
    typed_call_of_an_idle_port,
    serving_a_port_that_nobody_calls,
    handling_requests_that_nobody_sends,
]


@pytest.mark.parametrize("wait", WAITS)
def test_every_wait_is_bounded_and_the_error_says_by_what(wait: Callable[[], object]) -> None:
    before = time.monotonic()
    with pytest.raises(TimedOut, match=rf"within the {SOON} s of fail_after\({SOON}\)"), fail_after(SOON):
        wait()
    assert time.monotonic() - before >= SOON, "never early"


def test_a_time_of_its_own_that_is_longer_is_bounded_and_a_shorter_one_counts() -> None:
    with fail_after(SOON), pytest.raises(TimedOut, match="fail_after"):
        Queue().get(timeout=PATIENCE)
    with fail_after(PATIENCE), pytest.raises(TimedOut) as own:
        Queue().get(timeout=SOON)
    assert "fail_after" not in str(own.value)
    assert f"within {SOON} s" in str(own.value)


@pytest.mark.parametrize(("outer", "inner"), [(SOON, PATIENCE), (PATIENCE, SOON), (SOON, math.inf)])
def test_of_nested_blocks_the_earliest_counts(outer: float, inner: float) -> None:
    with fail_after(outer), fail_after(inner), pytest.raises(TimedOut, match=rf"fail_after\({SOON}\)"):
        Queue().get()


def test_a_block_that_was_left_bounds_nothing() -> None:
    with fail_after(0):
        pass
    with fail_after(PATIENCE), fail_after(0):
        pass
    assert not bounds()
    with fail_after(PATIENCE):
        with fail_after(0):
            assert bounds()
        assert not bounds(), "the outer one goes on"


def test_what_need_not_wait_succeeds_after_the_time() -> None:
    queue = full()
    with fail_after(0):
        assert queue.get() == b"x"
        with pytest.raises(TimedOut, match=r"fail_after\(0"):
            queue.get()
        with pytest.raises(WouldBlock):
            queue.get_nowait()
        with pytest.raises(TimedOut) as tried_once:
            queue.get(timeout=0)
    assert "fail_after" not in str(tried_once.value)


def test_other_threads_are_not_bound(threads: Threads) -> None:
    queue = Queue()
    with fail_after(SOON):
        getter = threads.start(queue.get)
        with pytest.raises(TimedOut):
            Queue().get()
        getter.until_asleep()
        queue.put(b"unbound")
        assert getter.result() == b"unbound"


def test_each_thread_has_its_own(threads: Threads) -> None:
    def bounded(seconds: float) -> str:
        with fail_after(seconds), pytest.raises(TimedOut) as caught:
            Queue().get()
        return str(caught.value)

    times = [SOON * n for n in range(1, 6)]
    actors = [threads.start(bounded, seconds) for seconds in times]
    for seconds, actor in zip(times, actors, strict=True):
        assert f"fail_after({seconds})" in actor.result()


def test_a_forked_child_is_bound_as_its_parent_was(processes: Processes) -> None:
    with fail_after(SOON):
        child = processes.start(lambda: Queue().get())
        with pytest.raises(TimedOut, match="fail_after"):
            child.result()


def test_a_copied_context_is_bound(threads: Threads) -> None:
    with fail_after(SOON):
        context = contextvars.copy_context()
    threads.start(context.run, Queue(1).put, b"room").result()
    with fail_after(SOON):
        actor = threads.start(contextvars.copy_context().run, Queue().get)
        with pytest.raises(TimedOut, match="fail_after"):
            actor.result()


def test_what_a_signal_handler_raises_comes_through() -> None:
    def interrupt(*_: object) -> None:
        raise InterruptedError("asked to")

    def wait() -> None:
        # It may come before the wait on a machine that is slow.
        signal.setitimer(signal.ITIMER_REAL, SOON)
        Queue().get()

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with fail_after(60), pytest.raises(InterruptedError, match="asked to"):
            wait()
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_warning_that_is_an_error_comes_through() -> None:
    async def main() -> None:
        with fail_after(60), pytest.raises(RuntimeWarning, match="blocks this thread"):
            Queue().get(timeout=SOON)

    asyncio.run(main())


@pytest.mark.filterwarnings("ignore:.* blocks this thread:RuntimeWarning")
def test_tasks_of_one_thread_do_not_bound_each_other() -> None:
    async def main() -> None:
        inside, done = asyncio.Event(), asyncio.Event()

        async def bounded() -> None:
            with fail_after(0):
                inside.set()
                await done.wait()
                with pytest.raises(TimedOut):
                    Queue().get()

        async def unbounded() -> None:
            await inside.wait()
            with pytest.raises(TimedOut) as caught:
                Queue().get(timeout=SOON)
            assert "fail_after" not in str(caught.value)
            done.set()

        await asyncio.gather(bounded(), unbounded())

    asyncio.run(main())


# ── blocks left in another order ────────────────────────────────────────────────────────────────────────────────────


def held(seconds: float) -> Generator[None]:
    with fail_after(seconds):
        yield


def bounds() -> bool:
    """Say whether a wait of a moment is cut off by a block."""
    with pytest.raises(TimedOut) as caught:
        Queue().get(timeout=SOON)
    return "fail_after" in str(caught.value)


def test_a_generator_holds_its_block_open_while_it_is_suspended() -> None:
    generator = held(0)
    next(generator)
    assert bounds()
    generator.close()
    assert not bounds()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_blocks_may_be_left_in_any_order(order: tuple[int, int]) -> None:
    generators = [held(0), held(0)]
    for generator in generators:
        next(generator)
    first, second = order
    generators[first].close()
    assert bounds(), "the other is still open"
    generators[second].close()
    assert not bounds()


def test_the_outer_block_left_first_leaves_the_inner() -> None:
    outer, inner = held(0), held(PATIENCE)
    next(outer)
    next(inner)
    outer.close()
    assert not bounds(), "the one that is left to count ends late"
    inner.close()


def test_a_block_that_another_thread_leaves_is_left(threads: Threads) -> None:
    generator = held(0)
    next(generator)
    threads.start(generator.close).result()
    assert not bounds()


# ── arguments ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seconds", [-1, -0.001, math.nan])
def test_what_is_no_time_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="pass seconds >= 0"):
        fail_after(seconds)


def test_a_block_is_entered_once() -> None:
    block = fail_after(30.5)
    assert repr(block) == "<fail_after(30.5), not entered>"
    with block:
        assert "running" in repr(block)
        with pytest.raises(MisuseError, match="anew"), block:
            pass
    assert "left" in repr(block)
    with pytest.raises(MisuseError, match="anew"), block:
        pass


def test_errors_of_the_block_pass_through() -> None:
    with pytest.raises(ZeroDivisionError), fail_after(0):
        _ = 1 // 0
