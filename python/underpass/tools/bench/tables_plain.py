"""Tables for any terminal and any file: columns of text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from underpass.tools.bench.report import Table


def show(tables: Sequence[Table]) -> None:
    """Print tables to standard output."""
    for table in tables:
        print(f"\n{table.title}")
        widths = [max(map(len, column)) for column in zip(table.headings, *table.rows, strict=True)]
        for cells in chain([table.headings], table.rows):
            first, *others = (cell.ljust(width) if place == 0 else cell.rjust(width) for place, (cell, width) in enumerate(zip(cells, widths, strict=True)))
            print("  ".join([first, *others]).rstrip())
