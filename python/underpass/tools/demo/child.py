"""A real process of the pipeline around its role: it ends with its parent, and the server in order when it is told to.

Roles know nothing of it, so that the lab runs them as they are.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["play"]

_PR_SET_PDEATHSIG = 1


def play(parent: int, role: Callable[..., None], *arguments: object, orderly: bool = False) -> None:
    """Run a role in a process that was started for it.

    Args:
        parent: The pid of who started it: it ends with that one, however that ends.
        role: What to run.
        arguments: Its arguments.
        orderly: SIGTERM ends it by way of its ``finally`` blocks.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)
    if orderly:
        signal.signal(signal.SIGTERM, _leave)
    role(*arguments)


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)
