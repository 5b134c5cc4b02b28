"""Waiting for a name in coroutines: an object that somebody makes later, on each event loop. No name comes late: the re-check is off."""

# pyright: reportPossiblyUnboundVariable=false
# What is assigned in a block that raises nothing is there after it.

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.conformance.backends import Processes, Threads, apart
from tests.conformance.loops import EventLoop, until, until_waiting, waiting
from underpass import (
    AtomicInt,
    Barrier,
    Condition,
    Event,
    MismatchError,
    Mutex,
    Notification,
    Once,
    Port,
    Queue,
    RWLock,
    Semaphore,
    Space,
    aio,
)
from underpass.data import MpscRing, SpscRing, Stack
from underpass.sync import Latch

World = Threads | Processes

FACES: dict[type[Any], Callable[[str], Any]] = {
    aio.Semaphore: lambda name: Semaphore.create(name, 1),
    aio.Mutex: Mutex.create,
    aio.Notification: Notification.create,
    aio.Event: Event.create,
    aio.Latch: lambda name: Latch.create(name, 1),
    aio.Once: Once.create,
    aio.Barrier: lambda name: Barrier.create(name, 2),
    aio.Condition: Condition.create,
    aio.AtomicInt: AtomicInt.create,
    aio.RWLock: RWLock.create,
    aio.Queue: Queue.create,
    aio.Stack: lambda name: Stack.create(name, 1),
    aio.SpscRing: lambda name: SpscRing.create(name, 64),
    aio.MpscRing: lambda name: MpscRing.create(name, 64),
    aio.Gate: Port.create,
}


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
def test_an_object_of_each_class_is_waited_for_by_its_name(face: type[Any]) -> None:
    async def main() -> None:
        found: list[Any] = []

        async def find() -> None:
            found.append(await face.open_when_there("late"))

        async with anyio.create_task_group() as group:
            group.start_soon(find)
            await until_waiting(1)
            made = FACES[face]("late")
        assert type(found[0]) is face
        assert found[0].name == made.name
        found[0].close()
        if isinstance(made, Port):
            made.close()
        else:
            made.unlink()

    EventLoop("asyncio").run(main)


def test_an_object_that_is_there_is_opened_at_once(loop: EventLoop) -> None:
    made = Queue.create("there")
    ran: list[int] = []

    async def other() -> None:
        await checkpoint()
        ran.append(1)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(other)
            queue = await aio.Queue.open_when_there("there")
            assert not ran
            await queue.put(b"job")

    loop.run(main)
    assert made.get_nowait() == b"job"
    made.unlink()


def test_a_name_that_another_makes_is_told_of(loop: EventLoop, world: World) -> None:
    go = world.flag()

    def make() -> None:
        go.wait()
        Semaphore.create("other", 0)
        Queue.create("wanted").put(b"job")

    actor = world.start(make)

    async def main() -> bytes:
        got: list[bytes] = []

        async def find() -> None:
            queue = await aio.Queue.open_when_there("wanted")
            got.append(await queue.get())
            queue.unlink()

        async with anyio.create_task_group() as group:
            group.start_soon(find)
            await until_waiting(1)
            go.raise_()
        return got[0]

    assert loop.run(main) == b"job"
    actor.result()
    Semaphore.open("other").unlink()


@apart
def test_each_task_gets_the_name_that_it_waits_for(loop: EventLoop, directory: Path) -> None:
    space = Space(str(directory))

    async def main() -> None:
        found: list[str | None] = []

        async def find(name: str) -> None:
            found.append((await aio.Event.open_when_there(name, space=space)).name)

        async with anyio.create_task_group() as group:
            for name in ("one", "two", "one", "three"):
                group.start_soon(find, name)
            await until_waiting(4)
            Event.create("one")
            Event.create("three", space=space)
            await until(lambda: found == ["three"])
            Event.create("one", space=space)
            await until(lambda: found == ["three", "one", "one"])
            assert waiting() == 1
            Event.create("two", space=space)
        assert found[3] == "two"

    loop.run(main)
    Event.open("one").unlink()
    space.remove()


def test_a_task_that_is_cancelled_leaves_no_descriptor(loop: EventLoop) -> None:
    async def main() -> None:
        # Whatever the loop makes at its first wait is there.
        with anyio.move_on_after(0):
            await aio.Event().wait()
        await checkpoint()
        before = descriptors()
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(aio.Event.open_when_there, "never")
            await until_waiting(5)
            assert descriptors() == before + 5
            group.cancel_scope.cancel()
        await until(lambda: descriptors() == before)

    loop.run(main)


def test_a_gate_waits_for_a_port_that_somebody_receives_at(loop: EventLoop, processes: Processes) -> None:
    ready = processes.flag()

    def serve() -> None:
        port = Port.create("served")
        ready.raise_()
        port.receive()

    first = processes.start(serve)
    ready.wait()
    first.kill()
    go = processes.flag()

    def succeed() -> None:
        go.wait()
        with Port.create("served") as port:
            request = port.receive()
            request.reply(request.data.upper())

    successor = processes.start(succeed)

    async def main() -> bytes:
        replies: list[bytes] = []

        async def call() -> None:
            gate = await aio.Gate.open_when_there("served")
            replies.append(await gate.call(b"wheel"))

        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await until_waiting(1)
            go.raise_()
        return replies[0]

    assert loop.run(main) == b"WHEEL"
    successor.result()
    Space.default().sweep()


def test_what_else_has_the_name_is_told(loop: EventLoop) -> None:
    async def main() -> None:
        ends: list[type[BaseException]] = []

        async def find() -> None:
            try:
                await aio.Queue.open_when_there("misnamed")
            except MismatchError as error:
                ends.append(type(error))

        async with anyio.create_task_group() as group:
            group.start_soon(find)
            await until_waiting(1)
            event = Event.create("misnamed")
        assert ends == [MismatchError]
        event.unlink()

    loop.run(main)


def test_a_port_is_not_opened_by_its_name() -> None:
    with pytest.raises(TypeError, match=r"Port 'served' .* cannot be opened by its name"):
        aio.Port.open("served")
