"""Random programs of structured calls: ordinary calls while nothing waits; however they are cancelled, effect or CANCELLED."""

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from tests.conformance.loops import EventLoop, waiting
from underpass import aio
from underpass.aio import running

PROGRAMS = 400


# ── as ordinary calls ───────────────────────────────────────────────────────────────────────────────────────────────────────
Step = tuple[str, Any]


def body(dice: random.Random, depth: int) -> list[Step]:
    """Make up what a call does: takes and gives that need not wait, calls, and blocks of calls."""
    kinds = ["put", "get", "acquire", "mutex"] + (["start", "start", "block"] if depth else [])
    steps: list[Step] = []
    for number in range(dice.randrange(4)):
        kind = dice.choice(kinds)
        steps.append((kind, body(dice, depth - 1) if kind in {"start", "block"} else number))
    return steps


class Machine:
    """What runs a body, with calls that are started or with plain ones."""

    def __init__(self, *, plain: bool) -> None:
        self.plain = plain
        self.log: list[object] = []
        self.units, self.jobs, self.mutex = aio.Semaphore(1), aio.Queue(512), aio.Mutex(recursive=True)

    async def run(self, steps: list[Step], block: aio.Finish | None, at: str) -> None:
        for index, (kind, what) in enumerate(steps):
            here = f"{at}.{index}"
            self.log.append((here, kind, self.jobs.depth, self.units.value))
            match kind:
                case "put":
                    await self.jobs.put(here.encode())
                case "get":
                    self.jobs.put_nowait(b"one at least")
                    self.log.append(await self.jobs.get())
                case "acquire":
                    async with self.units.holding():
                        self.log.append(self.units.value)
                case "mutex":
                    async with self.mutex:
                        self.log.append(here)
                case "start" if block is not None:
                    block.start(self.run, what, block, here)
                case "block" if not self.plain:
                    async with aio.finish() as inner:
                        await self.run(what, inner, here)
                case _:
                    await self.run(what, None, here)
        self.log.append(at)


def test_programs_that_never_wait_run_as_if_every_start_were_a_call(loop: EventLoop, dice: random.Random) -> None:
    async def main() -> None:
        turns = 0

        async def turner() -> None:
            nonlocal turns
            while True:
                await checkpoint()
                turns += 1

        async with anyio.create_task_group() as group:
            group.start_soon(turner)
            longest = 0
            for _ in range(PROGRAMS):
                program = body(dice, 4)
                plain, started = Machine(plain=True), Machine(plain=False)
                await plain.run(program, None, "")
                before = turns
                async with aio.finish() as block:
                    await started.run(program, block, "")
                assert turns == before, "it let others run"
                assert started.log == plain.log
                longest = max(longest, len(plain.log))
                for machine in (plain, started):
                    for thing in (machine.units, machine.jobs, machine.mutex):
                        thing.close()
            assert longest > 20
            group.cancel_scope.cancel()

    loop.run(main)


# ── cancelled anywhere ──────────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass
class Account:
    """What the calls of a program say that they have done."""

    acquired: int = 0
    released: int = 0
    put: list[bytes] = field(default_factory=list[bytes])
    got: list[bytes] = field(default_factory=list[bytes])
    running: Counter[int] = field(default_factory=Counter[int])
    cancelled: int = 0
    inside: int = 0
    ended: int = 0


class Program:
    """A random program: calls of verbs that wait, blocks in blocks, shields, errors, and cancels of any block around."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.units, self.jobs, self.mutex = aio.Semaphore(1), aio.Queue(2), aio.Mutex()
        self.account = Account()
        self.messages = 0
        self.calls = 0

    async def verb(self) -> None:
        """Do something that may wait, and keep account of it: of its effect, or that it had none."""
        account = self.account
        match self.dice.randrange(6):
            case 0 | 1:
                got = await aio.cancellable(self.units.acquire())
                account.acquired += got is True
            case 2:
                self.messages += 1
                message = b"%d" % self.messages
                put = await aio.cancellable(self.jobs.put(message))
                if put is None:
                    account.put.append(message)
                got = put
            case 3:
                got = await aio.cancellable(self.jobs.get())
                if isinstance(got, bytes):
                    account.got.append(got)
            case 4:
                got = await aio.cancellable(self.mutex.acquire())
                if got is True:
                    account.inside += 1
                    assert account.inside == 1
                    try:
                        await aio.cancellable(checkpoint())
                    finally:
                        account.inside -= 1
                        self.mutex.release()
            case _:
                self.units.release()
                account.released += 1
                got = True
        account.cancelled += got is aio.CANCELLED

    async def call(self, block: aio.Finish, depth: int) -> None:
        self.account.running[id(block)] += 1
        try:
            for _ in range(self.dice.randrange(1, 4)):
                await self.step(block, depth)
        finally:
            self.account.running[id(block)] -= 1
            self.account.ended += 1

    async def step(self, block: aio.Finish, depth: int) -> None:
        chance = self.dice.random()
        if chance < 0.5 or not depth:
            await self.verb()
        elif chance < 0.65:
            self.calls += 1
            block.start(self.call, block, depth - 1)
        elif chance < 0.85:
            await self.nested(depth - 1)
        elif chance < 0.93:
            around = block
            for _ in range(self.dice.randrange(3)):
                around = around.outer or around
            around.cancel()
        elif chance < 0.97:
            await checkpoint()
        else:
            raise LookupError

    async def nested(self, depth: int) -> None:
        inner = aio.finish(shield=self.dice.random() < 0.2)
        try:
            async with inner:
                self.calls += 1
                inner.start(self.call, inner, depth)
                await self.step(inner, depth)
        except* LookupError:
            pass
        finally:
            assert inner.state == "over"
            assert not self.account.running[id(inner)], "a block has ended before its calls"
            del self.account.running[id(inner)]

    async def feed(self) -> None:
        """Let what waits go on, until nobody does."""
        while True:
            for _ in range(self.dice.randrange(1, 6)):
                await checkpoint()
            if self.units.value == 0:
                self.units.release()
                self.account.released += 1
            if self.jobs.depth:
                self.account.got.append(self.jobs.get_nowait())
            if self.dice.random() < 0.5:
                self.messages += 1
                self.jobs.put_nowait(b"%d" % self.messages)
                self.account.put.append(b"%d" % self.messages)

    async def cut(self, scope: anyio.CancelScope) -> None:
        """Cancel it from without, as a deadline does, after a few turns of the loop."""
        for _ in range(self.dice.randrange(20)):
            await checkpoint()
        scope.cancel()

    def check(self) -> None:
        """Compare the account with the objects."""
        account = self.account
        left = [self.jobs.get_nowait() for _ in range(self.jobs.depth)]
        assert sorted(account.put) == sorted([*account.got, *left]), "a message with and without effect"
        assert self.units.value == 1 + account.released - account.acquired, "a unit with and without effect"
        assert account.ended == self.calls, "a call that was started has not run to its end"
        assert self.mutex.owner is None
        here = running.reactor()
        assert (here.cancelled, waiting()) == (0, 0)
        for thing in (self.units, self.jobs, self.mutex):
            thing.close()


def test_programs_cancelled_anywhere_have_effect_or_cancelled_never_both(loop: EventLoop, dice: random.Random) -> None:
    async def main() -> Counter[str]:
        seen: Counter[str] = Counter()
        for _ in range(3 * PROGRAMS):
            program = Program(dice)
            async with anyio.create_task_group() as group:
                group.start_soon(program.feed)
                with anyio.CancelScope() as scope:
                    if dice.random() < 0.5:
                        group.start_soon(program.cut, scope)
                    await program.nested(4)
                seen["cut"] += scope.cancelled_caught
                group.cancel_scope.cancel()
            program.check()
            seen["cancelled"] += program.account.cancelled
            seen["calls"] += program.calls
            assert not running.reactor().blocks
        return seen

    seen = loop.run(main)
    assert seen["calls"] > PROGRAMS
    assert seen["cancelled"] > PROGRAMS / 10
    assert seen["cut"] > PROGRAMS / 10
