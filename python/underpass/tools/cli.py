"""The `underpass` command's entry: `app` has the subcommands."""

from __future__ import annotations

import importlib.util
import sys

from underpass.tools.broken_pipe import leave_quietly

__all__ = ["main"]

_INTERRUPTED = 130  # as shells say: 128 + SIGINT


def main() -> None:
    """Run the command line, and exit."""
    if any(importlib.util.find_spec(package) is None for package in ("typer", "rich")):
        sys.exit("the underpass command needs typer and rich: pip install underpass[cli]")
    try:
        from underpass.tools.app import app

        try:
            app()
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:
        leave_quietly()


if __name__ == "__main__":
    main()
