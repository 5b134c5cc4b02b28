"""The reader of the output has gone, as `head` does when it has what it wants."""

import os
import sys
from typing import NoReturn

__all__ = ["leave_quietly"]

_CUT_OFF = 141  # as shells say: 128 + SIGPIPE


def leave_quietly() -> NoReturn:
    """Exit as a program does that SIGPIPE ends; that signal itself is ignored by Python, and would end whoever writes to a socket."""
    # What is still buffered would be written when the interpreter ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(_CUT_OFF)
