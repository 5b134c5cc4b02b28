"""Whether a thread of another process sleeps in the kernel, by the kernel's word."""

from pathlib import Path

# futex_waitv: what the library's sleepers sleep in. The number is the same on all machines since 5.16.
_FUTEX_WAITV = "449"


def sleeps(pid: int, tid: int) -> bool:
    """Say whether the thread is inside ``futex_waitv``, queued on its words, and on no processor."""
    try:
        told = Path(f"/proc/{pid}/task/{tid}/syscall").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return told.partition(" ")[0] == _FUTEX_WAITV


def state(pid: int, tid: int) -> str:
    """Return the letter of the thread's state; empty: it is gone."""
    try:
        told = Path(f"/proc/{pid}/task/{tid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return told.rpartition(")")[2].split()[0]
