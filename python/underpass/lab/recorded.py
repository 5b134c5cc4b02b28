"""An object whose operations are noted: it does what the object does, and its history is checked when the run is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType, TracebackType
from typing import Any, Self, TypeVar, cast

from underpass.errors import EndOfStream, MisuseError
from underpass.lab.history import History, Operation, Raised, Recording
from underpass.lab.models.model import Bracket, Model
from underpass.lab.models.queues import Taken

__all__ = ["linearizable"]

T = TypeVar("T")

NOTHING: Mapping[str, object] = MappingProxyType({})
# Methods that are no operations of any model: they are done and not noted.
BESIDE = frozenset({"close", "unlink", "statistics"})


def linearizable(subject: T, model: Model) -> T:
    """Return an object to use in place of `subject`, whose operations must be those of `model` in some order.

    When the run of the program has ended, the lab looks for an order of the operations that keeps which came before which and in
    which the model gives every outcome (Wing and Gong, Lowe). An operation in which a process was killed may have happened before
    the death, or never. What the model does not know is refused; ``close``, ``unlink`` and ``statistics`` are not noted.
    What coroutines await of its ``aio`` is noted too, as done by the task that awaits; one that is cancelled has done nothing.

    Args:
        subject: Any object of underpass, or of your own: a proxy of a service, say.
        model: What it is at the beginning, a `underpass.lab.models.Model`.

    Raises:
        MisuseError: Not within a program that the lab runs.

    Example:
        >>> from underpass import Semaphore, lab
        >>> def visit(seats):
        ...     with seats.holding():
        ...         pass
        >>> def program(world):
        ...     seats = lab.linearizable(Semaphore(1), lab.models.Semaphore(1))
        ...     world.process(visit, seats)
        ...     world.process(visit, seats)
        >>> lab.explore(program, schedules=50, seed=1).schedules
        50
    """
    recording = Recording.current()
    history = History(recording, model, _called(subject))
    recording.histories.append(history)
    return cast("T", Recorded(subject, history))


def _called(subject: object) -> str:
    name = getattr(subject, "name", None)
    return f"{type(subject).__name__} {name!r}" if isinstance(name, str) else type(subject).__name__


def _rejoin(subject: object, number: int) -> Recorded:
    return Recorded(subject, Recording.current().histories[number])


def _plain(argument: object) -> object:
    """Return what the argument is now: a buffer may change later."""
    return bytes(cast("bytes", argument)) if isinstance(argument, (bytearray, memoryview)) else argument


class Recorded:
    """Stands for the object."""

    def __init__(self, subject: Any, history: History) -> None:
        self._subject = subject
        self._history = history

    def __reduce__(self) -> tuple[object, ...]:
        """A handle that crosses to another process goes on in the same history."""
        return _rejoin, (self._subject, self._history.recording.histories.index(self._history))

    def __getattr__(self, name: str) -> Any:
        history, model = self._history, type(self._history.model)
        if name == "aio":
            from underpass.lab.recorded_awaits import RecordedFace

            return RecordedFace(self, self._subject.aio, history)
        if name in model.brackets:
            return self._block(name)
        if callable(getattr(model, name, None)) and not hasattr(Model, name):
            return self._method(name)
        if hasattr(model, f"read_{name}"):
            return _noted(history, f"read_{name}", lambda: getattr(self._subject, name))
        found = getattr(self._subject, name)
        if callable(found) and name not in BESIDE:
            raise MisuseError(
                f"{history.name}: the model {model.__name__} has no method {name!r}; add it, or use the object without linearizable()"
            )
        return found

    def _method(self, name: str) -> Callable[..., Any]:
        operation = getattr(self._subject, name)
        leases = name in self._history.model.leasing

        def note(*arguments: Any, **options: Any) -> Any:
            result = _noted(self._history, name, lambda: operation(*arguments, **options), arguments, options)
            return RecordedLease(result, self._history) if leases else result

        return note

    def _block(self, name: str) -> Callable[..., Any]:
        def begin(**options: Any) -> _Block:
            block = getattr(self._subject, name)(**options)
            return _Block(self._history, type(self._history.model).brackets[name], block, options)

        return begin

    def __enter__(self) -> Any:
        bracket = type(self._history.model).brackets[""]
        _noted(self._history, bracket.begin, self._subject.__enter__, seen=bracket.gave)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> Any:
        bracket = type(self._history.model).brackets[""]
        end = bracket.end if kind is None else bracket.broken
        return _noted(self._history, end, lambda: self._subject.__exit__(kind, error, tb))

    def __iter__(self) -> Iterator[Any]:
        """What a queue's iterator does: get until the end."""
        while True:
            try:
                item = self.get()
            except EndOfStream:
                return
            yield item


class RecordedLease:
    """Stands for a lease; the data are in ``value``."""

    def __init__(self, lease: Any, history: History) -> None:
        self._lease = lease
        self._history = history
        self._taken = Taken(bytes(lease.value), lease.deliveries)
        self._settled = False

    def done(self) -> None:
        """What a lease's ``done`` does."""
        _noted(self._history, "done", self._lease.done, (self._taken,))
        self._settled = True

    def put_back(self, *, front: bool = True) -> None:
        """What a lease's ``put_back`` does."""
        put_back = self._lease.put_back
        _noted(self._history, "put_back", lambda: put_back(front=front), (self._taken,), {"front": front})
        self._settled = True

    def __enter__(self) -> Self:
        self._lease.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> Any:
        if self._settled:
            return self._lease.__exit__(kind, error, tb)
        end = "done" if kind is None else "put_back"
        return _noted(self._history, end, lambda: self._lease.__exit__(kind, error, tb), (self._taken,))

    def __bytes__(self) -> bytes:
        return bytes(self._lease.value)

    def __len__(self) -> int:
        return len(self._lease)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lease, name)


class _Block:
    """Stands for a context manager: its begin and its end are operations."""

    def __init__(
        self, history: History, bracket: Bracket, block: AbstractContextManager[Any, Any], options: dict[str, Any]
    ) -> None:
        self._history, self._bracket, self._block, self._options = history, bracket, block, options

    def __enter__(self) -> Any:
        bracket = self._bracket
        return _noted(self._history, bracket.begin, self._block.__enter__, options=self._options, seen=bracket.gave)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> Any:
        end = self._bracket.end if kind is None else self._bracket.broken
        return _noted(self._history, end, lambda: self._block.__exit__(kind, error, tb))


def begun(history: History, name: str, arguments: tuple[object, ...], options: Mapping[str, object]) -> Operation:
    """Note the call of an operation."""
    return history.call(name, tuple(_plain(argument) for argument in arguments), options)


def ended(history: History, operation: Operation, error: Exception) -> None:
    """Note that an operation has raised."""
    if getattr(error, "refused_by_lab", False):
        # It did nothing, and no model knows that the lab can do that.
        history.withdraw(operation)
    else:
        history.end(operation, Raised(error))


def _noted(  # noqa: PLR0913 - an operation has so many parts
    history: History,
    name: str,
    do: Callable[[], Any],
    arguments: tuple[object, ...] = (),
    options: Mapping[str, object] = NOTHING,
    *,
    seen: Callable[[Any], object] | None = None,
) -> Any:
    """Do it, and note its call and its end; one that a kill ends stays pending."""
    operation = begun(history, name, arguments, options)
    try:
        result = do()
    except Exception as error:
        ended(history, operation, error)
        raise
    history.end(operation, seen(result) if seen else history.model.seen(name, result))
    return result
