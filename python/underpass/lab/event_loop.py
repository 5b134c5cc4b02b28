"""The event loop of a simulated process: asyncio's own, which sleeps in the lab and goes by its clock.

A loop asks its selector for what is ready, and how long it may sleep; here the selector is the `WaitSet` of the loop's reactor, and so
what a loop sleeps in is a wait of the lab's kernel, where others go on, time-outs fire and processes die.
"""

# ruff: noqa: SLF001 - what asyncio has for those who make loops is named like this

import asyncio
import sys
from asyncio import events
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Any, final

import greenlet

from underpass._core import Lab
from underpass.aio.on_asyncio import Ear
from underpass.aio.reactor import Reactor
from underpass.errors import MisuseError, TimedOut, UnderpassError
from underpass.waiting import WaitSet

# Turns of a loop in which nothing happens that others could see, before there is a scheduling point all the same: one that goes round
# for ever is then a livelock that is told.
QUIET = 16
# Awaits on its way out at which a coroutine of the dead is ended, at most.
STUBBORN = 1_000


@final
class Sleep:
    """The selector of a loop."""

    def __init__(self, lab: Lab, loop: "EventLoop") -> None:
        self._lab, self._loop = lab, loop
        self._alone: WaitSet = WaitSet()
        self._quiet: int = 0
        self._alarm: float | None = None
        self.ear: Ear | None = None
        self.heard: events.Handle | None = None
        #: Whose ear it is.
        self.reactor: Reactor | None = None
        #: The process sleeps here, and not in a verb that blocks.
        self.asleep: bool = False

    def select(self, timeout: float | None = None) -> list[events.Handle]:
        """Sleep until something is ready, at most so long; who is told of it."""
        if self._loop.dead or self._loop.is_over():
            raise greenlet.GreenletExit
        members = self._alone if self.ear is None else self.ear.members
        if timeout is not None and timeout <= 0:
            self._set_alarm(self._loop.due())
            return self._glance(members)
        self._set_alarm(None)
        self._quiet = 0
        self.asleep = True
        # A member whose object is not to be waited for any more is told to the tasks, by a look.
        with suppress(TimedOut, UnderpassError):
            members.wait(timeout=timeout)
        self.asleep = False
        return [self.heard] if self.heard is not None else []

    def _set_alarm(self, time: float | None) -> None:
        """Have time pass while tasks run, too: what is due may come at any point."""
        if time != self._alarm:
            self._alarm = time
            self._lab.set_alarm(None if time is None else round(time * 1e9))

    def _glance(self, members: WaitSet) -> list[events.Handle]:
        """Have what is ready seen while tasks have something to do: a look at an object is a scheduling point of its own."""
        if self.heard is not None and len(members) > 0:
            return [self.heard]
        self._quiet += 1
        if self._alarm is not None or self._quiet > QUIET:
            self._quiet = 0
            self._lab.step()
        return []

    def close(self) -> None:
        """End it."""
        self._set_alarm(None)
        self._alone.close()


def _refused(what: str) -> Any:
    def refuse(*_: object, **__: object) -> None:
        raise MisuseError(
            f"loop.{what}: the lab's event loops have no descriptors, signals, children or threads of the system; share by objects, and "
            "start threads of a process with world.thread"
        )

    return refuse


class Task(asyncio.Task[Any]):
    """A task whose place in a set does not depend on its address: asyncio keeps tasks in sets, and a schedule is followed again."""

    def __init__(self, coroutine: Any, *, loop: "EventLoop", **others: Any) -> None:
        self._of: EventLoop = loop
        self.number: int = next(loop.numbers)
        super().__init__(coroutine, loop=loop, **others)

    def cancel(self, msg: Any = None) -> bool:
        """Cancel it; whoever writes the schedule down is told."""
        self._of.tell_cancelled(self)
        return super().cancel(msg)

    def set_name(self, value: object, /) -> None:
        """Call it so. Python 3.13.0 calls what has no name None, if another than the loop has made it."""
        if value is not None:
            super().set_name(value)

    def __hash__(self) -> int:
        return self.number


class Future(asyncio.Future[Any]):
    """What a task waits for. Its place in a set does not depend on its address, either."""

    def __init__(self, *, loop: "EventLoop") -> None:
        self._of: EventLoop = loop
        self.number: int = next(loop.numbers)
        super().__init__(loop=loop)

    def cancel(self, msg: Any = None) -> bool:
        """Cancel it, and so who waits for it: the tasks of `finish` blocks are asyncio's own, and tell of it by nothing else."""
        for task in self._of.awaiting():
            if not isinstance(task, Task) and _waits_for(task, self):
                self._of.tell_cancelled(task, once=True)
        return super().cancel(msg)

    def __hash__(self) -> int:
        return self.number


def _waits_for(task: Any, future: Future) -> bool:
    return getattr(task, "_fut_waiter", None) is future


def _unwind(coroutine: Any) -> None:
    """End a coroutine wherever it awaits, also on its way out. Not by `close`, which leaves what awaits on its way out behind."""
    for _ in range(STUBBORN):
        try:
            coroutine.throw(greenlet.GreenletExit())
        except BaseException:  # noqa: BLE001 - nobody sees it
            return


def _task(loop: Any, coroutine: Any, **others: Any) -> Task:
    return Task(coroutine, loop=loop, **others)


@final
class EventLoop(asyncio.BaseEventLoop):
    """A loop of asyncio's in a process of the lab."""

    def __init__(
        self,
        lab: Lab,
        is_over: Callable[[], bool],
        tell: Callable[[dict[str, Any]], object],
        cancelled: Callable[["EventLoop", asyncio.Task[Any]], object],
    ) -> None:
        super().__init__()
        self._lab, self._tell, self._cancelled = lab, tell, cancelled
        #: Whether all that is left of the schedule unwinds.
        self.is_over: Callable[[], bool] = is_over
        #: Its process was killed, or the whole exploration interrupted.
        self.dead: bool = False
        self.sleep: Sleep = Sleep(lab, self)
        self._selector = self.sleep
        self.numbers: Iterator[int] = count()
        self.set_task_factory(_task)

    def time(self) -> float:
        """Return the seconds of the lab's clock."""
        return self._lab.now / 1e9

    def run_forever(self) -> None:
        """Run until it is stopped, or its process dies."""
        try:
            super().run_forever()
        except (greenlet.GreenletExit, KeyboardInterrupt):
            self.dead = True
            raise

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Fail the schedule by what asyncio would only log; what the dead leave behind is no news."""
        if self.dead or self.is_over():
            return
        if self.get_exception_handler() is not None:
            super().call_exception_handler(context)
        else:
            self._tell(context)

    def abandon(self) -> None:
        """Let go of everything, as the end of a process does: nobody sees what its coroutines do now."""
        if self.is_closed():
            return
        self.dead = True
        for task in asyncio.all_tasks(self):
            _unwind(task.get_coro())
        self.close()

    def close(self) -> None:
        """End it."""
        if self.sleep.ear is not None:
            self.sleep.ear.members.close()
        self.sleep.close()
        super().close()

    def tell_cancelled(self, task: asyncio.Task[Any], *, once: bool = False) -> None:
        """Have it known that a task is cancelled, if that is news to it; ``once``: this one is counted already."""
        if not (self.dead or self.is_over() or task.done() or task.cancelling() > once):
            self._cancelled(self, task)

    def due(self) -> float | None:
        """When the first of its timers is; None: it has none that is not over."""
        self._scheduled: Any
        when = self._scheduled[0].when() if self._scheduled else None
        return when if when is not None and when > self.time() else None

    def awaiting(self) -> Iterator[asyncio.Task[Any]]:
        """Go through the tasks that wait: those of `finish` blocks by name after all others, which are in the order of their making."""
        waiting = (task for task in asyncio.all_tasks(self) if getattr(task, "_fut_waiter", None) is not None)
        last = sys.maxsize
        yield from sorted(waiting, key=lambda task: (getattr(task, "number", last), task.get_name()))

    # ── what asyncio asks of a loop ─────────────────────────────────────────────────────────────────────────────────────────

    def create_future(self) -> Any:
        """Make what a task waits for."""
        return Future(loop=self)

    def add_reader(self, fd: Any, callback: Callable[..., object], *args: object) -> None:
        """Listen to the members of a reactor: nothing else can be read here."""
        if not isinstance(fd, Ear):
            _refused("add_reader")()
        self.sleep.ear = fd
        self.sleep.heard = events.Handle(callback, args, self, None)
        self.sleep.reactor = getattr(callback, "__self__", None)

    def remove_reader(self, fd: Any) -> bool:
        """Listen no more."""
        there = self.sleep.ear is fd and fd is not None
        if there:
            self.sleep.ear = self.sleep.heard = self.sleep.reactor = None
        return there

    def _process_events(self, event_list: list[events.Handle]) -> None:
        self._ready: Any
        self._ready.extend(event_list)

    def _write_to_self(self) -> None:
        # Where another thread of the system would wake it. The calls of its own are in its queue by now.
        if events._get_running_loop() is not self:
            _refused("call_soon_threadsafe")()

    def _asyncgen_finalizer_hook(self, agen: Any) -> None:
        self._asyncgens: Any
        self._asyncgens.discard(agen)
        if not self.is_closed():
            self.call_soon(self.create_task, agen.aclose())

    add_writer: Any = _refused("add_writer")
    add_signal_handler: Any = _refused("add_signal_handler")
    connect_read_pipe: Any = _refused("connect_read_pipe")
    connect_write_pipe: Any = _refused("connect_write_pipe")
    create_connection: Any = _refused("create_connection")
    create_datagram_endpoint: Any = _refused("create_datagram_endpoint")
    create_server: Any = _refused("create_server")
    create_unix_connection: Any = _refused("create_unix_connection")
    create_unix_server: Any = _refused("create_unix_server")
    run_in_executor: Any = _refused("run_in_executor")
    sock_accept: Any = _refused("sock_accept")
    sock_connect: Any = _refused("sock_connect")
    sock_recv: Any = _refused("sock_recv")
    sock_sendall: Any = _refused("sock_sendall")
    subprocess_exec: Any = _refused("subprocess_exec")
    subprocess_shell: Any = _refused("subprocess_shell")
