"""The place where the tasks of one event loop wait: one `WaitSet`, two descriptors, whatever they wait for.

Invariant: nobody takes for a task but the task itself, in the step in which it goes on; the reactor only wakes. So a task that is
cancelled, woken or not, has taken nothing, and what it was woken for wakes the next.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from underpass import _loops
from underpass.aio.line import Line, Sleeper
from underpass.errors import UnderpassError, WouldBlock
from underpass.waiting import WaitSet

T = TypeVar("T")


class Shield(Protocol):
    """A block in which no cancellation ends a wait."""

    @property
    def cancelled(self) -> BaseException | None:
        """The one that was kept from the task, if nobody else tells of it again."""
        ...


class Loop(Protocol):
    """What a reactor asks of the event loop that it belongs to."""

    def sleeper(self) -> Sleeper:
        """Return the running task, as one that can sleep and be woken."""
        ...

    def task(self) -> object:
        """Return what the running task is known by."""
        ...

    def task_name(self) -> str:
        """Return what people call the running task."""
        ...

    async def breathe(self) -> None:
        """Let other tasks run."""
        ...

    @property
    def next_turn(self) -> Callable[[Callable[[], object]], object]:
        """Call something at the loop's next turn, after the tasks that were woken before."""
        ...

    def crew(self, block: Any) -> Any:
        """Return what has the tasks of a `finish` block."""
        ...

    async def end_if_cancelled(self) -> None:
        """Raise the loop's cancellation if a `finish` block around the running task was cancelled."""
        ...

    def shield(self) -> AbstractContextManager[Shield]:
        """Keep cancellations from the running task for the length of a ``with`` block."""
        ...

    def postpone(self, cancellation: BaseException) -> None:
        """Have the running task, which has caught its cancellation too late for that, hear of it at its next wait."""
        ...

    @property
    def cancelled_error(self) -> type[BaseException]:
        """What the loop cancels with."""
        ...


def nothing() -> None:
    """Do nothing."""


class Reactor:
    """All that tasks of one loop wait for."""

    def __init__(self, loop: Loop) -> None:
        self.loop: Loop = loop
        self.members: WaitSet = WaitSet()
        self.closed: bool = False
        self._lines: dict[object, Line] = {}
        self._by_member: dict[Any, Line] = {}
        # Lines in which nobody stands any more, since the last look.
        self._deserted: list[Line] = []
        self._looks_later: bool = False
        #: Which task of this loop has a mutex or a once, by that.
        self.seats: dict[int, Any] = {}
        #: Which tasks of this loop use a lock of readers and writers, by that.
        self.tenants: dict[int, dict[object, Any]] = {}
        #: The innermost `finish` block around each task, and how many blocks have been cancelled and are not over.
        self.blocks: dict[object, Any] = {}
        self.cancelled: int = 0
        #: Raises MisuseError if this thread is in an `atomic_section`; what is awaited is called ``name(*arguments)``.
        self.may_await: Callable[..., None] = _loops.may_await

    async def wait(  # noqa: C901, PLR0912, PLR0913  each caller names what it needs, and a frame less is a faster wake
        self,
        key: object,
        member: Callable[[], Any],
        attempt: Callable[[], T],
        *,
        together: bool = False,
        by_handle: bool = False,
        cancellable: bool = True,
        give_up: Callable[[], object] = nothing,
        verb: str | None = None,
    ) -> T:
        """Return what ``attempt`` returns once it does not raise WouldBlock.

        Args:
            key: What stands for the thing that is waited for: who waits for the same stands in one line.
            member: Makes what a `WaitSet` takes, ready when an attempt may succeed.
            attempt: Does it or raises WouldBlock.
            together: Nobody takes it from others: what wakes one wakes all.
            by_handle: Handles of one object stand in its line, each with a member of its own, which says whether it is ``closed``; of one
                handle they are equal. Otherwise the line has the first one's.
            cancellable: In a `finish` block that was cancelled, and in an `atomic_section`, it is not even attempted.
            give_up: Undoes what attempts have done that raised WouldBlock, where the wait ends by an exception.
            verb: What `Space.waits` says that the task does, where the member does not tell.
        """
        try:
            if cancellable:
                # As `may_act`, without a frame more.
                self.may_await(member)
                if self.cancelled:
                    await self.loop.end_if_cancelled()
            line = self._lines.get(key)
            if line is None or not line.sleepers:
                try:
                    return attempt()
                except WouldBlock:
                    pass
            if line is None or by_handle:
                comes_with = member()
                line = self._by_member.get(comes_with) or self._begin(key, comes_with, together=together)
            else:
                comes_with = next(iter(line.members))
            sleeper, sleepers = self.loop.sleeper(), line.sleepers
            sleepers[sleeper], told = comes_with, None
            try:
                told = _loops.task_waits(comes_with, self.loop.task_name, verb)
                if len(sleepers) == 1 or len(line.members) > 1:
                    # What came since the attempt is there by now, or will be told.
                    self.look()
                while True:
                    await sleeper.sleep()
                    try:
                        return attempt()
                    except WouldBlock:
                        continue
            finally:
                if told is not None:
                    told.end()
                del sleepers[sleeper]
                if not sleepers:
                    self._deserted.append(line)
        except BaseException as error:
            # One that is dropped may have outlived its loop, and what is ready is told again.
            if not isinstance(error, GeneratorExit):
                self._look_later()
            give_up()
            raise

    async def may_act(self, member: Callable[[], object]) -> None:
        """Refuse the running task's verb that never waits, where one that waits is refused; as in `wait`."""
        self.may_await(member)
        if self.cancelled:
            await self.loop.end_if_cancelled()

    def look(self, *, everything: bool = False) -> None:
        """Wake who waits for what is ready. Where something is, the loop looks again at its next turn: its descriptor stays readable."""
        if self._deserted:
            self._end_deserted()
        try:
            # A keyword costs every wake more.
            ready = self.members.ready(everything=True) if everything else self.members.ready()
        except UnderpassError:
            # Whose object it was learns it by an attempt of its own.
            ready = list(self._by_member)
            self._look_later()
        if everything:
            # A set inside tells what it was told, and not of what nobody tells.
            ready += [member for member in self._by_member if isinstance(member, WaitSet) and member not in ready]
        for member in ready:
            line = self._by_member.get(member)
            if line is None:
                continue
            if len(line.members) > 1:
                self._tell_several(line, member)
                continue
            for sleeper in line.sleepers:
                sleeper.wake()
                # The first; or all, where nobody takes what the next one waits for.
                if not line.together:
                    break

    def _tell_several(self, line: Line, member: Any) -> None:
        """Wake who waits, of a line whose tasks came with several handles, for this one of them."""
        told = line.told_of(member)
        for sleeper in told:
            sleeper.wake()
        if not told and line.sleepers:
            # It was closed, and would be told of for as long as others wait.
            self._leave(line, member)

    def _look_later(self) -> None:
        """Look at the next turn, though nothing may be ready; not for one that is dropped after its loop has ended."""
        if not (self._looks_later or self.closed):
            self._looks_later = True
            self.loop.next_turn(self._look_now)

    def _look_now(self) -> None:
        self._looks_later = False
        if not self.closed:
            self.look()

    def wake(self, key: object) -> None:
        """Have who waits for what ``key`` stands for attempt it again, as if it were ready."""
        line = self._lines.get(key)
        if line is not None and line.sleepers:
            next(iter(line.sleepers)).wake()

    def let_go(self, key: object) -> None:
        """Have nothing to do any more with what ``key`` stands for, and nobody waits for: others wait as long until the next look."""
        line = self._lines.get(key)
        if line is not None and not line.sleepers:
            self._end(line)

    def _end_deserted(self) -> None:
        deserted, self._deserted = self._deserted, []
        for line in deserted:
            if not line.sleepers and self._lines.get(line.key) is line:
                self._end(line)

    @property
    def waiting(self) -> int:
        """How many tasks of this loop stand in line for what its set waits for: also for the turn, behind others, and for a call.

        A task that waits for another of this loop to give a mutex back stands in no line, and is not counted.
        """
        return sum(len(line.sleepers) for line in self._lines.values())

    def close(self) -> None:
        """End it, with its loop."""
        self.closed = True
        self._lines.clear()
        self._by_member.clear()
        self._deserted.clear()
        self.members.close()

    def _begin(self, key: object, member: Any, *, together: bool) -> Line:
        """Have the line of that key told of a member that it does not have; a new line, if there is none."""
        self.members.add(member)
        line = self._lines.get(key) or Line(key, together=together)
        self._lines[key] = self._by_member[member] = line
        line.members[member] = None
        return line

    def _end(self, line: Line) -> None:
        del self._lines[line.key]
        for member in list(line.members):
            self._leave(line, member)

    def _leave(self, line: Line, member: Any) -> None:
        del line.members[member], self._by_member[member]
        self.members.remove(member)
