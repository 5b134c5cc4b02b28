"""The other process of a measurement: forked, pinned, watched, and ended by its pid."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Generator
from typing import Self, TypeVarTuple

from underpass.tools.bench.placement import UnavailableError, pin
from underpass.tools.interrupts import interrupts_held

Args = TypeVarTuple("Args")

# From fork, because a partner takes pipes and locks that only a child can have, and must be there in milliseconds.
_FORK = multiprocessing.get_context("fork")

# How long a partner may take to become ready; a measurement that hangs ends with a reason.
PATIENCE = 10.0


@contextlib.contextmanager
def partner(serve: Callable[[*Args], object], *arguments: *Args, cpu: int | None) -> Generator[int]:
    """Run a function in a child process for the length of a block.

    Args:
        serve: What the child runs.
        *arguments: Its arguments, as the child's copies after a fork.
        cpu: The CPU that the child binds itself to.

    Yields:
        The child's pid. It is killed when the block ends.
    """
    parent = os.getpid()

    def child() -> None:
        # The terminal's Ctrl-C reaches the whole group: the parent alone decides, and kills.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        _end_with(parent)
        pin(cpu)
        serve(*arguments)

    process = _FORK.Process(target=child, daemon=True)
    try:
        # A Ctrl-C that was held comes when this block ends: by then there is a child to be killed.
        with interrupts_held():
            process.start()
        yield process.pid or 0
    finally:
        if process.pid is not None:
            process.kill()
            process.join()
        process.close()


class SleepWatch:
    """Tells when another process sleeps in the kernel, from the state letter that `/proc` shows.

    Args:
        pid: The process, with one thread.
    """

    def __init__(self, pid: int) -> None:
        self._stat = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._stat)

    def wait(self) -> None:
        """Return once the process sleeps. Looks without sleeping, so that the caller's own CPU stays awake."""
        deadline = time.monotonic() + PATIENCE
        while not self._asleep():
            if time.monotonic() > deadline:
                raise UnavailableError(f"the partner did not fall asleep within {PATIENCE:.0f} s")

    def _asleep(self) -> bool:
        # The state follows the command's name, which ends at the last closing parenthesis.
        _, _, fields = os.pread(self._stat, 512, 0).rpartition(b") ")
        return fields[:1] == b"S"


def wait_until_asleep(pid: int) -> None:
    """Return once the process sleeps in the kernel."""
    with SleepWatch(pid) as watch:
        watch.wait()


def cpu_time(pid: int) -> int:
    """The CPU time that a process has used, all its threads together, in nanoseconds."""
    # The kernel's number for the CPU clock of another process: what clock_getcpuclockid(3) computes.
    return time.clock_gettime_ns((~pid << 3) | 2)


def _end_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, in whatever way."""
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
