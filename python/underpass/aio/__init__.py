"""The same objects for coroutines: on asyncio, uvloop and trio, and so on anyio.

``aio.X(...)`` takes what ``X(...)`` takes, and ``x.aio`` is the face of an object that is there. A face has the verbs of its object:
those that may wait are coroutines, without ``timeout=``, since deadlines are the event loop's own (``asyncio.timeout``,
``trio.move_on_after``, ``anyio.fail_after``); all others are what they were. ``x.aio.sync`` is the object.

An operation that need not wait does not yield to the loop, and is no checkpoint: it is done when it is called, in order. One that waits
takes its token or message in the same step of the task in which it returns, so a task that is cancelled has taken none; what it was
handed before that, where it waited in its turn, goes to the next. Tasks of one loop are served in order of arrival at each object, by
priority where it asks for that; `select` stands in no order. No thread is made: a loop polls two descriptors for all that its tasks
wait for (who waits for a name or for many has some more), and the kernel tells it who has died.
"""

from underpass.aio.atomic import AtomicInt
from underpass.aio.barrier import Barrier
from underpass.aio.broadcast import Broadcast, Subscription
from underpass.aio.call import Call
from underpass.aio.condition import Condition
from underpass.aio.event import Event
from underpass.aio.face import Face
from underpass.aio.faces import of
from underpass.aio.finish import CANCELLED, Cancelled, Finish, cancel, cancellable, finish
from underpass.aio.gate import Gate
from underpass.aio.latch import Latch
from underpass.aio.many import select, wait_all, wait_any
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

__all__ = [
    "CANCELLED",
    "AtomicInt",
    "Barrier",
    "Broadcast",
    "Call",
    "Cancelled",
    "Condition",
    "Event",
    "Face",
    "Finish",
    "Gate",
    "Latch",
    "MpscRing",
    "Mutex",
    "Notification",
    "ObjectQueue",
    "Once",
    "Pipe",
    "Pool",
    "Port",
    "Queue",
    "RWLock",
    "Semaphore",
    "SpscRing",
    "Stack",
    "Subscription",
    "cancel",
    "cancellable",
    "finish",
    "of",
    "select",
    "wait_all",
    "wait_any",
]
