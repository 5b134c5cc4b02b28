"""IPC between the processes of one machine, at the speed of shared memory: it enters the kernel only when somebody sleeps."""

from underpass.data import Lease, Loan, Queue
from underpass.errors import (
    AccessDeniedError,
    CallAbortedError,
    ClosedError,
    CorruptedError,
    DiedError,
    EndOfStream,
    ExistsError,
    MessageTooLongError,
    MismatchError,
    MisuseError,
    NotFoundError,
    OutOfSpaceError,
    OwnerDiedError,
    PeerDiedError,
    RemoteError,
    ResetError,
    TimedOut,
    UnderpassError,
    WouldBlock,
)
from underpass.interfaces import Interface, connect, serve, serving
from underpass.memory import ObjectInfo, SharedObject, Space
from underpass.ports import Gate, Peer, Port, Request
from underpass.sync import Mutex, Semaphore
from underpass.waiting import warn_waiting
from underpass.sync import AtomicInt, Event, Notification, Semaphore

__all__ = [
    "AccessDeniedError",
    "AtomicInt",
    "CallAbortedError",
    "ClosedError",
    "CorruptedError",
    "DiedError",
    "EndOfStream",
    "Event",
    "ExistsError",
    "Gate",
    "Interface",
    "Lease",
    "Loan",
    "MessageTooLongError",
    "MismatchError",
    "MisuseError",
    "Mutex",
    "NotFoundError",
    "Notification",
    "ObjectInfo",
    "OutOfSpaceError",
    "OwnerDiedError",
    "Peer",
    "PeerDiedError",
    "Port",
    "Queue",
    "RemoteError",
    "Request",
    "ResetError",
    "Semaphore",
    "SharedObject",
    "Space",
    "TimedOut",
    "UnderpassError",
    "WouldBlock",
    "connect",
    "serve",
    "serving",
    "warn_waiting",
]
