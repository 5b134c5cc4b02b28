"""The first step of a call, made in the turn of who starts it. asyncio has such tasks from Python 3.12 on."""

# ruff: noqa: SLF001 - what asyncio has for those who run its tasks is named like this

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any


class FirstStep(Coroutine[Any, Any, None]):
    """A coroutine whose task has not run yet, and which has come to its first wait, or its end, all the same.

    The task is there before the step, and is the running task within it, so that whatever asks for the running task (deadlines, locks) gets
    the right one. When the task's own first step comes, it is given what this one came to: the future to wait for, or the end. A future
    that is done by then wakes it as any other; a cancellation in between is thrown in where the coroutine waits.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._coroutine = coroutine
        self._held = False
        self._awaited: Any = None
        self._ended: BaseException | None = None

    def make(self, task: asyncio.Task[Any], context: Context) -> None:
        """Make the step."""
        loop = task.get_loop()
        tasks: Any = asyncio.tasks
        caller = asyncio.current_task(loop)
        if caller is not None:
            tasks._leave_task(loop, caller)
        tasks._enter_task(loop, task)
        try:
            self._awaited = context.run(self._coroutine.send, None)
        except BaseException as ended:  # noqa: BLE001 - the task's own step raises it
            self._ended = ended
        finally:
            self._held = True
            tasks._leave_task(loop, task)
            if caller is not None:
                tasks._enter_task(loop, caller)

    def send(self, value: Any, /) -> Any:
        """Hand over what the first step came to; go on, from then on."""
        if not self._held:
            return self._coroutine.send(value)
        self._held = False
        if self._ended is not None:
            ended, self._ended = self._ended, None
            raise ended
        awaited, self._awaited = self._awaited, None
        return awaited

    def throw(self, kind: Any, value: Any = None, _trace: Any = None, /) -> Any:
        """Throw into the coroutine; one that has ended in its first step has ended."""
        if self._held and self._ended is not None:
            return self.send(None)
        if self._held:
            self._held = False
            if self._awaited is not None:
                # Nobody waits for it any more: it is as before its `__await__`. (None is a turn of the loop.)
                self._awaited._asyncio_future_blocking = False
            self._awaited = None
        error = kind if value is None else value
        return self._coroutine.throw(error if isinstance(error, BaseException) else kind())

    def close(self) -> None:
        """End the coroutine."""
        self._coroutine.close()

    def __await__(self) -> Any:
        raise TypeError("only a task runs this")

    def __getattr__(self, name: str) -> Any:
        # cr_frame, cr_await and the like: for whoever prints where a task stands.
        return getattr(self._coroutine, name)
