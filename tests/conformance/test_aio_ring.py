"""SpscRing and MpscRing, awaited: packets, room, deaths, and tasks that are cancelled."""

import anyio
import pytest

from tests.conformance.backends import Processes, Threads
from tests.conformance.loops import EventLoop, until_waiting
from underpass import ClosedError, MisuseError, PeerDiedError, WouldBlock, aio
from underpass.data import MpscRing, SpscRing

World = Threads | Processes


def test_packets_pass_between_tasks(loop: EventLoop) -> None:
    async def main() -> list[bytes]:
        ring, got = aio.MpscRing(64), list[bytes]()

        async def write() -> None:
            for number in range(9):
                if number % 2:
                    await ring.write(bytes([number]) * 20)
                else:
                    with await ring.claim(20) as packet:
                        packet[:] = bytes([number]) * 20

        async with anyio.create_task_group() as group:
            group.start_soon(write)
            while len(got) < 9:
                if len(got) % 2:
                    got.append(await ring.read())
                else:
                    with await ring.take() as packet:
                        got.append(bytes(packet))
        assert (ring.depth, ring.next_size, ring.capacity, ring.statistics().skipped) == (0, None, 64, 0)
        return got

    assert loop.run(main) == [bytes([number]) * 20 for number in range(9)]


def test_another_thread_or_process_lets_a_task_go_on(loop: EventLoop, world: World) -> None:
    ring = SpscRing(64)
    full = MpscRing(64)
    for _ in range(2):
        full.write(b"x" * 32)

    async def main() -> bytes:
        got = list[bytes]()

        async def read() -> None:
            got.append(await ring.aio.read())

        async def write() -> None:
            await full.aio.write(b"more")

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            group.start_soon(write)
            await until_waiting(2)
            world.start(ring.write, b"late")
            world.start(full.read)
        return got[0]

    assert loop.run(main) == b"late"


def test_a_death_lets_go_on(loop: EventLoop, processes: Processes) -> None:
    ring, has, never = MpscRing(256), processes.flag(), processes.flag()

    def hold() -> None:
        claim = ring.claim(8)
        has.raise_()
        never.wait()
        del claim

    writer = processes.start(hold)
    has.wait()
    ring.write(b"after")

    async def main() -> bytes:
        got = list[bytes]()

        async def read() -> None:
            got.append(await ring.aio.read())

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await until_waiting(1)
            writer.kill()
        return got[0]

    assert loop.run(main) == b"after"


def test_a_death_is_told(loop: EventLoop, processes: Processes) -> None:
    ring, has, never = SpscRing(64), processes.flag(), processes.flag()

    def hold() -> None:
        ring.write(b"only")
        has.raise_()
        never.wait()

    writer = processes.start(hold)
    has.wait()

    async def main() -> int:
        told = list[int]()
        assert await ring.aio.read() == b"only"

        async def read() -> None:
            with pytest.raises(PeerDiedError) as died:
                await ring.aio.read()
            told.append(died.value.pid)

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await until_waiting(1)
            writer.kill()
        return told[0]

    assert loop.run(main) == writer.pid


def test_who_is_cancelled_has_done_nothing(loop: EventLoop) -> None:
    async def main() -> None:
        ring, full = aio.MpscRing(64), aio.MpscRing(64)
        for _ in range(2):
            full.write_nowait(b"x" * 32)
        async with anyio.create_task_group() as group:
            group.start_soon(ring.read)
            group.start_soon(full.write, b"more")
            group.start_soon(full.claim, 8)
            await until_waiting(3)
            group.cancel_scope.cancel()
        ring.write_nowait(b"kept")
        assert ring.read_nowait() == b"kept"
        assert [len(full.read_nowait()), len(full.read_nowait())] == [32, 32]
        with pytest.raises(WouldBlock):
            full.take_nowait()

    loop.run(main)


def test_named_and_closed(loop: EventLoop) -> None:
    async def main() -> None:
        for of in (aio.SpscRing, aio.MpscRing):
            ring = of.create("log", 64)
            same = of.open_or_create("log", 64)
            await same.write(b"hello")
            with await of.open("log").take():
                with pytest.raises(MisuseError):
                    await ring.read()
                with pytest.raises(MisuseError):
                    ring.take_nowait()
            ring.claim_nowait(3).commit()
            ring.unlink()
            ring.close()
            with pytest.raises(ClosedError):
                await ring.read()

    loop.run(main)
