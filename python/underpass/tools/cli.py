"""The `underpass` command.

Each subcommand imports what it runs when it is run, so that ``underpass --help`` is quick.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path  # noqa: TC003  typer reads annotations
from typing import TYPE_CHECKING, Annotated

if TYPE_CHECKING:
    import typer

__all__ = ["main"]

_INTERRUPTED = 130  # as shells say: 128 + SIGINT


def main() -> None:
    """Run the command line, and exit."""
    try:
        if importlib.util.find_spec("typer") is None or importlib.util.find_spec("rich") is None:
            sys.exit("the underpass command needs typer and rich: pip install underpass[cli]")
        code = _app()(standalone_mode=False)
    except KeyboardInterrupt:
        code = _INTERRUPTED
    sys.exit(code)
