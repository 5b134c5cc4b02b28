"""What happened to an object: each operation with its call, its outcome and who asked for it, in the order of one clock.

The words are those of Herlihy and Wing: an operation *precedes* another if its response comes before the other's invocation;
operations that do not precede each other overlap. An operation without a response is *pending*: its process was killed inside, or
the run ended first. It may have taken effect or not; if its process was killed then before the death or never, which Aguilera
and Frølund call strict.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from underpass.errors import MisuseError

if TYPE_CHECKING:
    from underpass.lab.models.model import Model

__all__ = ["Death", "History", "Operation", "Raised", "Recording", "Task"]


class Task(NamedTuple):
    """A thread of a process, as an operation's caller.

    Attributes:
        process: The process, by number. What dies is a process.
        thread: The thread, by number.
        name: How a report calls it.
        coroutine: Which task of its event loop calls, by number; 0: the thread itself.
    """

    process: int
    thread: int
    name: str
    coroutine: int = 0

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Raised:
    """The outcome of an operation that raised."""

    error: Exception

    def __str__(self) -> str:
        return type(self.error).__name__


class Pending:
    """The outcome of an operation that has none."""

    def __str__(self) -> str:
        return "?"


PENDING = Pending()


@dataclass
class Operation:
    """One call of a method.

    Attributes:
        who: The caller.
        name: The method.
        arguments: By position.
        options: By keyword.
        called: When it was called, on the recording's clock.
        ended: When it returned or raised; None while it is pending.
        outcome: What it returned, in a form that can be compared; or what it raised.
    """

    who: Task
    name: str
    arguments: tuple[object, ...]
    options: Mapping[str, object]
    called: int
    ended: int | None = None
    outcome: object = PENDING

    def __str__(self) -> str:
        options = (f"{name}={value!r}" for name, value in self.options.items())
        return f"{self.name.removeprefix('read_')}({', '.join([*map(repr, self.arguments), *options])})"

    @property
    def answer(self) -> str:
        """The outcome, for a report."""
        return str(self.outcome) if isinstance(self.outcome, (Raised, Pending)) else repr(self.outcome)


class Death(NamedTuple):
    """The end of a process by a kill."""

    process: int
    when: int
    name: str


@dataclass
class History:
    """All operations on one object in one run, in the order of their calls."""

    recording: Recording
    model: Model
    name: str
    operations: list[Operation] = field(default_factory=list[Operation])

    def call(self, name: str, arguments: tuple[object, ...], options: Mapping[str, object]) -> Operation:
        """Note that an operation begins."""
        recording, who = self.recording, self.caller()
        heard = recording.listens_to(who)
        operation = Operation(who, name, arguments, options, recording.tick())
        if heard:
            self.operations.append(operation)
        return operation

    def caller(self) -> Task:
        """Return who calls."""
        return self.recording.who()

    def of_tasks(self) -> History:
        """Return the same history, in which the tasks of event loops are the callers."""
        return HistoryOfTasks(self.recording, self.model, self.name, self.operations)

    def end(self, operation: Operation, outcome: object) -> None:
        """Note how an operation ended; not that of a process which is dead: its frames unwind, and nothing happens."""
        if self.recording.listens_to(operation.who):
            operation.ended, operation.outcome = self.recording.tick(), outcome

    def withdraw(self, operation: Operation) -> None:
        """Forget an operation that did nothing."""
        self.operations[:] = [other for other in self.operations if other is not operation]

    @property
    def deaths(self) -> list[Death]:
        """The processes that were killed during it."""
        return self.recording.deaths


class HistoryOfTasks(History):
    """A history as those write it who await."""

    def caller(self) -> Task:
        """Return which task of an event loop calls."""
        who, task = self.recording.who(), asyncio.current_task()
        if task is None:
            return who
        number = self.recording.number_of(task)
        return who._replace(coroutine=number, name=f"{who.name}, task {number}")


class Recording:
    """The histories of one run; whoever runs the program says who calls, who was killed, and when all is over.

    While it is entered, `underpass.lab.linearizable` records into it.

    Args:
        who: The task that runs now.
        is_dead: Whether the process of that number was killed. It is asked before anything is noted, so that a death has its place
            among the calls and ends; `killed` says the same.
    """

    _entered: ClassVar[Recording | None] = None

    def __init__(self, who: Callable[[], Task], is_dead: Callable[[int], bool] = lambda _: False) -> None:
        self.who: Callable[[], Task] = who
        self._is_dead = is_dead
        self._living: dict[int, Task] = {}
        self.histories: list[History] = []
        self.deaths: list[Death] = []
        self._tasks: dict[asyncio.Task[Any], int] = {}
        self._clock = 0
        self._over = False

    @classmethod
    def current(cls) -> Recording:
        """Return the one that is entered.

        Raises:
            MisuseError: Nobody records: this is not a program that the lab runs.
        """
        if cls._entered is None:
            raise MisuseError("linearizable(): nobody records here; call it in a program that lab.explore() runs")
        return cls._entered

    def number_of(self, task: asyncio.Task[Any]) -> int:
        """Number the tasks of event loops in the order in which they come here, from 1."""
        return self._tasks.setdefault(task, len(self._tasks) + 1)

    def tick(self) -> int:
        """Return the next number of the clock."""
        self._clock += 1
        return self._clock

    def listens_to(self, who: Task) -> bool:
        """Say whether what this task does still happens."""
        self._look_for_deaths()
        if self._over or any(death.process == who.process for death in self.deaths):
            return False
        self._living.setdefault(who.process, who)
        return True

    def _look_for_deaths(self) -> None:
        if not self._over:
            for who in [who for process, who in self._living.items() if self._is_dead(process)]:
                self._die(who)

    def _die(self, who: Task) -> None:
        self._living.pop(who.process, None)
        self.deaths.append(Death(who.process, self.tick(), who.name))

    def killed(self, who: Task) -> None:
        """Note that the process of this task was killed, before its frames unwind."""
        if self.listens_to(who):
            self._die(who)

    def over(self) -> None:
        """Note that the run has ended: what is still under way stays pending."""
        self._look_for_deaths()
        self._over = True

    def __enter__(self) -> Self:
        assert Recording._entered is None
        Recording._entered = self
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        Recording._entered = None
        self.over()

    def __iter__(self) -> Iterator[History]:
        return iter(self.histories)
