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
    finally:
        _forget_interrupts()


def _forget_interrupts() -> None:
    """Take back CPython's note that an interrupt left code in a string, as it does while a dataclass is being made.

    It stays noted when the interrupt is caught, and under `python -m` the process then dies of the signal, whatever
    its exit code was to be. The next code in a string takes the note back.
    """
    exec("")  # noqa: S102


if __name__ == "__main__":
    main()
