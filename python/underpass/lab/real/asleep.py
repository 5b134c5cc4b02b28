"""Whether a thread of another process sleeps in the kernel, by the kernel's word."""

import platform
from pathlib import Path

# futex_waitv: what the library's sleepers sleep in. The number is the same on all machines since 5.16.
_FUTEX_WAITV = "449"
# Those who listen for a name sleep in poll, or in ppoll where there is none.
_POLL = {"x86_64": {"7", "271"}}.get(platform.machine(), {"73"})


def sleeps(pid: int, tid: int, *, listens: bool) -> bool:
    """Say whether the thread is inside ``futex_waitv``, or in ``poll`` if it ``listens`` for a name, and on no processor."""
    try:
        told = Path(f"/proc/{pid}/task/{tid}/syscall").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return False
    call = told.partition(" ")[0]
    return call in _POLL if listens else call == _FUTEX_WAITV


def state(pid: int, tid: int) -> str:
    """Return the letter of the thread's state; empty: it is gone."""
    try:
        told = Path(f"/proc/{pid}/task/{tid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return told.rpartition(")")[2].split()[0]
