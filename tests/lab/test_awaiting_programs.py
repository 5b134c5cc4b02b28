"""Random programs of structured calls in two processes: cancelled, late or dead, each verb has its effect or none."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

pytest.importorskip("greenlet")

from underpass import Mutex, OwnerDiedError, Queue, Semaphore, aio, lab
from underpass.lab import World

pytestmark = pytest.mark.usefixtures("nothing_left")
PROGRAMS, SCHEDULES, KILLED = 25, 20, 10


@dataclass
class Account:
    """What the calls of all processes say that they have done."""

    acquired: int = 0
    released: int = 0
    put: Counter[bytes] = field(default_factory=Counter[bytes])
    tried: set[bytes] = field(default_factory=set[bytes])
    got: Counter[bytes] = field(default_factory=Counter[bytes])
    inside: int = 0


@dataclass
class Part:
    """What one process does: calls of verbs that wait, blocks in blocks, shields, and cancels of any block around."""

    number: int
    dice: random.Random
    units: Semaphore
    jobs: Queue
    mutex: Mutex
    account: Account
    messages: int = 0

    async def main(self) -> None:
        """Run it, until its time is over."""
        async with aio.finish() as block:
            asyncio.get_running_loop().call_later(1, block.cancel)
            block.start(self.call, block, 2)
            await self.call(block, 2)

    async def call(self, block: aio.Finish, depth: int) -> None:
        for _ in range(self.dice.randrange(1, 4)):
            await self.step(block, depth)

    async def step(self, block: aio.Finish, depth: int) -> None:
        chance = self.dice.random()
        if chance < 0.6 or not depth:
            await self.verb()
        elif chance < 0.75:
            block.start(self.call, block, depth - 1)
        elif chance < 0.9:
            async with aio.finish() as inner:
                inner.start(self.call, inner, depth - 1)
                await self.step(inner, depth - 1)
        elif chance < 0.96:
            (block.outer or block).cancel()
        else:
            await aio.cancellable(asyncio.sleep(0.5))

    async def verb(self) -> None:
        """Do something that may wait, and keep account of it: of its effect, or that it had none."""
        account = self.account
        match self.dice.randrange(6):
            case 0 | 1:
                taken = await aio.cancellable(self.units.aio.acquire())
                account.acquired += taken is True
            case 2:
                self.messages += 1
                message = b"%d.%d" % (self.number, self.messages)
                account.tried.add(message)
                if await aio.cancellable(self.jobs.aio.put(message)) is None:
                    account.put[message] += 1
            case 3:
                got = await aio.cancellable(self.jobs.aio.get())
                if isinstance(got, bytes):
                    account.got[got] += 1
            case 4:
                await self.exclude()
            case _:
                self.units.aio.release()
                account.released += 1

    async def exclude(self) -> None:
        """Be alone for a turn. Who died in there is out again."""
        try:
            if await aio.cancellable(self.mutex.aio.acquire()) is not True:
                return
        except OwnerDiedError:
            async with self.mutex.aio.recovering():
                return
        assert self.mutex.statistics().state == "held"
        self.account.inside += 1
        inside = self.account.inside
        try:
            await aio.cancellable(asyncio.sleep(0))
            assert self.account.inside == inside
        finally:
            self.account.inside -= 1
            self.mutex.aio.release()


def program(number: int, world: World, account: Account) -> tuple[Semaphore, Queue, Mutex]:
    units, jobs, mutex = Semaphore(1), Queue(2, 8), Mutex()
    for process in range(2):
        # A block's end is told when its calls have ended; who takes part is the same in each schedule.
        part = Part(process, random.Random(f"{number}/{process}"), units, jobs, mutex, account)
        world.process(part.main, name=f"part-{process}")
    return units, jobs, mutex


@pytest.mark.parametrize("number", range(PROGRAMS))
def test_what_was_cancelled_has_had_no_effect(number: int) -> None:
    effects: set[tuple[int, int, int]] = set()

    def run(world: World) -> None:
        account = Account()
        units, jobs, mutex = program(number, world, account)

        def nothing_is_lost() -> None:
            left = Counter(jobs.get_many()) if jobs.depth else Counter[bytes]()
            assert account.got + left == account.put
            assert not account.put or max(account.put.values()) == 1
            assert units.value == 1 + account.released - account.acquired
            assert mutex.statistics().state == "free"
            effects.add((account.acquired, account.put.total(), account.got.total()))

        world.at_end(nothing_is_lost)

    lab.explore(run, schedules=SCHEDULES, seed=number, jobs=1)


@pytest.mark.parametrize("number", range(0, PROGRAMS, 2))
def test_whoever_dies_the_other_comes_to_its_end(number: int) -> None:
    def run(world: World) -> None:
        account = Account()
        units, jobs, _ = program(number, world, account)

        def nothing_comes_twice() -> None:
            left = Counter(jobs.get_many()) if jobs.depth else Counter[bytes]()
            seen = account.got + left
            assert not seen or max(seen.values()) == 1
            assert set(seen) <= account.tried
            assert units.value >= 0

        world.at_end(nothing_comes_twice)

    lab.explore(run, schedules=KILLED, kills=1, seed=number, jobs=1)
