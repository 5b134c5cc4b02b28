"""A history drawn in ASCII: time goes down, a column for each task, what was called and what it gave beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from underpass.lab.history import Death, Operation, Task

__all__ = ["drawn"]

WIDTH = 100
# More than that is cut at the beginning.
MOST = 60


class _Row(NamedTuple):
    """What happens at a tick: a call, an end, both without anything between them, or a death."""

    kind: Literal["call", "end", "both", "death"]
    column: int
    text: str
    mark: str = ""


def drawn(
    operations: Sequence[Operation], deaths: Sequence[Death], misfit: Operation, order: Mapping[int, int]
) -> list[str]:
    """Draw the history up to the end of the operation that does not fit.

    ``*`` is an operation during which nothing else happened; ``+`` and ``+`` are the call and the end of one, ``x`` is the death of
    its process.

    Args:
        operations: All of them.
        deaths: The processes that were killed.
        misfit: What the drawing leads to.
        order: Which number to write beside an operation, by its identity.
    """
    tasks = list(dict.fromkeys(operation.who for operation in operations))
    width = min(12, max((len(str(task)) for task in tasks), default=0)) + 1
    rows = _rows(operations, deaths, misfit, order, tasks)
    open_columns: set[int] = set()
    lines: list[str] = []
    for row in rows:
        cells = ["|" if column in open_columns else " " for column in range(len(tasks))]
        cells[row.column] = {"call": "+", "end": "+", "both": "*", "death": "x"}[row.kind]
        (open_columns.add if row.kind == "call" else open_columns.discard)(row.column)
        left = row.mark.rjust(4) + "  " + "".join(cell.ljust(width) for cell in cells)
        room = max(20, WIDTH - len(left))
        lines.append((left + (row.text if len(row.text) <= room else row.text[: room - 3] + "...")).rstrip())
    header = " " * 6 + "".join(str(task)[: width - 1].ljust(width) for task in tasks).rstrip()
    cut = len(lines) - MOST
    return [header, *([f"      ... {cut} earlier lines", *lines[cut:]] if cut > 0 else lines)]


def _rows(
    operations: Sequence[Operation],
    deaths: Sequence[Death],
    misfit: Operation,
    order: Mapping[int, int],
    tasks: Sequence[Task],
) -> list[_Row]:
    ticks: dict[int, tuple[Operation, bool] | Death] = {death.when: death for death in deaths}
    for operation in operations:
        ticks[operation.called] = (operation, True)
        if operation.ended is not None:
            ticks[operation.ended] = (operation, False)
    rows: list[_Row] = []
    last = misfit.called if misfit.ended is None else misfit.ended
    shown = sorted(tick for tick in ticks if tick <= last)
    told: Operation | None = None
    for tick, after in zip(shown, [*shown[1:], None], strict=True):
        what = ticks[tick]
        if isinstance(what, Death):
            columns = [column for column, task in enumerate(tasks) if task.process == what.process]
            rows += [_Row("death", column, f"{what.name} is killed") for column in columns]
            continue
        operation, begins = what
        if operation is told:
            continue
        number = order.get(id(operation))
        mark = "-->" if operation is misfit else "" if number is None else f"{number}."
        column, ending = tasks.index(operation.who), f"{operation} -> {operation.answer}"
        if not begins:
            rows.append(_Row("end", column, ending, mark))
        elif after is not None and after == operation.ended:
            rows.append(_Row("both", column, ending, mark))
            told = operation
        else:
            rows.append(_Row("call", column, str(operation)))
    return rows
