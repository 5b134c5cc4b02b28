"""The reactor's place in a run of trio: a system task at each of its members' descriptors."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from underpass.aio.crew_on_trio import Crew
from underpass.aio.reactor import Reactor

if TYPE_CHECKING:
    from underpass.aio.finish import Finish


class Sleeper:
    """A task that waits to be rescheduled."""

    __slots__ = ("_asleep", "_task", "_woken")

    def __init__(self) -> None:
        self._task = trio.lowlevel.current_task()
        self._asleep = False
        self._woken = False

    async def sleep(self) -> None:
        """Sleep until woken, also before."""
        if not self._woken:
            self._asleep = True
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        self._woken = False

    def wake(self) -> None:
        """End the sleep, or the next one."""
        self._woken = True
        if self._asleep:
            self._asleep = False
            trio.lowlevel.reschedule(self._task)

    def _abort(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._asleep = False
        return trio.lowlevel.Abort.SUCCEEDED


class Shield:
    """A shielded scope: whoever cancels one around it is heard of after it."""

    cancelled = None


class Trio:
    """A run of trio."""

    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        self.loop: trio.lowlevel.TrioToken = token
        self.next_turn: Callable[[Callable[[], object]], object] = token.run_sync_soon
        self.reactor: Reactor = Reactor(self)
        for descriptor in self.reactor.members.filenos():
            trio.lowlevel.spawn_system_task(self._listen, descriptor)

    def close(self) -> None:
        """End it."""
        if not self.reactor.closed:
            self.reactor.close()

    def sleeper(self) -> Sleeper:
        """Return the running task, as one that can sleep and be woken."""
        return Sleeper()

    def task(self) -> object:
        """Return what the running task is known by."""
        return trio.lowlevel.current_task()

    def task_name(self) -> str:
        """Return what people call the running task."""
        return trio.lowlevel.current_task().name

    async def breathe(self) -> None:
        """Let other tasks run."""
        await trio.lowlevel.checkpoint()

    def crew(self, block: "Finish") -> Crew:
        """Return what has the tasks of a `finish` block."""
        return Crew(block)

    async def end_if_cancelled(self) -> None:
        """Raise Cancelled if a `finish` block around the running task was cancelled, or another scope around it."""
        await trio.lowlevel.checkpoint_if_cancelled()

    @contextmanager
    def shield(self) -> Generator[Shield]:
        """Keep cancellations from the running task for the length of a ``with`` block."""
        with trio.CancelScope(shield=True):
            yield Shield()

    def postpone(self, cancellation: BaseException) -> None:
        """Do nothing: a task hears of a cancelled scope at every wait."""

    cancelled_error = trio.Cancelled

    async def _listen(self, descriptor: int) -> None:
        try:
            while True:
                await trio.lowlevel.wait_readable(descriptor)
                self.reactor.look()
        finally:
            self.close()
