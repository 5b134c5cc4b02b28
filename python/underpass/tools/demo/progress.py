"""What is seen while it runs: a bar on a terminal, a line each second elsewhere."""

from __future__ import annotations

import math
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Generator

    from underpass.tools.demo.index import Progress

__all__ = ["Display", "display", "expected_size", "rates", "seconds_text", "size_text"]

_MICROSECONDS = 1e-3
_MILLI = 1e3
_MICRO = 1e6
_MEGA = 1e6
_KILO = 1e3


class Display(Protocol):
    """Where the progress goes."""

    def update(self, share: float, text: str) -> None:
        """Show how much is done, 0 to 1, and a line that says more."""

    def note(self, text: str) -> None:
        """Show a line that stays."""


@contextmanager
def display(label: str) -> Generator[Display]:
    """Show progress while the block runs."""
    if sys.stdout.isatty():
        with _bar(label) as shown:
            yield shown
    else:
        yield _Lines(label)


class _Lines:
    """Plain lines, one a second."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._due = time.monotonic() + 1

    def update(self, share: float, text: str) -> None:
        if time.monotonic() >= self._due:
            self._due += 1
            self.note(f"{self._label} {share:4.0%}  {text}")

    def note(self, text: str) -> None:
        print(text, flush=True)


@contextmanager
def _bar(label: str) -> Generator[Display]:
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[text]}"))
    with Bar(*columns, transient=True) as bar:
        task = bar.add_task(label, total=1.0, text="")

        class Shown:
            def update(self, share: float, text: str) -> None:
                bar.update(task, completed=share, text=text)

            def note(self, text: str) -> None:
                bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

        yield Shown()


def expected_size(progress: Progress, seconds: float, round_size: int, rounds: int | None, goal: float) -> int:
    """Estimate how many bytes there will be: whole rounds, as many as it takes to have run ``goal`` seconds."""
    if rounds is None:
        at_this_rate = progress.size / seconds * goal / round_size if seconds else 1
        rounds = max(1, math.ceil(at_this_rate), math.ceil(progress.size / round_size))
    return rounds * round_size


def rates(progress: Progress, seconds: float) -> str:
    """Write down what is done per second."""
    seconds = max(seconds, 1e-9)
    return (
        f"{progress.files / seconds:,.0f} files/s · {progress.size / _MEGA / seconds:.1f} MB/s · "
        f"{progress.calls / seconds:,.0f} calls/s · call {seconds_text(progress.latency)}"
    )


def seconds_text(seconds: float) -> str:
    """Write a duration in the unit that suits it."""
    if seconds < _MICROSECONDS:
        return f"{seconds * _MICRO:.0f} µs"
    return f"{seconds * _MILLI:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


def size_text(size: int) -> str:
    """Write a number of bytes in the unit that suits it."""
    return f"{size / _MEGA:.1f} MB" if size >= _MEGA else f"{size / _KILO:.1f} KB"
