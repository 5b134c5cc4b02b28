"""Which face an object has: what ``x.aio`` returns."""

from typing import Any

from underpass import data, memory, ports, sync
from underpass.aio.atomic import AtomicInt
from underpass.aio.barrier import Barrier
from underpass.aio.broadcast import Broadcast, Subscription
from underpass.aio.condition import Condition
from underpass.aio.event import Event
from underpass.aio.face import Face
from underpass.aio.gate import Gate
from underpass.aio.latch import Latch
from underpass.aio.mutex import Mutex
from underpass.aio.notification import Notification
from underpass.aio.object_queue import ObjectQueue
from underpass.aio.once import Once
from underpass.aio.pipe import Pipe
from underpass.aio.pool import Pool
from underpass.aio.port import Port
from underpass.aio.queue import Queue
from underpass.aio.ring import MpscRing, SpscRing
from underpass.aio.rwlock import RWLock
from underpass.aio.semaphore import Semaphore
from underpass.aio.stack import Stack
from underpass.memory import SharedObject

_FACES: dict[type, type[Face[Any]]] = {
    sync.Semaphore: Semaphore,
    sync.Mutex: Mutex,
    sync.Notification: Notification,
    sync.Event: Event,
    sync.Latch: Latch,
    sync.Once: Once,
    sync.RWLock: RWLock,
    sync.Barrier: Barrier,
    sync.Condition: Condition,
    sync.AtomicInt: AtomicInt,
    data.Queue: Queue,
    data.ObjectQueue: ObjectQueue,
    data.Broadcast: Broadcast,
    data.Subscription: Subscription,
    data.Pipe: Pipe,
    memory.Pool: Pool,
    data.Stack: Stack,
    data.SpscRing: SpscRing,
    data.MpscRing: MpscRing,
    ports.Port: Port,
    ports.Gate: Gate,
}


def of(plain: SharedObject, /) -> Face[Any]:
    """Return the face of an object for coroutines.

    Raises:
        AttributeError: Objects of this class cannot be awaited.
        TypeError: It is a face already.
    """
    if isinstance(plain, Face):
        raise TypeError(f"{plain!r} is a face for coroutines already: await its own verbs")
    face = _FACES.get(type(plain))
    if face is None:
        names = ", ".join(cls.__name__ for cls in _FACES)
        raise AttributeError(f"a {type(plain).__name__} cannot be awaited: {names} can")
    return face.over(plain)
