"""The sign and the words for each thing that can happen."""

from __future__ import annotations

from underpass.lab.report.cells import clean
from underpass.lab.report.timeline import Condition
from underpass.lab.trace import WORLD, Happening, Moment, Trace

__all__ = ["AGAIN", "CHANGES", "LANES", "LIFELINES", "PREEMPTS", "SIGNS", "STYLES", "words"]

# One cell each in every terminal, and plain enough to be in its font.
SIGNS: dict[Happening, str] = {
    "runs": "●",
    "returns": "●",
    "raises": "!",
    "sleeps": "z",
    "wakes": "↑",
    "is woken": "▸",
    "times out": "◷",
    "wakes without cause": "?",
    "dies": "✗",
    "is stopped": "‖",
    "goes on": "▸",
    "is refused": "⊘",
    "is cancelled": "×",
    "chooses": "◆",
    "ends": "■",
}
PREEMPTS = "⇄"
CHANGES = "↳"
AGAIN = "↻"

# What stands in a process's column while others run.
LIFELINES: dict[Condition, str] = {"awake": "│", "asleep": "┊", "stopped": "‖", "gone": " "}

# For rich; colour only repeats what sign and words say.
STYLES: dict[Happening, str] = {
    "raises": "bold red",
    "sleeps": "blue",
    "wakes": "green",
    "is woken": "green",
    "times out": "bold yellow",
    "wakes without cause": "bold yellow",
    "dies": "bold red",
    "is stopped": "bold yellow",
    "is refused": "bold yellow",
    "is cancelled": "bold yellow",
    "chooses": "magenta",
    "ends": "dim",
}
# A process keeps its colour.
LANES = ("cyan", "magenta", "yellow", "green", "blue", "bright_red")


def words(trace: Trace, moment: Moment) -> str:
    """Say what happened; a call says it by its source, and needs none."""
    what, name, value = moment.what, clean(moment.object), clean(moment.value)
    partner = _name(trace, moment.partner)
    held = ", ".join(map(clean, moment.holders))
    match what:
        case "runs":
            return f"with {value}" if value else ""
        case "returns":
            # Of a call that changed something, that is the news.
            return "" if moment.state and value in {"None", "True"} else f"→ {value}" if value else ""
        case "sleeps":
            return "sleeps" + (f" on {name}" if name else "") + (f", held by {held}" if held else "")
        case "wakes":
            return f"wakes {partner}" if partner else "wakes" + (f" whoever sleeps on {name}" if name else "")
        case "is woken":
            return "woken" + (f" by {partner}" if partner else "")
        case "times out":
            return "times out" + (f" on {name}" if name else "")
        case "is refused":
            return f"is refused: {value}" if value else what
        case "is cancelled":
            return f"{value}() is cancelled" + (f", waiting for {name}" if name else "")
        case _:
            return f"{what} {value}" if value else what


def _name(trace: Trace, column: int | None) -> str:
    if column is None or column == WORLD or column >= len(trace.columns):
        return ""
    return clean(trace.columns[column])
