"""`Broadcast.aio` and `Subscription.aio`: readers are awaited, and so is a writer that waits for them."""

from functools import partial

import anyio
import pytest

from tests.conformance.backends import Processes, Threads
from tests.conformance.loops import EventLoop, ended, later, until_waiting
from underpass import Broadcast, ClosedError, EndOfStream, MisuseError, WouldBlock, aio

World = Threads | Processes


def test_tasks_get_every_message(loop: EventLoop, world: World) -> None:
    news = Broadcast(4096)

    def publish() -> None:
        for message in (b"one", b"two", b"three"):
            news.publish(message)
        news.shutdown()

    go, writer = later(world, publish)

    async def main() -> list[list[bytes]]:
        got = list[list[bytes]]()

        async def read() -> None:
            with news.aio.subscribe() as mine:
                got.append([await mine.get(), *[message async for message in mine]])
                with pytest.raises(EndOfStream):
                    await mine.get()

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(read)
            await until_waiting(3)
            go.raise_()
        return got

    assert loop.run(main) == [[b"one", b"two", b"three"]] * 3
    writer.result()


def test_tasks_that_share_a_subscription_come_in_their_order(loop: EventLoop) -> None:
    async def main() -> list[object]:
        news, got = aio.Broadcast(4096), list[object]()
        mine = news.subscribe()
        async with anyio.create_task_group() as group:
            for number in range(2):
                group.start_soon(ended, mine.get, got)
                await until_waiting(number + 1)
            await news.publish(b"one")
            await news.publish(b"two")
        return got

    assert loop.run(main) == [b"one", b"two"]


def test_who_is_cancelled_has_taken_nothing(loop: EventLoop) -> None:
    async def main() -> bytes:
        news = aio.Broadcast(4096)
        mine = news.subscribe()
        with anyio.move_on_after(0) as scope:
            await mine.get()
        assert scope.cancelled_caught
        await news.publish(b"one")
        assert (mine.behind, mine.lost, mine.statistics().behind) == (1, 0, 1)
        buffer = bytearray(3)
        assert await mine.get_into(buffer) == 3
        with pytest.raises(WouldBlock):
            mine.get_nowait()
        return bytes(buffer)

    assert loop.run(main) == b"one"


def test_who_waits_for_a_closed_one_is_told(loop: EventLoop) -> None:
    async def main() -> list[object]:
        news, got = aio.Broadcast(4096), list[object]()
        mine = news.subscribe()
        async with anyio.create_task_group() as group:
            group.start_soon(ended, mine.get, got)
            await until_waiting(1)
            mine.close()
        return got

    assert loop.run(main) == [ClosedError]


def test_tasks_write_and_read_in_place(loop: EventLoop) -> None:
    async def main() -> list[object]:
        news, got = aio.Broadcast(64, when_full="wait"), list[object]()
        mine = news.subscribe()
        with await news.loan(3) as loan:
            loan[:] = b"one"
            with pytest.raises(MisuseError, match="commit that loan or abandon it first"):
                await news.publish(b"two")
        await news.publish(b"two")
        lease = await mine.take()
        assert bytes(lease.value) == b"one"
        assert await mine.get() == b"two"
        with anyio.move_on_after(0) as scope:
            await news.loan(1)
        assert scope.cancelled_caught
        async with anyio.create_task_group() as group:
            group.start_soon(ended, partial(news.publish, b"three"), got)
            await until_waiting(1)
            lease.done()
        with mine.take_nowait() as lease:
            got.append(bytes(lease.value))
        with anyio.move_on_after(0) as scope:
            await mine.take()
        assert scope.cancelled_caught
        return got

    assert loop.run(main) == [None, b"three"]


def test_names(loop: EventLoop) -> None:
    async def main() -> None:
        news = aio.Broadcast.create("news", 4096)
        try:
            await news.publish(b"one")
            again = aio.Broadcast.open_or_create("news", 4096)
            assert (again.capacity, again.message_size) == (4096, 2032)
            assert await aio.Broadcast.open("news").subscribe(start="oldest").get() == b"one"
            assert again.statistics().published == 1
        finally:
            news.unlink()

    loop.run(main)


def test_a_task_waits_for_the_slowest_reader(loop: EventLoop) -> None:
    async def main() -> list[object]:
        news, got = aio.Broadcast(64, when_full="wait"), list[object]()
        mine = news.subscribe()
        for _ in range(4):
            await news.publish(b"")
        with pytest.raises(WouldBlock, match="held back by this process, 4 messages behind"):
            news.publish_nowait(b"")
        with anyio.move_on_after(0) as scope:
            await news.publish(b"never")
        assert scope.cancelled_caught
        async with anyio.create_task_group() as group:
            group.start_soon(ended, partial(news.publish, b"more"), got)
            await until_waiting(1)
            assert await mine.get() == b""
            # Two records of sixteen bytes make room for one with bytes.
            assert await mine.get() == b""
        assert news.statistics().published == 5
        return got

    assert loop.run(main) == [None]


def test_a_task_waits_for_a_reader_elsewhere_until_it_dies(loop: EventLoop, processes: Processes) -> None:
    news, ready = Broadcast(64, when_full="wait"), processes.flag()

    def stay() -> None:
        _mine = news.subscribe()
        ready.raise_()
        processes.rest()

    reader = processes.start(stay)
    ready.wait()

    async def main() -> int:
        for _ in range(4):
            await news.aio.publish(b"")
        async with anyio.create_task_group() as group:
            group.start_soon(news.aio.publish, b"")
            await until_waiting(1)
            reader.kill()
        return news.statistics().published

    assert loop.run(main) == 5
