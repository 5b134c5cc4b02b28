"""The tasks of a `finish` block on trio: a nursery, and first steps in the caller's turn.

trio starts tasks in a later turn, and has no way to start one now. So `_make_first_step` does for a new task what trio's run loop
does for a task whose turn it is; it is the one place that uses what trio keeps to itself.
"""

# ruff: noqa: SLF001 - see above

import importlib
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import outcome
import trio

if TYPE_CHECKING:
    from underpass.aio.finish import Finish

_RUN: Any = importlib.import_module("trio._core._run")


class Crew:
    """The tasks of one block."""

    def __init__(self, block: "Finish") -> None:
        self._block = block
        self._manager = trio.open_nursery()

    def open(self) -> None:
        """Begin, in the task that entered the block."""
        self._nursery: trio.Nursery = _without_waiting(self._manager.__aenter__())
        self._nursery.cancel_scope.shield = self._block.shield

    def start(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        """Make a task of it, and its first step at once."""
        before = self._nursery.child_tasks
        self._nursery.start_soon(_itself, coroutine, name=name)
        (task,) = self._nursery.child_tasks - before
        _make_first_step(task)

    def cancel(self) -> None:
        """Cancel all tasks in the block, its own one included. Waits for none."""
        self._nursery.cancel_scope.cancel()

    async def close(self, error: BaseException | None) -> None:
        """Wait until all have ended. Raises what ends the task of the block itself."""
        if error is not None:
            self._block.cancel()
        ending = None if isinstance(error, Exception) else error
        leave = self._manager.__aexit__(None if ending is None else type(ending), ending, None)
        if self._nursery.child_tasks:
            absorbed = await leave
        else:
            absorbed = _without_waiting(leave)
        if ending is not None and not absorbed:
            raise ending

    def absorb(self) -> bool:
        """Say whether the cancellation that the running task has caught is that of a block around it; trio tells it again, if it has to."""
        return self._block.cancelled_by() is not None


async def _itself(coroutine: Coroutine[Any, Any, None]) -> None:
    await coroutine


def _without_waiting(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that waits for nothing, but may let others run: here it does not."""
    sent: Any = None
    while True:
        try:
            trap = coroutine.send(sent)
        except StopIteration as end:
            return end.value
        if trap is not _RUN.CancelShieldedCheckpoint:
            raise RuntimeError(f"trio {trio.__version__} waits in a nursery without tasks: {trap!r}")
        sent = outcome.Value(None)


def _make_first_step(task: Any) -> None:
    """Make the first step of a task that was just spawned, as trio's run loop does."""
    runner = _RUN.GLOBAL_RUN_CONTEXT.runner
    caller = _RUN.GLOBAL_RUN_CONTEXT.task
    runner.runq.remove(task)
    step, task._next_send_fn, task._next_send = task._next_send_fn, None, None
    _RUN.GLOBAL_RUN_CONTEXT.task = task
    try:
        trap = task.context.run(step, None)
    except StopIteration:
        runner.task_exited(task, outcome.Value(None))
        return
    except BaseException as error:  # noqa: BLE001 - the nursery raises it
        runner.task_exited(task, outcome.Error(error))
        return
    finally:
        _RUN.GLOBAL_RUN_CONTEXT.task = caller
    task._schedule_points += 1
    if type(trap) is _RUN.WaitTaskRescheduled:
        task._cancel_points += 1
        task._abort_func = trap.abort_func
        task._attempt_delivery_of_any_pending_cancel()
    elif trap is _RUN.CancelShieldedCheckpoint:
        runner.reschedule(task)
    else:
        runner.reschedule(task, TypeError(f"trio does not know how to wait for {trap!r}"))
        task._next_send_fn = task.coro.throw
