"""Whether a history is that of a sequential object: the search of Wing and Gong, as Lowe improved it.

An order of the operations explains the history if it keeps every precedence and the model gives every outcome in it. The search
builds one from the front: next comes any operation that no other one precedes. What was placed and what the model is then, the
*configuration*, is visited once. Operations that a model puts into different partitions are checked apart (Horn and Kroening).
The time grows with the number of operations, and exponentially only in how many overlap.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from underpass.lab.history import PENDING, Death, History, Operation, Raised, Task
from underpass.lab.models.model import Model
from underpass.lab.timeline import drawn

__all__ = ["NotLinearizable", "explain"]

NEVER = float("inf")
KILLED = "killed"


@dataclass(frozen=True)
class Point:
    """Something that takes effect at once, between its call and its end: an operation, the call of one that waits, a death."""

    operation: Operation
    method: str
    called: int
    ended: float
    # Points that come before it, and points that it does not come after: sets of indices, as bits.
    needs: int = 0
    bars: int = 0

    @property
    def required(self) -> bool:
        """It has happened; what is pending may have."""
        return self.ended != NEVER

    def steps(self, model: Model) -> Iterator[tuple[object, Model]]:
        """What the model gives and is next, whatever the outcome was."""
        method = getattr(model, self.method)
        return method(self.operation.who, *self.operation.arguments, **self.operation.options)

    def agrees(self, outcome: object) -> bool:
        """Say whether the outcome was that of the model."""
        was = self.operation.outcome
        if was is PENDING or self.method != self.operation.name:
            return True
        if isinstance(outcome, type) and issubclass(outcome, BaseException):
            return isinstance(was, Raised) and isinstance(was.error, outcome)
        return not isinstance(was, Raised) and bool(was == outcome)


class Configuration(NamedTuple):
    """Which points were placed, and what the model is then."""

    placed: int
    model: Model


class NotLinearizable(AssertionError):
    """No order of the operations that keeps their precedence agrees with the model.

    Attributes:
        history: All that happened.
        explained: The longest sequence of operations that does agree.
        misfit: The operation that does not fit after it.
    """

    def __init__(self, history: History, explained: list[Operation], misfit: Operation, end: Model) -> None:
        self.history: History = history
        self.explained: list[Operation] = explained
        self.misfit: Operation = misfit
        super().__init__(_text(self, end))


def explain(history: History) -> None:
    """Find an order that explains the history.

    Raises:
        NotLinearizable: There is none.
    """
    parts: dict[Hashable, list[Operation]] = {}
    for operation in history.operations:
        parts.setdefault(history.model.partition(operation), []).append(operation)
    for operations in parts.values():
        _Search(history, _points(history.model, operations, history.deaths)).run()


def _points(model: Model, operations: list[Operation], deaths: list[Death]) -> list[Point]:
    """Everything that takes effect, in the order of the calls; none precedes one that stands before it."""
    processes = {operation.who.process for operation in operations}
    killed = {death.process: death for death in deaths if death.process in processes}
    points: list[Point] = []
    happened: list[tuple[int, Operation | Death]] = [(operation.called, operation) for operation in operations]
    happened += [(death.when, death) for death in killed.values()]
    at_death: dict[int, int] = {}
    for _, what in sorted(happened, key=lambda one: one[0]):
        if isinstance(what, Death):
            at_death[what.process] = 1 << len(points)
            death = Operation(Task(what.process, 0, what.name), KILLED, (), {}, what.when, what.when)
            points.append(Point(death, KILLED, what.when, what.when))
            points.append(Point(death, "reaped", what.when, NEVER, needs=at_death[what.process]))
            continue
        ended, needs = NEVER if what.ended is None else what.ended, 0
        if hasattr(model, f"{what.name}_called"):
            needs = 1 << len(points)
            points.append(Point(what, f"{what.name}_called", what.called, ended))
        points.append(Point(what, what.name, what.called, ended, needs))
    return [
        replace(point, bars=at_death.get(point.operation.who.process, 0))
        if not point.required and point.method != "reaped"
        else point
        for point in points
    ]


@dataclass
class _Search:
    """A search from the front, depth first; every configuration with the one before it and the point between."""

    history: History
    points: list[Point]
    came_from: dict[Configuration, tuple[Configuration, Point]] = field(
        default_factory=dict[Configuration, tuple[Configuration, Point]]
    )

    def run(self) -> None:
        required = sum(1 << at for at, point in enumerate(self.points) if point.required)
        start = best = Configuration(0, self.history.model)
        visited, stack, most = {start}, [start], 0
        while stack:
            here = stack.pop()
            if here.placed & required == required:
                return
            if (explained := (here.placed & required).bit_count()) > most:
                best, most = here, explained
            # The one that ends first is tried first, and what is pending last.
            for at in sorted(self._next(here.placed), key=lambda at: -self.points[at].ended):
                point = self.points[at]
                for outcome, model in point.steps(here.model):
                    there = Configuration(here.placed | 1 << at, model)
                    if there not in visited and point.agrees(outcome):
                        visited.add(there)
                        self.came_from[there] = (here, point)
                        stack.append(there)
        self._refuse(best)

    def _next(self, placed: int) -> Iterator[int]:
        """Yield what nothing that is left precedes."""
        first_end = NEVER
        # The lowest bit that is not set.
        for at in range((~placed & (placed + 1)).bit_length() - 1, len(self.points)):
            if placed >> at & 1:
                continue
            point = self.points[at]
            if point.called > first_end:
                return
            first_end = min(first_end, point.ended)
            if placed & point.needs == point.needs and not placed & point.bars:
                yield at

    def _refuse(self, best: Configuration) -> None:
        explained: list[Operation] = []
        here = best
        while here in self.came_from:
            here, point = self.came_from[here]
            if point.method == point.operation.name != KILLED:
                explained.append(point.operation)
        # Looking ahead is done in ascending order, so what ends first is preceded by nothing that is left.
        left = (point for at, point in enumerate(self.points) if point.required and not best.placed >> at & 1)
        misfit = min(left, key=lambda point: point.ended)
        raise NotLinearizable(self.history, explained[::-1], misfit.operation, best.model)


# ── the report ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _text(error: NotLinearizable, end: Model) -> str:
    history, misfit = error.history, error.misfit
    order = {id(operation): number for number, operation in enumerate(error.explained, 1)}
    lines = [
        f"{history.name} is not linearizable: no order of its operations agrees with the model {history.model}",
        "",
        *drawn(history.operations, history.deaths, misfit, order),
        "",
        f"explained: {len(error.explained)}, in the order of the numbers; the model is then",
        f"  {end}",
        f"does not fit: {misfit.who}: {misfit} -> {misfit.answer}",
    ]
    if answers := _answers(end, misfit):
        lines.append(f"  the model gives {answers}")
    return "\n".join(lines)


def _answers(model: Model, operation: Operation) -> str:
    if operation.name == KILLED:
        return ""
    outcomes: list[Any] = [
        outcome
        for outcome, _ in getattr(model, operation.name)(operation.who, *operation.arguments, **operation.options)
    ]
    names = [outcome.__name__ if isinstance(outcome, type) else repr(outcome) for outcome in outcomes]
    return " or ".join(dict.fromkeys(names)) or "nothing: it would wait"
