"""The tasks of a `finish` block on asyncio, and uvloop: first steps in the caller's turn, and cancellation that knows blocks.

asyncio cancels tasks, and knows no blocks: here each block knows its tasks and the blocks in them. Tasks are told of a cancellation by a
callback of the loop, when none is in the middle of a step, and each once: by then it may have ended, or a verb may have told it.

Invariant: a task that was told by `Task.cancel`, and outlives the block that did so, has its `cancelling()` lowered at the block's end.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, cast

from underpass.aio.first_step import FirstStep

if TYPE_CHECKING:
    from underpass.aio.finish import Finish
    from underpass.aio.on_asyncio import Asyncio


class Crew:
    """The tasks of one block."""

    def __init__(self, place: "Asyncio", block: "Finish") -> None:
        self._place = place
        self._block = block
        self._tasks: dict[asyncio.Task[None], None] = {}
        #: The crews of blocks that were entered in this one.
        self.inner: dict[Crew, None] = {}
        #: Who knows that this block was cancelled; and of these, to whom `Task.cancel` said so.
        self.told: set[object] = set()
        self.interrupted: set[object] = set()
        self._leaving: bool = False
        self._all_ended: asyncio.Future[None] | None = None

    def open(self) -> None:
        """Begin, in the task that entered the block."""
        self._host = self._running()
        self._foreign_before = self._foreign(self._host)
        if self._block.outer is not None:
            _crew(self._block.outer).inner[self] = None

    def start(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        """Make a task of it, and its first step at once."""
        step = FirstStep(self._until_it_ends(coroutine))
        context = copy_context()
        task = asyncio.Task(step, loop=self._place.loop, name=name, context=context)
        self._tasks[task] = None
        step.make(task, context)
        around = self._block.cancelled_by()
        if around is not None and task in self._tasks:
            _crew(around).tell_soon()

    async def _until_it_ends(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._running()
        try:
            await coroutine
        except (SystemExit, KeyboardInterrupt):
            # The task raises it out of the loop, in a step of its own that is perhaps still to come: the block outlives that.
            task.add_done_callback(self._ended)
            raise
        except BaseException:
            self._ended(task)
            raise
        self._ended(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        if not self._tasks and self._all_ended is not None and not self._all_ended.done():
            self._all_ended.set_result(None)

    def cancel(self) -> None:
        """Cancel all tasks in the block, its own one included. Waits for none."""
        self.tell_soon()

    async def close(self, error: BaseException | None) -> None:
        """Wait until all have ended. Raises what ends the task of the block itself, unless errors are to be raised."""
        ours = self._block.cancel_requested
        if error is not None:
            self._block.cancel()
        self._leaving = True
        while self._tasks:
            self._all_ended = self._place.loop.create_future()
            try:
                await self._all_ended
            except asyncio.CancelledError as foreign:
                # Nobody here interrupts a task that leaves its block, but in the name of others: `cancel_again`.
                error, ours = foreign, False
                if not self._block.shield:
                    self._block.cancel()
        if self._host in self.interrupted:
            self.interrupted.discard(self._host)
            self._host.uncancel()
        if self._block.outer is not None:
            del _crew(self._block.outer).inner[self]
        if error is not None and not isinstance(error, Exception):
            self._end_by(error, ours=ours)
        else:
            self._tell_of_what_is_around()

    def _end_by(self, error: BaseException, *, ours: bool) -> None:
        """Raise what the block was left by, unless it is the block's own cancellation."""
        if not isinstance(error, asyncio.CancelledError):
            raise error
        foreign = self._foreign(self._host) > self._foreign_before
        around = None if self._block.shield or self._block.outer is None else self._block.outer.cancelled_by()
        if ours and not foreign and around is None:
            return
        if not self._block.errors:
            raise error
        # Errors are raised alone, as asyncio's groups raise them; who is still cancelled at the next wait is told again.
        if foreign:
            self._place.loop.call_soon(cancel_again, self._host, self._host.cancelling(), error.args)
        self._tell_of_what_is_around()

    def _tell_of_what_is_around(self) -> None:
        """Have the task of the block hear of what it missed while it waited at the block's end, or was behind its shield."""
        around = None if self._block.outer is None else self._block.outer.cancelled_by()
        if around is not None:
            crew = _crew(around)
            crew.told.discard(self._host)
            crew.tell_soon()

    def _foreign(self, task: asyncio.Task[Any]) -> int:
        """Count the cancellations of a task that are not of this block or of one around it."""
        count, block = task.cancelling(), cast("Finish | None", self._block)
        while block is not None:
            count -= task in _crew(block).interrupted
            block = block.outer
        return count

    def absorb(self) -> bool:
        """Say whether the cancellation that the running task has caught is that of a block around it; it is over then."""
        task, around = self._running(), self._block.cancelled_by()
        if around is None:
            return False
        crew = _crew(around)
        if self._foreign(task) > (self._foreign_before if task is self._host else 0):
            return False
        if task in crew.interrupted:
            crew.interrupted.discard(task)
            task.uncancel()
        # As on trio: it goes on, and whatever it waits for next is cancelled again.
        crew.told.discard(task)
        crew.tell_soon()
        return True

    def tell_soon(self) -> None:
        """Tell all tasks in the block that it was cancelled, as soon as none of them runs."""
        self._place.loop.call_soon(self._tell)

    def _tell(self) -> None:
        if self._block.state == "over":
            return
        for task in list(self.reached()):
            if task in self.told:
                continue
            if _is_being_cancelled(task):
                self.tell_soon()
                continue
            self.told.add(task)
            self.interrupted.add(task)
            task.cancel()

    def reached(self) -> Iterator[asyncio.Task[Any]]:
        """Go through the tasks in the block, those of inner blocks first, and who came last first."""
        for crew in reversed(self.inner):
            if not crew._block.shield:  # noqa: SLF001 - one crew of another
                yield from crew.reached()
        blocks = self._place.reactor.blocks
        for task in reversed(self._tasks):
            if blocks.get(task) is self._block:
                yield task
        if not self._leaving and blocks.get(self._host) is self._block:
            yield self._host

    def _running(self) -> asyncio.Task[Any]:
        return cast("asyncio.Task[Any]", asyncio.current_task(self._place.loop))


def tell_if_cancelled(block: "Finish | None", task: object) -> bool:
    """Say whether a block around a task was cancelled, of which the task is told hereby."""
    around = None if block is None else block.cancelled_by()
    if around is None:
        return False
    _crew(around).told.add(task)
    return True


def cancel_again(task: asyncio.Task[Any], cancelling: int, message: tuple[Any, ...]) -> None:
    """Cancel a task again that went on. In the same words: by them its author knows its own (anyio's scopes do)."""
    if not task.done() and task.cancelling() >= cancelling and not _is_being_cancelled(task):
        task.uncancel()
        task.cancel(*message)


def _is_being_cancelled(task: asyncio.Task[Any]) -> bool:
    """Say whether a cancellation is on its way into a task's next step: another one would take its message from it."""
    return cast("bool", task._must_cancel)  # type: ignore[attr-defined]  # noqa: SLF001 - the only place where that stands


def _crew(block: "Finish") -> Crew:
    return cast("Crew", block.crew)
