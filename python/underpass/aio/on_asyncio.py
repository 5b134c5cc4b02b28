"""The reactor's place in a loop of asyncio, which uvloop is too: a reader of its members' descriptors."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, cast

from underpass.aio.crew_on_asyncio import Crew, cancel_again, tell_if_cancelled
from underpass.aio.reactor import Reactor
from underpass.waiting import WaitSet

if TYPE_CHECKING:
    from underpass.aio.finish import Finish


class Sleeper:
    """A task that waits for a future of its own."""

    __slots__ = ("_future", "_loop", "_slept")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._future: asyncio.Future[None] = loop.create_future()
        self._slept = False

    def sleep(self) -> Awaitable[None]:
        """Sleep until woken, the first time also before."""
        if self._slept:
            self._future = self._loop.create_future()
        self._slept = True
        return self._future

    def wake(self) -> None:
        """End the sleep."""
        try:
            self._future.set_result(None)
        except asyncio.InvalidStateError:
            # It was woken already, or cancelled. To ask first would cost every wake more.
            return


class Shield:
    """What a task was told while it was shielded."""

    __slots__ = ("cancelled",)

    def __init__(self) -> None:
        self.cancelled: BaseException | None = None


class ShieldedSleeper(Sleeper):
    """A task that sleeps on when it is cancelled, and hears of it later."""

    __slots__ = ("_shield", "_woken")

    def __init__(self, loop: asyncio.AbstractEventLoop, shield: Shield) -> None:
        super().__init__(loop)
        self._shield = shield
        self._woken = False

    async def sleep(self) -> None:
        """Sleep until woken."""
        while not self._woken:
            try:
                await super().sleep()
            except asyncio.CancelledError as cancelled:
                self._shield.cancelled = cancelled
        self._woken = False

    def wake(self) -> None:
        """End the sleep."""
        self._woken = True
        super().wake()


class Ear:
    """What a loop reads to hear of a reactor's members: one of their descriptors. The lab, which has none, listens to the members."""

    __slots__ = ("_number", "members")

    def __init__(self, members: WaitSet, number: int) -> None:
        self.members: WaitSet = members
        self._number = number

    def fileno(self) -> int:
        """Return the descriptor."""
        return self.members.filenos()[self._number]


class Asyncio:
    """A loop that runs."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop: asyncio.AbstractEventLoop = loop
        self.next_turn: Callable[[Callable[[], object]], object] = loop.call_soon
        self.reactor: Reactor = Reactor(self)
        self._ears = [Ear(self.reactor.members, number) for number in range(2)]
        self._shields: dict[object, Shield] = {}
        for ear in self._ears:
            loop.add_reader(ear, self.reactor.look)
        # A loop that shuts down ends its generators: that is how the reactor hears of it.
        self._ending = self._until_the_end()
        with suppress(StopIteration):
            self._ending.asend(None).send(None)

    async def _until_the_end(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            self.close()

    def close(self) -> None:
        """End it."""
        if not self.reactor.closed:
            if not self.loop.is_closed():
                for ear in self._ears:
                    self.loop.remove_reader(ear)
            self.reactor.close()

    def sleeper(self) -> Sleeper:
        """Return the running task, as one that can sleep and be woken."""
        shield = self._shields.get(self.task())
        return Sleeper(self.loop) if shield is None else ShieldedSleeper(self.loop, shield)

    def task(self) -> object:
        """Return what the running task is known by."""
        return asyncio.current_task(self.loop)

    def task_name(self) -> str:
        """Return what people call the running task."""
        task = asyncio.current_task(self.loop)
        return "" if task is None else task.get_name()

    async def breathe(self) -> None:
        """Let other tasks run."""
        await asyncio.sleep(0)

    def crew(self, block: "Finish") -> Crew:
        """Return what has the tasks of a `finish` block."""
        return Crew(self, block)

    async def end_if_cancelled(self) -> None:
        """Raise CancelledError if a `finish` block around the running task was cancelled."""
        task = self.task()
        if tell_if_cancelled(self.reactor.blocks.get(task), task):
            raise self.cancelled_error

    @contextmanager
    def shield(self) -> Generator[Shield]:
        """Keep cancellations from the running task for the length of a ``with`` block."""
        shield = self._shields[self.task()] = Shield()
        try:
            yield shield
        finally:
            del self._shields[self.task()]

    def postpone(self, cancellation: BaseException) -> None:
        """Have the running task, which has caught its cancellation too late for that, hear of it at its next wait."""
        task = cast("asyncio.Task[object]", self.task())
        self.loop.call_soon(cancel_again, task, task.cancelling(), cancellation.args)

    cancelled_error = asyncio.CancelledError
