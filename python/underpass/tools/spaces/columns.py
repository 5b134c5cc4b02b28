"""Columns of text: aligned in a file or a pipe, drawn by rich on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import chain

__all__ = ["age", "show", "size"]

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_UNIT = 1024
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def size(count: int) -> str:
    """Say a number of bytes: ``20.1 KiB``."""
    number, unit = float(count), 0
    while number >= _UNIT and unit < len(_UNITS) - 1:
        number /= _UNIT
        unit += 1
    return f"{number:.1f} {_UNITS[unit]}" if unit else f"{count} B"


def age(seconds: float) -> str:
    """Say a time that has passed: ``0.3 s``, ``2 min 05 s``, ``3 h 20 min``."""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR:02} h"


def show(headings: Sequence[str], rows: Sequence[Sequence[str]], *, right: str, colours: Mapping[str, str]) -> None:
    """Print rows under their headings.

    Args:
        headings: One for each column.
        rows: The cells.
        right: The heading of the column of numbers, which is flush right.
        colours: What a terminal shows a cell in that starts so.
    """
    if sys.stdout.isatty():
        _draw(headings, rows, right, colours)
        return
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    for cells in chain([headings], rows):
        placed = zip(headings, cells, widths, strict=True)
        line = (cell.rjust(width) if heading == right else cell.ljust(width) for heading, cell, width in placed)
        print("  ".join(line).rstrip())


def _draw(headings: Sequence[str], rows: Sequence[Sequence[str]], right: str, colours: Mapping[str, str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right" if heading == right else "left", overflow="fold")
    for cells in rows:
        found = [next((style for start, style in colours.items() if cell.startswith(start)), "") for cell in cells]
        table.add_row(*(Text(cell, style=style) for cell, style in zip(cells, found, strict=True)))
    Console().print(table)
