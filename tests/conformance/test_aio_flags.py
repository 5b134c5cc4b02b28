"""Tasks that wait for flags and events are given them in the instant of the change, beside threads and processes."""

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.conformance.backends import Processes, Threads
from tests.conformance.loops import EventLoop, ended, later, until, until_waiting, waiting
from underpass import ClosedError, Event, Notification, Space, aio

World = Threads | Processes


def test_an_event_that_is_set_and_cleared_at_once_lets_all_tasks_go(loop: EventLoop, world: World) -> None:
    event = Event()

    def pulse() -> None:
        event.set()
        event.clear()

    go, actor = later(world, pulse)

    async def main() -> None:
        went: list[Any] = []
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(ended, event.aio.wait, went)
            await until_waiting(3)
            go.raise_()
        assert went == [True, True, True]

    loop.run(main)
    actor.result()
    assert not event.is_set()


def test_a_pulse_is_for_those_who_wait_and_not_for_those_who_come(loop: EventLoop) -> None:
    async def main() -> None:
        event = aio.Event()
        first: list[Any] = []
        second: list[Any] = []
        async with anyio.create_task_group() as group:
            group.start_soon(ended, event.wait, first)
            await until_waiting(1)
            event.set()
            event.clear()
            group.start_soon(ended, event.wait, second)
            await until(lambda: first == [True])
            assert second == []
            event.set()
        assert second == [True]

    loop.run(main)


def test_a_post_is_given_to_every_waiter_and_then_cleared(loop: EventLoop, world: World) -> None:
    news = Notification()
    others = [later(world, lambda: news.wait(0b011)) for _ in range(2)]

    async def main() -> None:
        taken: list[Any] = []
        looked: list[Any] = []
        later_flag: list[Any] = []
        async with anyio.create_task_group() as group:
            group.start_soon(ended, lambda: news.aio.wait(0b001), taken)
            group.start_soon(ended, lambda: news.aio.wait(0b110, all=True), taken)
            group.start_soon(ended, lambda: news.aio.wait(0b111, consume=False), looked)
            group.start_soon(ended, lambda: news.aio.wait(0b1000), later_flag)
            await until_waiting(4)
            for go, actor in others:
                go.raise_()
                await until(lambda actor=actor: actor.asleep)
            assert news.notify(0b10111) == 0
            # Nobody who comes later finds what those have consumed.
            assert news.bits == 0b10000
            await until(lambda: len(taken) == 2)
            await until(lambda: looked == [0b111])
            assert sorted(taken) == [0b001, 0b110]
            assert later_flag == []
            news.notify(0b1000)
        assert later_flag == [0b1000]

    loop.run(main)
    assert [actor.result() for _, actor in others] == [0b011, 0b011]


def test_a_flag_that_another_consumes_reaches_a_task_that_waited(loop: EventLoop) -> None:
    async def main() -> None:
        news = Notification()
        went: list[Any] = []
        async with anyio.create_task_group() as group:
            group.start_soon(ended, lambda: news.aio.wait(1, consume=False), went)
            await until_waiting(1)
            news.notify(1)
            assert news.wait_nowait(1) == 1
        assert went == [1]
        assert news.bits == 0

    loop.run(main)


def test_flags_of_a_task_that_is_cancelled_are_set_again(loop: EventLoop, world: World) -> None:
    news = Notification()
    go, actor = later(world, news.wait)

    async def main() -> None:
        async with aio.finish() as block:
            call = block.start(aio.cancellable, news.aio.wait(1))
            await until_waiting(1)
            news.notify(1)
            assert news.bits == 0
            block.cancel()
        assert call.result() is aio.CANCELLED
        assert news.bits == 1
        go.raise_()
        await until(lambda: actor.ended)
        assert news.bits == 0

    loop.run(main)
    assert actor.result() == 1


def test_what_a_cancelled_task_only_looked_at_is_not_set_again(loop: EventLoop) -> None:
    async def main() -> None:
        news, event = Notification(), Event()
        async with aio.finish() as block:
            block.start(aio.cancellable, news.aio.wait(1, consume=False))
            block.start(aio.cancellable, event.aio.wait())
            await until_waiting(2)
            news.notify(1)
            news.clear()
            event.set()
            event.clear()
            block.cancel()
        assert (news.bits, event.is_set()) == (0, False)

    loop.run(main)


@pytest.mark.parametrize("survivor", ["process", "task"])
def test_flags_of_a_task_whose_process_is_killed_are_given_to_others(
    loop: EventLoop, survivor: str, processes: Processes
) -> None:
    news, ready, entered = Notification(), processes.flag(), processes.flag()

    def other() -> None:
        async def wait() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(lambda: news.aio.wait(0b11, all=True))
                await until_waiting(1)
                ready.raise_()
                # Its loop does not come to look: it is given the flags and dies.
                entered.wait()

        loop.run(wait)

    first = processes.start(other)
    go, sleeper = later(processes, lambda: news.wait(0b01))
    ready.wait()

    async def main() -> None:
        news.notify(0b10)
        went: list[Any] = []
        async with anyio.create_task_group() as group:
            # Both are consumed by the one that waits for both.
            news.notify(0b01)
            assert news.bits == 0
            if survivor == "task":
                group.start_soon(ended, lambda: news.aio.wait(0b01), went)
                await until_waiting(1)
            else:
                go.raise_()
                await until(lambda: sleeper.asleep)
            first.kill()
            if survivor == "process":
                await until(lambda: sleeper.ended)
                assert sleeper.result() == 0b01
        assert went == ([0b01] if survivor == "task" else [])
        assert news.bits == 0b10

    loop.run(main)
    if survivor == "task":
        sleeper.abandon()
    Space.default().sweep()


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("first", ["notify", "cancel"])
def test_a_flag_is_the_tasks_or_is_set_whenever_it_is_cancelled(loop: EventLoop, first: str, turns: int) -> None:
    async def main() -> None:
        news = Notification()
        async with aio.finish() as block:
            call = block.start(aio.cancellable, news.aio.wait(1))
            await until_waiting(1)
            steps: list[Callable[[], object]] = [news.notify, block.cancel]
            if first == "cancel":
                steps.reverse()
            steps[0]()
            for _ in range(turns):
                await aio.cancellable(checkpoint())
            steps[1]()
        assert call.result() in (1, aio.CANCELLED)
        assert news.bits == (1 if call.result() is aio.CANCELLED else 0)

    loop.run(main)


def test_waiting_for_no_flag_returns_at_once_and_a_closed_handle_ends_waits(loop: EventLoop) -> None:
    async def main() -> None:
        news, event = aio.Notification(), aio.Event()
        assert await news.wait(0) == 0
        ends: list[Any] = []
        async with anyio.create_task_group() as group:
            group.start_soon(ended, news.wait, ends)
            group.start_soon(ended, event.wait, ends)
            await until_waiting(2)
            news.close()
            event.close()
        assert ends == [ClosedError, ClosedError]
        assert waiting() == 0

    loop.run(main)
