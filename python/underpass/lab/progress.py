"""What is seen while an exploration runs: a bar on a terminal, if it takes longer than a second."""

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.util import find_spec

from underpass.lab.search import Tally

_PATIENCE = 1.0
_REFRESH_EVERY = 0.1


@contextmanager
def progress(program: str, limit: int) -> Generator[Callable[[Tally], object]]:
    """Show how far it is on stderr, if that is a terminal and rich is installed; what is given is told so."""
    if not sys.stderr.isatty() or find_spec("rich") is None:
        yield lambda _: None
        return
    bar = _Bar(program, limit)
    try:
        yield bar.show
    finally:
        bar.stop()


class _Bar:
    """No thread draws it: whoever tells does."""

    def __init__(self, program: str, limit: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            auto_refresh=False,
            transient=True,
        )
        self._task = self._bar.add_task(program, total=limit, text="")
        self._begun = time.perf_counter()
        self._due = self._begun + _PATIENCE
        self._shown = False

    def show(self, tally: Tally) -> None:
        """Draw it, if it is time."""
        now = time.perf_counter()
        if now < self._due:
            return
        self._due = now + _REFRESH_EVERY
        if not self._shown:
            self._bar.start()
            self._shown = True
        rate = tally.schedules / (now - self._begun)
        text = f"{tally.schedules:,} schedules · {rate:,.0f} schedules/s · failures {int(tally.found is not None)}"
        self._bar.update(self._task, completed=tally.schedules, text=text, refresh=True)

    def stop(self) -> None:
        """Remove it."""
        if self._shown:
            self._bar.stop()
