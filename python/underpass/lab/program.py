"""What a program for the lab sees: a world in which it starts processes."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, final

from underpass.errors import MisuseError

Check = Callable[[], object]
"""Raises, or returns False, where something is wrong."""


@final
@dataclass(frozen=True, slots=True)
class Process:
    """A simulated process."""

    number: int
    name: str
    servant: bool = False


@dataclass(slots=True)
class Task:
    """A thread of a simulated process: what it runs."""

    process: Process
    function: Callable[..., object]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(slots=True)
class Cast:
    """Everybody in a program, and what has to hold."""

    processes: list[Process] = field(default_factory=list[Process])
    tasks: list[Task] = field(default_factory=list[Task])
    always: list[Check] = field(default_factory=list[Check])
    at_end: list[Check] = field(default_factory=list[Check])
    #: One has killed or stopped another.
    ordered: bool = False


class Machine(Protocol):
    """Where a program's processes run: the lab, or Linux."""

    def add_process(self, mortal: bool, servant: bool, /) -> int: ...  # noqa: D102, FBT001 - those of the lab
    def join(self, task: int, /) -> None: ...  # noqa: D102
    def order(self, what: str, process: int, /) -> None: ...  # noqa: D102
    def step(self) -> None: ...  # noqa: D102
    def pick(self, count: int, /) -> int: ...  # noqa: D102
    def is_left(self, task: int, /) -> bool: ...  # noqa: D102
    @property
    def sleepers(self) -> list[tuple[int, bool]]: ...  # noqa: D102
    @property
    def running(self) -> int | None: ...  # noqa: D102
    @property
    def now(self) -> int: ...  # noqa: D102
    @property
    def pid(self) -> int: ...  # noqa: D102


@final
class World:
    """What a program is given: `process` starts one, and the lab decides who runs when, and who dies.

    What the program does itself, before it returns, is set up: nobody else runs, and nothing may wait.
    """

    def __init__(self, lab: Machine, cast: Cast, start: Callable[[Task], None]) -> None:
        self._lab, self._cast, self._start = lab, cast, start

    def process(  # noqa: D417 - args and kwargs are the function's
        self,
        function: Callable[..., object],
        *args: object,
        mortal: bool = True,
        servant: bool = False,
        name: str | None = None,
        **kwargs: object,
    ) -> Process:
        """Start a process that calls ``function(*args, **kwargs)``: in the program itself, or in one of its processes.

        An ``async def``, or whatever returns a coroutine, runs on an event loop of asyncio's that sleeps in the lab.

        Arguments are pickled and unpickled, as on their way to a real process: objects arrive as handles of their own. What the
        function closes over is shared, as after a fork, and must not be changed: with ``lines`` a change that another process sees is
        told. A port is made in the process that receives there; others open a gate to it by name, or are handed one.

        Args:
            function: What it runs. What it raises fails the schedule.
            mortal: It may be killed, where the exploration has ``kills``.
            servant: It may be left asleep at the end, as a server that waits for more.
            name: What reports call it; the function's name, with a number where that is taken.
        """
        cast = self._cast
        called = name or getattr(function, "__name__", "process")
        taken = {process.name for process in cast.processes}
        number = 2
        unique = called
        while unique in taken:
            unique = f"{called}-{number}"
            number += 1
        process = Process(self._lab.add_process(mortal, servant), unique, servant)
        cast.processes.append(process)
        self._start(Task(process, function, *_crossed(args, kwargs)))
        return process

    def thread(self, process: Process, function: Callable[..., object], *args: object, **kwargs: object) -> None:
        """Start another thread of a process: it shares the arguments as they are, and dies with the process."""
        self._start(Task(process, function, args, kwargs))

    def join(self, process: Process) -> None:
        """Wait until every thread of a process has ended, by itself or by a death: for one process that waits for another."""
        for number, task in enumerate(self._cast.tasks):
            if task.process == process:
                self._lab.join(number)

    def kill(self, process: Process) -> None:
        """Kill a process, as SIGKILL does, wherever it is: a death that a process of the program brings about, in every schedule.

        Those that the exploration tries (``kills``) come beside it. To one that has ended it does nothing.

        Raises:
            MisuseError: The program itself does it, which runs before all processes.

        Example:
            >>> import underpass
            >>> from underpass import lab
            >>> def program(world):
            ...     jobs, taken = underpass.Queue(), underpass.Event()
            ...     jobs.put(b"job")
            ...     def take():
            ...         lease = jobs.take()
            ...         taken.set()
            ...         jobs.join()
            ...     taker = world.process(take)
            ...     def other():
            ...         taken.wait()
            ...         world.kill(taker)
            ...         assert jobs.get() == b"job"
            ...     world.process(other)
            >>> lab.explore(program, schedules=50, seed=1).schedules
            50
        """
        self._order("kill", process)

    def stop(self, process: Process) -> None:
        """Stop a process, as SIGSTOP does, until `resume`: what is done to it meanwhile it finds then.

        Raises:
            MisuseError: The program itself does it, which runs before all processes.
        """
        self._order("stop", process)

    def resume(self, process: Process) -> None:
        """Let a process go on that `stop` has stopped, as SIGCONT does.

        Raises:
            MisuseError: The program itself does it, which runs before all processes.
        """
        self._order("resume", process)

    def _order(self, what: str, process: Process) -> None:
        if self._lab.running is None:
            raise MisuseError(
                f"world.{what} is for the processes of a program: while it is set up none of them has begun"
            )
        self._cast.ordered = True
        self._lab.order(what, process.number)

    def step(self) -> None:
        """Let others go on: a scheduling point of the program's own, for loops that wait for what no object tells."""
        self._lab.step()

    def asleep(self, process: Process) -> bool:
        """Say whether every thread of a process that has not ended sleeps, and nobody has woken it."""
        sleeping = {number for number, _ in self._lab.sleepers}
        left = [
            number
            for number, task in enumerate(self._cast.tasks)
            if task.process == process and self._lab.is_left(number)
        ]
        return bool(left) and sleeping.issuperset(left)

    def ended(self, process: Process) -> bool:
        """Say whether every thread of a process has ended, by itself or by a death."""
        return not any(
            task.process == process and self._lab.is_left(number) for number, task in enumerate(self._cast.tasks)
        )

    @property
    def now(self) -> float:
        """The lab's clock, in seconds: it stands still until a time-out fires."""
        return self._lab.now / 1e9

    @property
    def pid(self) -> int:
        """The pid of the process that runs, as the objects know it: 1 is the program itself, 2 its first process."""
        return self._lab.pid

    def invariant(self, *, always: Check) -> None:
        """Have a check made at every scheduling point: it fails the schedule if it raises or returns False."""
        self._set_up("invariant")
        self._cast.always.append(always)

    def at_end(self, check: Check) -> None:
        """Have a check made when everybody has ended: it fails the schedule if it raises or returns False."""
        self._set_up("at_end")
        self._cast.at_end.append(check)

    def choose(self, count: int) -> int:
        """Return a number below ``count``: the exploration tries them all, like every other choice."""
        if count < 1:
            raise ValueError(f"choose({count}): there is nothing to choose from")
        return self._lab.pick(count) if count > 1 else 0

    def _set_up(self, what: str) -> None:
        if self._lab.running is not None:
            raise MisuseError(
                f"world.{what} is for setting up: call it in the program itself, not in one of its processes"
            )


_PLAIN = (int, str, bytes, bool, float, type(None))


def _crossed(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Encode and decode, as on the way to another process."""
    if not kwargs and all(type(value) in _PLAIN for value in args):
        return args, kwargs
    try:
        encoded = pickle.dumps((args, kwargs), 5)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(
            f"world.process: an argument cannot go to another process: {error}; pass what pickle takes: functions and classes of a "
            "module, numbers, texts, handles"
        ) from error
    crossed: tuple[tuple[Any, ...], dict[str, Any]] = pickle.loads(encoded)  # noqa: S301 - our own
    return crossed
