"""Waiting: for how long, who waits for whom, and how a program says that it waits for long."""

from underpass._core import Holder, QueueRoom, Waiter, fail_after, select, wait_all, wait_any, warn_waiting

__all__ = ["Holder", "QueueRoom", "Waiter", "fail_after", "select", "wait_all", "wait_any", "warn_waiting"]
