"""AC's example: ask two servers at the same time, and go on when both have answered, or when one has and that is enough."""

import asyncio
import multiprocessing

import underpass
from underpass import aio

NAMES = ["example/lookup.a", "example/lookup.b"]


def serve(name: str) -> None:
    """Answer what is asked, until there is nothing more to come."""
    asked, answers = underpass.Queue.open(name), underpass.Queue.open(name + ".answers")
    for what in asked:
        answers.put(what + b" is at " + name[-1:].encode())


async def lookup(name: str, what: bytes) -> bytes:
    """Ask one server, and wait for its answer. Both may wait; no callback says so."""
    await aio.Queue.open(name).put(what)
    return await aio.Queue.open(name + ".answers").get()


async def twin_lookup(what: bytes) -> list[bytes]:
    """Ask both. The second is asked while the first looks."""
    async with aio.finish() as both:
        calls = [both.start(lookup, name, what) for name in NAMES]
    return [call.result() for call in calls]


async def first_of(what: bytes) -> bytes:
    """Ask one server that answers and one that never will: the answer cancels the other call."""
    never = aio.Queue()
    async with aio.finish() as block:
        patient = block.start(aio.cancellable, never.get())
        answer = await lookup(NAMES[0], what)
        block.cancel()
    return answer if patient.result() is aio.CANCELLED else b"it has taken something"


def main() -> None:
    """Start the servers, and ask."""
    queues = [underpass.Queue.create(name + part) for name in NAMES for part in ("", ".answers")]
    servers = [multiprocessing.get_context("spawn").Process(target=serve, args=(name,)) for name in NAMES]
    for server in servers:
        server.start()
    print(asyncio.run(twin_lookup(b"printer")))
    # -> [b'printer is at a', b'printer is at b']
    print(asyncio.run(first_of(b"scanner")))
    # -> b'scanner is at a'
    for queue in queues:
        queue.shutdown()
        queue.unlink()
    for server in servers:
        server.join()


if __name__ == "__main__":
    main()
