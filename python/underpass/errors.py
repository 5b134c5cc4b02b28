"""Every error of underpass: who did it, whether to try again, and what helps.

Names that end in *Error* are faults. `WouldBlock`, `TimedOut` and `EndOfStream` are ordinary control flow. Everything derives
from `UnderpassError`, and, where the standard library has a word for it, from that as well: ``except TimeoutError`` and
``except FileNotFoundError`` work as a reader would expect.

All are built as ``Cls(message, **attributes)``: the message is the whole text, the attributes are what a program may decide on.
They pickle with both, so an error crosses from a worker to its parent unchanged.
"""

from __future__ import annotations

import errno
import os
from typing import ClassVar, Literal

__all__ = [
    "AccessDeniedError",
    "BrokenBarrierError",
    "CallAbortedError",
    "CallCancelledError",
    "ClosedError",
    "CorruptedError",
    "DiedError",
    "EndOfStream",
    "ExistsError",
    "MapFailedError",
    "MessageTooLongError",
    "MismatchError",
    "MisuseError",
    "NotFoundError",
    "OutOfSpaceError",
    "OwnerDiedError",
    "PeerDiedError",
    "RemoteError",
    "ResetError",
    "TimedOut",
    "UnderpassError",
    "WouldBlock",
]


class UnderpassError(Exception):
    """What all errors of this library are.

    Args:
        message: The text, whole: it names the object, who did it, since when, and the remedy.
        **attributes: What a program may want to decide on; each becomes an attribute of the error.
    """

    # OSError keeps errno in the instance's own layout, so a subclass gives its default here and the constructor stores it.
    _errno: ClassVar[int | None] = None

    def __init__(self, message: str = "", **attributes: object) -> None:
        super().__init__(message)
        if self._errno is not None:
            number = attributes.get("errno", self._errno)
            assert isinstance(number, int)
            attributes = {"strerror": os.strerror(number), **attributes, "errno": number}
        for attribute, value in attributes.items():
            setattr(self, attribute, value)

    def __str__(self) -> str:
        # OSError would put "[Errno n]" in front of a text that already says it better.
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[object, ...]:
        attributes = dict(self.__dict__)
        if isinstance(self, OSError):
            kept = {"errno": self.errno, "strerror": self.strerror, "filename": self.filename}
            attributes |= {attribute: value for attribute, value in kept.items() if value is not None}
        return _rebuild, (type(self), str(self), attributes)


def _rebuild(cls: type[UnderpassError], message: str, attributes: dict[str, object]) -> UnderpassError:
    return cls(message, **attributes)


# ── ordinary control flow ───────────────────────────────────────────────────────────────────────────────────────────────


class WouldBlock(UnderpassError):
    """A ``_nowait`` operation would have had to wait.

    Nobody did wrong and nothing happened. Try again later, or use the operation without ``_nowait``.
    """


class TimedOut(UnderpassError, TimeoutError):
    """The time given with ``timeout=``, or with `underpass.fail_after` around the call, passed first.

    Nobody did wrong; the message says what is in the way (a holder, a full queue, a busy server). Trying again is safe when
    `phase` is ``"wait"`` or ``"send"`` and `transferred` is 0: nothing happened then.

    Attributes:
        phase: What the operation was doing: ``"wait"`` for an object, ``"send"`` or ``"receive"`` in a call, ``"transfer"`` of data.
        transferred: How many messages (or bytes of a stream) had been moved by then.
        data: What a `Pipe`'s reader had read by then: those bytes are no longer in the pipe.
    """

    _errno = errno.ETIMEDOUT
    phase: Literal["wait", "send", "receive", "transfer"] = "wait"
    transferred: int = 0
    data: bytes = b""


class EndOfStream(UnderpassError):
    """Nothing is left, and nothing will come: the object was shut down, or its last putter left.

    Somebody ended it on purpose, so trying again gives the same answer.

    Attributes:
        transferred: How many messages (or bytes of a stream) had been moved before the end.
        data: What a `Pipe`'s reader had read before the end.
    """

    transferred: int = 0
    data: bytes = b""


# ── what this process did ───────────────────────────────────────────────────────────────────────────────────────────────


class ClosedError(UnderpassError):
    """This handle was closed, here, by this process.

    Trying again does not help. Others who have the object go on; open it anew to use it again.
    """


class MisuseError(UnderpassError, RuntimeError):
    """The caller did what the object's rules forbid: released what it does not hold, released above the limit, ended a lease twice.

    A mistake in this program. Nothing was changed, and trying again gives the same answer.
    """


class MessageTooLongError(UnderpassError, ValueError):
    """The message does not fit. Nothing was sent.

    Send less at once, or create the object with a larger value of the argument that the message names.

    Attributes:
        size: The message's length in bytes.
        limit: What the object takes, in bytes.
        argument: Which constructor argument to raise.
    """

    size: int = 0
    limit: int = 0
    argument: str = "message_size"


# ── what another process did ────────────────────────────────────────────────────────────────────────────────────────────


class ResetError(UnderpassError):
    """Somebody reset, purged or removed the object while this call waited, sent it away, or overwrote what a lease was reading.

    Done on purpose, by whom the message names if it is known. Trying again is safe if the object still exists.

    Attributes:
        transferred: How many messages (or bytes of a stream) had been moved by then.
        data: What a `Pipe`'s reader had read by then.
    """

    transferred: int = 0
    data: bytes = b""


class DiedError(UnderpassError):
    """A process (or the thread that mattered) ended without handing over.

    Attributes:
        pid: Who died; 0 if that is not known.
        name: What it held or served: the object's name.
        held_for: For how long, in seconds, as far as it is known.
        transferred: How many messages (or bytes of a stream) had been moved by then.
        data: What a `Pipe`'s reader had read by then.
    """

    pid: int = 0
    name: str = ""
    held_for: float | None = None
    transferred: int = 0
    data: bytes = b""


class PeerDiedError(DiedError, ConnectionError):
    """The process at the other end died or closed its end: the server of a call, or the last putter of a queue.

    `phase` says what it can have done about what it was sent: when it is ``"send"`` it had not taken it, nothing happened, and
    trying again is safe; when it is ``"receive"`` it had, and may have acted, so repeat only what may happen twice. A proxy of
    `underpass.connect` binds to the server's successor with its next call.

    Attributes:
        phase: ``"send"`` or ``"receive"`` of a call; ``"wait"`` where nothing was sent, as in a queue's getter.
    """

    _errno = errno.ECONNRESET
    phase: Literal["wait", "send", "receive"] = "wait"


class OwnerDiedError(DiedError):
    """The owner of a lock, a thread or its whole process, ended while holding it, so what the lock protects may be half changed.

    The lock is not held by the caller. Enter a `Mutex`, a `SpinLock` or a `Condition` with ``recovering()``, an `RWLock` with
    ``writing()``; repair, and go on.
    """


class BrokenBarrierError(UnderpassError, RuntimeError):
    """A party of the barrier ended, timed out or aborted, so it cannot be complete.

    Nobody passes until ``reset()``; then all parties may come again.

    Attributes:
        cause: How it was broken; "died" is any end of a process, also one with exit code 0.
        pid: The process that ended, aborted it, or whose time ran out; 0 if that is not known.
    """

    cause: Literal["aborted", "timed out", "died"] = "aborted"
    pid: int = 0


# ── where objects live ──────────────────────────────────────────────────────────────────────────────────────────────────


class NotFoundError(UnderpassError, FileNotFoundError):
    """No object of that name is there (any more); the message names its creator if it died.

    Start whoever creates it, or pass ``timeout=`` to wait until it appears.
    """

    _errno = errno.ENOENT


class ExistsError(UnderpassError, FileExistsError):
    """An object of that name is already there; the message says what it is, and who created it.

    Use ``open`` or ``open_or_create``, another name, or free the name: ``unlink`` of a handle, or ``Space.unlink(name)``. Of a port:
    end the server that receives there, or use another name.

    Attributes:
        pid: The process that created it; 0 if that is not known.
    """

    _errno = errno.EEXIST
    pid: int = 0


class AccessDeniedError(UnderpassError, PermissionError):
    """The object's or the space's permissions, or a gate's rights, do not allow it.

    Whoever owns the object decides; the message names owner and mode. Trying again does not help.
    """

    _errno = errno.EACCES


class OutOfSpaceError(UnderpassError, OSError):
    """A limit was reached: the space's file system is full, or no more mappings, descriptors or lives are to be had.

    Nothing was created. `errno` says which: ENOSPC, ENOMEM for mappings, EMFILE or ENFILE for descriptors.

    Attributes:
        need: How much the object takes: bytes of a file system, one mapping, one descriptor, ...
        free: How much there is.
        limit: How much there can be: the size of the file system, ``vm.max_map_count``, ``ulimit -n``, ...
        remedy: What makes room, as a command or an argument to change.
    """

    _errno = errno.ENOSPC
    need: int = 0
    free: int = 0
    limit: int = 0
    remedy: str = ""


class MismatchError(UnderpassError):
    """Both sides mean different things: another layout version, other parameters, or another schema.

    Whoever was started from the older code has to be restarted from the same as the other. Trying again does not help.

    Attributes:
        expected: What this side has.
        found: What the other side, or the existing object, has.
    """

    expected: object = None
    found: object = None


class CorruptedError(UnderpassError):
    """The shared bytes are not what any version of this library writes.

    Somebody scribbled over them, or the file is not an object. Remove it, ``Space.unlink(name)``, and create it anew.
    """


# ── calls ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


class CallCancelledError(UnderpassError):
    """The call was cancelled before the server took it: nothing happened, and calling again is safe."""


class CallAbortedError(UnderpassError):
    """The call was cut off after the server took it, so the server may have acted.

    Repeat only what may happen twice.

    Attributes:
        transferred: How many bytes had been moved by then.
    """

    transferred: int = 0


class MapFailedError(UnderpassError):
    """The kernel refused to map the object's memory; the message says why and which limit to raise."""


class RemoteError(UnderpassError):
    """The server's method raised an exception. The server itself goes on.

    Whether calling again can help depends on that exception, which the message shows with its traceback.

    Attributes:
        type: The exception's class, with its module unless that is ``builtins``.
        text: The exception's own text.
        traceback: The traceback as the server's interpreter prints it; its end, if it is longer than a message.
        pid: The server's process.
    """

    type: str = ""
    text: str = ""
    traceback: str = ""
    pid: int = 0
