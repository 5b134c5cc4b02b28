"""Waiting: for one thing or for many, for how long, who waits for whom, and how a program says that it waits for long."""

import os
from types import TracebackType
from typing import NoReturn, Self

from underpass._core import (
    Holder,
    NotificationFlags,
    PipeRoom,
    QueueDrained,
    QueueRoom,
    Waiter,
    WaitSet,
    fail_after,
    select,
    wait_all,
    wait_any,
    warn_waiting,
)
from underpass.errors import NotFoundError

__all__ = [
    "Holder",
    "NotificationFlags",
    "PipeRoom",
    "ProcessEnd",
    "QueueDrained",
    "QueueRoom",
    "WaitSet",
    "Waiter",
    "fail_after",
    "process",
    "select",
    "wait_all",
    "wait_any",
    "warn_waiting",
]

_PIDS = 1 << 31


class ProcessEnd:
    """The end of a process, as something that can be waited for: what `process` returns.

    It is ready once the process has ended, however that came, and stays so. It keeps a descriptor of its own (a pidfd), which
    `close`, leaving the block, or dropping it closes, so a pid that is given to another process later is not mistaken for this one.

    A forked child inherits it, and may wait for it and close it there; what it drops it leaves open. To another process pass
    the pid, and call ``process(pid)`` there: the number of a descriptor is another's in each, so it is neither pickled nor copied.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._descriptor = -1
        self._maker = os.getpid()
        if not 0 < pid < _PIDS:
            raise ValueError(f"{pid} is no process: pass a pid, from 1 on")
        try:
            self._descriptor = os.pidfd_open(pid)
        except ProcessLookupError as error:
            raise NotFoundError(f"there is no process {pid}: it has ended, or is of another pid namespace") from error

    def fileno(self) -> int:
        """Return the descriptor, readable once the process has ended."""
        if self._descriptor < 0:
            raise ValueError(f"the end of process {self.pid} was closed here: ask process({self.pid}) again")
        return self._descriptor

    def close(self) -> None:
        """Close the descriptor; the process goes on."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # A forked child that closes all it does not know may have given the number to something else.
        if self._descriptor >= 0 and os.getpid() == self._maker:
            self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} cannot be pickled or copied: its descriptor is this process's; pass the pid, and call process({self.pid}) there"
        )

    def __repr__(self) -> str:
        return f"<end of process {self.pid}{', closed' if self._descriptor < 0 else ''}>"


def process(pid: int) -> ProcessEnd:
    """Return the end of a process, to be waited for with `wait_any` or in a `WaitSet`.

    Args:
        pid: Of any process that this one sees, also of one that does not use this library.

    Raises:
        NotFoundError: There is none, or it has ended and its parent knows.
        ValueError: No process has such a pid.

    Example:
        >>> import os, underpass
        >>> with underpass.process(os.getpid()) as me:
        ...     underpass.wait_any(me, timeout=0)
        Traceback (most recent call last):
        ...
        underpass.errors.TimedOut: any of <end of process ...> not ready within 0 s; try again, or allow more time
    """
    return ProcessEnd(pid)
