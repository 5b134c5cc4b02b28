"""Waiting: for how long, who waits for whom, and how a program says that it waits for long."""

from underpass._core import Holder, Waiter, fail_after, warn_waiting

__all__ = ["Holder", "Waiter", "fail_after", "warn_waiting"]
