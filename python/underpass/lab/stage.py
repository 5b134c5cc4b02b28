"""One schedule after another: greenlets on a lab kernel."""

from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from functools import partial
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, final

import greenlet

from underpass._core import Lab
from underpass.errors import MisuseError
from underpass.lab.actors import Actors
from underpass.lab.history import Recording
from underpass.lab.history import Task as Caller
from underpass.lab.linearization import NotLinearizable, explain
from underpass.lab.lines import Lines
from underpass.lab.program import Cast, Check, Task, World
from underpass.lab.verdict import Verdict

if TYPE_CHECKING:
    from underpass.lab.awaiting import Await, Loops

T = TypeVar("T")
Program = Callable[[World], object]

HOST = Caller(-1, -1, "program")


def checked(checks: list[Check], when: str) -> Verdict | None:
    """Make checks of the program's; what the first one that fails says."""
    for check in checks:
        try:
            if check() is False:
                return Verdict.broken(when, f"{getattr(check, '__name__', 'the check')} returned False")
        except Exception as error:  # noqa: BLE001 - told as the failure that it is
            return Verdict.raised(when, error)
    return None


def title(kind: str, file: str) -> str:
    """Return what an object is called."""
    return f"{kind.lower()} {file}" if file.startswith("@") else f"{kind.lower()} '{file}'"


@final
class Stage:
    """Where a program's schedules run: the same program, a new world each time."""

    #: The one on which a schedule runs.
    _entered: "ClassVar[Stage | None]" = None

    def __init__(self, lab: Lab, program: Program, *, lines: bool = False) -> None:
        self.lab: Lab = lab
        self._by_lines = lines
        self._lines: Lines | None = None
        self._program = program
        self._actors: Actors = Actors()
        self.cast: Cast = Cast()
        self._verdict: Verdict | None = None
        self._interrupt: KeyboardInterrupt | None = None
        #: Made when a process begins to await.
        self.loops: Loops | None = None
        #: Whether one has.
        self.awaited: bool = False
        self.watch: Callable[[int, str, int | None], None] | None = None
        #: Is told of each cancellation: the thread, and what the task waited for.
        self.cancelled: Callable[[int, Await], object] | None = None

    def on(self, lab: Lab) -> "Stage":
        """Return a stage of the same program on another lab, played by the same greenlets."""
        stage = Stage(lab, self._program, lines=self._by_lines)
        stage._actors = self._actors
        return stage

    def run(self, judge: Callable[["Stage", str], Verdict | None]) -> Verdict | None:
        """Run one schedule; ``judge`` looks at its end. The lab has begun it."""
        lab = self.lab
        self._verdict = None
        self.awaited = False
        self.cast = Cast()
        self._lines = Lines(lab, self.cast, self._fail) if self._by_lines else None
        before, Stage._entered = Stage._entered, self
        with lab, Recording(self._caller, lab.is_dead) as recording, self._lines or nullcontext():
            try:
                self._program(World(lab, self.cast, self._start))
                if self.cast.always or self.watch is not None or self._lines is not None:
                    lab.observer = self._observe
                self._play()
                recording.over()
                if self._interrupt is not None:
                    raise self._interrupt
                end = lab.end(self._verdict is not None)
                verdict = self._verdict or judge(self, end) or self._linearized(recording)
                if verdict is None and end == "done":
                    verdict = checked(self.cast.at_end, "at the end")
            finally:
                lab.observer = None
                Stage._entered = before
                self._unwind()
        return verdict

    @classmethod
    def current(cls) -> "Stage":
        """Return the one on which a schedule runs.

        Raises:
            MisuseError: None does.
        """
        if cls._entered is None:
            raise MisuseError(
                "lab.run() runs a coroutine in a process of a program that the lab explores; elsewhere asyncio.run() does"
            )
        return cls._entered

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on an event loop of the process that calls."""
        if self.loops is None:
            from underpass.lab.awaiting import Loops

            self.loops = Loops(self.lab, self.name, self._fail)
            self.loops.cancelled = self.cancelled
            self.awaited = True
        return self.loops.run(coroutine)

    def replay(self, judge: Callable[["Stage", str], Verdict | None]) -> Verdict | None:
        """Run the one schedule of a lab that follows a token."""
        self.lab.begin(greenlet.getcurrent().switch)
        return self.run(judge)

    def name(self, task: int) -> str:
        """Return what a task's process is called."""
        return self.cast.tasks[task].process.name

    def title(self, about: int) -> str:
        """Return what an object is called, by its place among all."""
        return title(*self.lab.objects[about])

    def kind(self, about: int | None) -> str:
        """Return what kind of object that is; empty for none."""
        return self.lab.objects[about][0] if about is not None else ""

    def awaits(self, task: int) -> "list[Await]":
        """Return what the coroutines of a task wait for whose event loop sleeps; nothing: it has none."""
        return [] if self.loops is None else self.loops.awaits(task)

    def is_awaiting(self, task: int) -> bool:
        """Say whether a task runs an event loop."""
        return self.loops is not None and self.loops.runs(task)

    def is_servant(self, task: int) -> bool:
        """Say whether the end need not wait for it."""
        return self.cast.tasks[task].process.servant

    def _caller(self) -> Caller:
        """Who does what is done now."""
        task = self.lab.running
        if task is None:
            return HOST
        process = self.cast.tasks[task].process
        return Caller(process.number, task, process.name)

    def _linearized(self, recording: Recording) -> Verdict | None:
        for history in recording:
            try:
                explain(history)
            except NotLinearizable as error:
                return Verdict.disordered(error)
        return None

    def _play(self) -> None:
        lab, actors = self.lab, self._actors
        while (task := lab.advance()) is not None:
            actors[task].switch()

    def _start(self, task: Task) -> None:
        number = len(self.cast.tasks)
        actor = self._actors.cast(number, partial(self._act, number, task))
        self.lab.add_task(task.process.number, actor.switch)
        self.cast.tasks.append(task)

    def _act(self, number: int, task: Task) -> None:
        if self._lines is not None:
            self._lines.begin(task.function)
        try:
            outcome = task.function(*task.args, **task.kwargs)
            if iscoroutine(outcome):
                self.wait_for(outcome)
        except greenlet.GreenletExit:
            return
        except KeyboardInterrupt as error:
            self._interrupt = error
            self.lab.fail()
        except BaseException as error:  # noqa: BLE001 - told as the failure that it is
            self._fail(Verdict.raised(task.process.name, error))
        if self._lines is not None:
            self._lines.look(number)
        if self.watch is not None:
            self.lab.set_running(None)
            self.watch(number, "end", None)
            self.lab.set_running(number)
        self.lab.finish(number)

    def _fail(self, verdict: Verdict) -> None:
        # While what is left unwinds, nothing is news.
        if self._verdict is None:
            self._verdict = verdict
        self.lab.fail()

    def _observe(self, task: int, point: str, about: int | None) -> None:
        if self._lines is not None:
            self._lines.look(task)
        if self.watch is not None:
            self.watch(task, point, about)
        verdict = checked(self.cast.always, "always")
        if self._lines is not None:
            self._lines.forgive()
        if verdict is not None:
            self._fail(verdict)

    def _unwind(self) -> None:
        """End everybody who is left; what they do now, nobody sees."""
        if self._lines is not None:
            self._lines.stop()
        loops, self.loops = self.loops, None
        with nullcontext() if loops is None else loops.unwinding():
            for number, actor in self._actors.playing():
                self.lab.set_running(number)
                actor.throw()
        self.lab.set_running(None)
        self._actors.dismiss()


def run(coroutine: Coroutine[Any, Any, T], /) -> T:
    """Run a coroutine in a process of the lab, as `asyncio.run` does: for one that awaits in the middle of what blocks.

    A process whose function is an ``async def`` needs none: ``world.process(function)`` runs it so. The loop is asyncio's, its clock is
    the lab's, and where it would sleep others go on, time-outs fire and processes die. It has no descriptors, signals, child processes
    or threads of the system.

    Raises:
        MisuseError: Not within a program that the lab runs.

    Example:
        >>> import underpass
        >>> from underpass import lab
        >>> def take(jobs):
        ...     assert lab.run(jobs.aio.get()) == b"job"
        >>> def program(world):
        ...     jobs = underpass.Queue()
        ...     world.process(take, jobs)
        ...     world.process(jobs.put, b"job")
        >>> lab.explore(program, schedules=50, seed=1).schedules
        50
    """
    try:
        stage = Stage.current()
    except MisuseError:
        coroutine.close()
        raise
    return stage.wait_for(coroutine)
