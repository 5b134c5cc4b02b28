"""Calls of coroutines: a server in a loop, callers in loops, deaths on either side, and calls that are given up."""

import threading

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.conformance.backends import PATIENCE, Processes, Threads
from tests.conformance.loops import EventLoop, until, until_waiting
from underpass import (
    ClosedError,
    Gate,
    MessageTooLongError,
    Notified,
    PeerDiedError,
    Port,
    Request,
    aio,
)

World = Threads | Processes


async def serve(port: aio.Port) -> int:
    """Answer in capitals until the port is closed; how many calls."""
    count = 0
    async for request in port:
        request.reply(request.data.upper())
        count += 1
    return count


def test_a_server_in_a_loop_answers_threads_and_processes(loop: EventLoop, world: World) -> None:
    name = "capitals"
    go = world.flag()

    def client() -> list[bytes]:
        go.wait()
        gate = Gate.open(name, timeout=PATIENCE)
        return [gate.call(b"%d a" % number, timeout=PATIENCE) for number in range(50)]

    actors = [world.start(client) for _ in range(2)]

    async def main() -> list[int]:
        served: list[int] = []
        with aio.Port.create(name) as port:

            async def server() -> None:
                served.append(await serve(port))

            async with anyio.create_task_group() as group:
                group.start_soon(server)
                await until_waiting(1)
                go.raise_(2)
                await until(lambda: all(actor.ended for actor in actors), "the clients' ends")
                port.close()
        return served

    assert loop.run(main) == [100]
    assert [actor.result() for actor in actors] == [[b"%d A" % number for number in range(50)]] * 2


def test_calls_overlap_and_are_answered_in_any_order(loop: EventLoop) -> None:
    async def main() -> list[tuple[int, bytes]]:
        got: list[tuple[int, bytes]] = []
        with aio.Port() as port:
            gate = port.gate()

            async def caller(number: int) -> None:
                got.append((number, await gate.call(b"%d" % number)))

            async with anyio.create_task_group() as group:
                for number in range(4):
                    group.start_soon(caller, number)
                requests = [await port.receive() for _ in range(4)]
                for count, request in enumerate(reversed(requests), 1):
                    request.reply(request.data)
                    await until_waiting(4 - count)
                    assert len(got) == count
                    assert got[-1] == (int(request.data), request.data)
        return got

    assert sorted(loop.run(main)) == [(number, b"%d" % number) for number in range(4)]


def test_more_tasks_than_a_process_has_calls_are_served_in_order(loop: EventLoop) -> None:
    async def main() -> list[int]:
        done: list[int] = []
        with aio.Port() as port:
            gate = port.gate()

            async def caller(number: int) -> None:
                assert await gate.call(b"%d" % number) == b"%d" % number
                done.append(number)

            async with anyio.create_task_group() as group:
                for number in range(12):
                    group.start_soon(caller, number)
                    await until_waiting(number + 1)
                for answered in range(12):
                    request = await port.receive()
                    assert int(request.data) < answered + 4
                    request.reply(request.data)
        assert gate.statistics().in_progress == 0
        return done

    assert sorted(loop.run(main)) == list(range(12))


def test_a_call_waits_for_a_server_elsewhere(loop: EventLoop, world: World) -> None:
    name, ready = "elsewhere", world.flag()

    def server() -> None:
        with Port.create(name) as port:
            ready.raise_()
            port.serve(lambda request: port.close() if request.data == b"end" else request.data * 2)

    actor = world.start(server)
    ready.wait()

    async def main() -> list[bytes]:
        gate = aio.Gate.open(name)
        replies = [await gate.call(b"%d" % number) for number in range(50)]
        out = bytearray(4)
        with pytest.raises(TypeError, match="writable buffer"):
            # Before the call is made: its reply would be lost.
            await gate.call_into(b"ab", b"xxxx")
        assert await gate.call_into(b"ab", out) == 4
        assert out == b"abab"
        with pytest.raises(MessageTooLongError):
            await gate.call_into(b"abc", out)
        await gate.send(b"one way")
        with pytest.raises(MessageTooLongError):
            await gate.call(bytes(gate.message_size + 1))
        assert await gate.call(b"end") == b""
        with pytest.raises(PeerDiedError) as closed:
            await gate.call(b"after")
        assert closed.value.phase == "send"
        return replies

    assert loop.run(main) == [b"%d" % number * 2 for number in range(50)]
    actor.result()


def test_two_loops_call_each_other(loop: EventLoop, world: World) -> None:
    name, ready = "two", world.flag()

    def partner() -> int:
        async def main() -> int:
            with aio.Port.create(name) as port:
                ready.raise_()
                count = 0
                async for request in port:
                    request.reply(request.data)
                    count += 1
                    if request.data == b"99":
                        break
                return count

        return loop.run(main)

    actor = world.start(partner)
    ready.wait()

    async def main() -> None:
        gate = aio.Gate.open(name)
        for number in range(100):
            assert await gate.call(b"%d" % number) == b"%d" % number

    loop.run(main)
    assert actor.result() == 100


@pytest.mark.parametrize("turns", range(4))
def test_a_call_that_is_cancelled_before_it_is_taken_has_not_happened(loop: EventLoop, turns: int) -> None:
    async def main() -> None:
        with aio.Port() as port:
            gate = port.gate()
            scope = anyio.CancelScope()

            async def caller() -> None:
                with scope:
                    await gate.call(b"never")

            async with anyio.create_task_group() as group:
                group.start_soon(caller)
                await until_waiting(1)
                for _ in range(turns):
                    await checkpoint()
                scope.cancel()
            assert (gate.statistics().in_progress, gate.statistics().abandoned) == (0, 0)
            with anyio.move_on_after(0.01):
                pytest.fail(f"{(await port.receive()).data!r} was received")

    loop.run(main)


def test_a_call_that_is_cancelled_after_it_was_taken_is_abandoned_until_it_is_answered(loop: EventLoop) -> None:
    async def main() -> None:
        with aio.Port() as port:
            gate = port.gate()

            async def caller() -> None:
                await gate.call(b"taken")

            requests: list[Request] = []
            async with anyio.create_task_group() as group:
                for _ in range(4):
                    group.start_soon(caller)
                requests.extend([await port.receive() for _ in range(4)])
                group.cancel_scope.cancel()
            assert gate.statistics().abandoned == 4
            got: list[bytes] = []

            async def next_caller() -> None:
                got.append(await gate.call(b"next"))

            async with anyio.create_task_group() as group:
                group.start_soon(next_caller)
                # A late answer to one that was given up makes room for it.
                await until_waiting(1)
                requests[2].reply(b"too late")
                (await port.receive()).reply(b"in time")
            assert got == [b"in time"]
            for request in requests:
                if request is not requests[2]:
                    request.reply()
            assert gate.statistics().abandoned == 0

    loop.run(main)


def test_a_task_that_waits_for_room_and_is_cancelled_leaves_it_to_the_next(loop: EventLoop) -> None:
    async def main() -> list[bytes]:
        got: list[bytes] = []
        with aio.Port() as port:
            gate = port.gate()
            scope = anyio.CancelScope()

            async def caller(data: bytes) -> None:
                got.append(await gate.call(data))

            async def cancelled() -> None:
                with scope:
                    await caller(b"cancelled")

            async with anyio.create_task_group() as group:
                for _ in range(4):
                    group.start_soon(caller, b"a")
                await until_waiting(4)
                group.start_soon(cancelled)
                await until_waiting(5)
                group.start_soon(caller, b"b")
                await until_waiting(6)
                scope.cancel()
                for _ in range(5):
                    request = await port.receive()
                    request.reply(request.data)
        return got

    assert loop.run(main) == [b"a"] * 4 + [b"b"]


def test_a_server_that_is_killed_ends_the_calls(loop: EventLoop, processes: Processes) -> None:
    name, ready, taken = "mortal", processes.flag(), processes.flag()

    def server() -> None:
        port = Port.create(name)
        ready.raise_()
        request = port.receive()
        taken.raise_()
        threading.Event().wait()
        request.reply()

    actor = processes.start(server)
    ready.wait()

    async def main() -> list[PeerDiedError]:
        gate = aio.Gate.open(name)
        raised: list[PeerDiedError] = []

        async def caller() -> None:
            try:
                await gate.call(b"a")
            except PeerDiedError as died:
                raised.append(died)

        async with anyio.create_task_group() as group:
            group.start_soon(caller)
            await until_waiting(1)
            taken.wait()
            group.start_soon(caller)
            await until_waiting(2)
            actor.kill()
        return raised

    try:
        died = loop.run(main)
        assert sorted(str(error.phase) for error in died) == ["receive", "send"]
        assert {error.pid for error in died} == {actor.pid}
    finally:
        Port.create(name).close()


def test_a_server_in_a_loop_survives_its_callers(loop: EventLoop, processes: Processes) -> None:
    name = "survivor"
    go, later = processes.flag(), processes.flag()

    def client() -> None:
        go.wait()
        Gate.open(name, timeout=PATIENCE).call(b"dies")

    def another() -> bytes:
        later.wait()
        return Gate.open(name, timeout=PATIENCE).call(b"lives", timeout=PATIENCE)

    victim, survivor = processes.start(client), processes.start(another)

    async def main() -> bytes:
        with aio.Port.create(name) as port:
            go.raise_()
            request = await port.receive()
            victim.kill()
            request.reply(b"to nobody")
            later.raise_()
            request = await port.receive()
            request.reply(request.data)
            await until(lambda: survivor.ended)
            return survivor.result()

    assert loop.run(main) == b"lives"


def test_bits_and_calls_come_to_who_receives_any(loop: EventLoop) -> None:
    async def main() -> list[object]:
        with aio.Port() as port:
            gate = port.gate()
            got: list[object] = []

            async def receiver() -> None:
                got.append(await port.receive_any())

            async with anyio.create_task_group() as group:
                group.start_soon(receiver)
                await until_waiting(1)
                gate.notify(5)
            async with anyio.create_task_group() as group:
                group.start_soon(receiver)
                await until_waiting(1)
                group.start_soon(gate.send, b"a")
            notified, request = got
            assert isinstance(notified, Notified)
            assert isinstance(request, Request)
            return [notified.bits, request.data]

    assert loop.run(main) == [5, b"a"]


def test_a_closed_port_ends_its_receivers(loop: EventLoop) -> None:
    async def main() -> int:
        port = aio.Port()
        raised: list[type[Exception]] = []

        async def receiver() -> None:
            try:
                await port.receive()
            except ClosedError as error:
                raised.append(type(error))

        async with anyio.create_task_group() as group:
            group.start_soon(receiver)
            await until_waiting(1)
            port.close()
        assert raised == [ClosedError]
        return await serve(port)

    assert loop.run(main) == 0


def test_reply_wait_answers_and_receives_the_next(loop: EventLoop) -> None:
    async def main() -> list[bytes]:
        got: list[bytes] = []
        with aio.Port() as port:
            gate = port.gate(badge=7)

            async def caller() -> None:
                got.extend([await gate.call(b"first"), await gate.call(b"second")])

            async with anyio.create_task_group() as group:
                group.start_soon(caller)
                request = await port.receive()
                assert request.badge == gate.badge == 7
                request = await port.reply_wait(request, b"1")
                request.reply(b"2")
        return got

    assert loop.run(main) == [b"1", b"2"]
