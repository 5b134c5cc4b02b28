"""A failure as a page: one file with a drawn timeline to step through, which asks nothing of any network."""

from __future__ import annotations

import html
import json
import re
from importlib import resources

import msgspec

from underpass.lab.report.marks import SIGNS, words
from underpass.lab.report.saved import as_json
from underpass.lab.report.text import as_text
from underpass.lab.report.timeline import circles, conditions, sleeps, wakes
from underpass.lab.trace import Trace

__all__ = ["as_html"]

_PLACE = re.compile(r"<!--(TITLE|TEXT|DATA)-->")


def as_html(trace: Trace) -> str:
    """Write a failure as a page to look at in a browser, from a file or a server.

    Its keys: ← and → step, Home and End go to the first and the last moment.

    Args:
        trace: What happened.

    Returns:
        HTML in one piece, for a file in UTF-8.

    Example:
        >>> from underpass.lab.trace import Trace
        >>> trace = Trace(title="visit", kind="deadlock", summary="Nobody opens.", columns=("guest",), moments=())
        >>> "<title>visit: deadlock</title>" in as_html(trace)
        True
    """
    encodable = msgspec.json.decode(as_json(trace), type=Trace)
    parts = {
        "TITLE": html.escape(f"{encodable.title}: {encodable.kind}"),
        "TEXT": html.escape(as_text(encodable)),
        "DATA": _data(encodable),
    }
    template = resources.files(__package__ or "").joinpath("page.html").read_text(encoding="utf-8")
    return _PLACE.sub(lambda place: parts[place[1]], template)


def _data(trace: Trace) -> str:
    """Return the trace and what is drawn of it, as JSON that no browser takes for the end of a script."""
    data = {
        "trace": msgspec.to_builtins(trace),
        "words": [words(trace, moment) for moment in trace.moments],
        "signs": [SIGNS[moment.what] for moment in trace.moments],
        "sleeps": [msgspec.to_builtins(span) for span in sleeps(trace)],
        "wakes": wakes(trace),
        "conditions": conditions(trace),
        "circles": [[wait.who for wait in circle] for circle in circles(trace)],
    }
    return re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", json.dumps(data))
