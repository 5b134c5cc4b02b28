"""Tables for a terminal, drawn by rich."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table as Drawn
from rich.text import Text

from underpass.tools.bench.report import Table

_COLOURS = {"met": "green", "met, aim too": "bold green", "missed": "bold red", "not measured": "yellow"}


def show(tables: Sequence[Table]) -> None:
    """Print tables to standard output."""
    console = Console()
    for table in tables:
        drawn = Drawn(title=table.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
        for place, heading in enumerate(table.headings):
            drawn.add_column(heading, justify="right" if place else "left")
        for cells in table.rows:
            drawn.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in cells))
        console.print(drawn)
