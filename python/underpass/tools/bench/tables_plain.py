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
            name, *others = zip(cells, widths, strict=True)
            print("  ".join([name[0].ljust(name[1]), *(cell.rjust(width) for cell, width in others)]).rstrip())
