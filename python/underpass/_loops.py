"""What event loops ask of objects, and users do not: the door of `underpass.aio` to the native module.

These are the methods themselves, unbound, since a frame in between would be in each wait.
"""
# ruff: noqa: SLF001 - the one place where they are taken from their classes

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from underpass._core import (
    AtomicInt,
    Barrier,
    Broadcast,
    Condition,
    Event,
    Gate,
    Mutex,
    Notification,
    Pipe,
    PipeRoom,
    Queue,
    QueueRoom,
    RWLock,
    Semaphore,
    WaitSet,
)
from underpass._core import inherited_loop as inherited_loop  # noqa: PLC0414 - trio's loop of the process it was forked from
from underpass._core import task_waits as task_waits  # noqa: PLC0414 - tells whoever looks at the space what a task waits for

#: The number that all handles of one object have, and no other object's.
nonce: Callable[[Any], int] = attrgetter("_nonce")

#: The line in which those stand who come with such a `Since`: all handles of one object have one.
line: Callable[[Any], object] = attrgetter("_line")

#: Raises MisuseError in an `atomic_section`.
may_await = WaitSet._may_await

# A task's place among those who wait.
stay_at_atomic = AtomicInt._stay
stay_at_barrier = Barrier._stay
stay_at_condition = Condition._stay
stay_at_event = Event._stay
stay_at_mutex = Mutex._stay
stay_at_notification = Notification._stay
stay_at_rwlock = RWLock._stay
stay_at_semaphore = Semaphore._stay

# What tasks come for that barge: a unit, or room, since the last reset.
units_since = Semaphore._since
room_since = QueueRoom._since
bytes_since = Pipe._since
bytes_of_room_since = PipeRoom._since

# Room for a message of so many bytes.
room_in_broadcast = Broadcast._room

# What those do who came to a queue or a pipe, at once or not at all: an error once it was purged or reset since.
put_since = Queue._put_since
put_many_since = Queue._put_many_since
loan_since = Queue._loan_since
write_since = Pipe._write_since
read_since = Pipe._read_since
read_some_since = Pipe._read_some_since

# The mutex that a condition came with.
mutex_of: Callable[[Condition], Mutex] = attrgetter("_mutex")

#: Levels at which this thread holds a mutex, or the turn of a once.
depth: Callable[[Any], int] = attrgetter("_depth")

#: Whether who holds a mutex may take it again.
is_recursive: Callable[[Mutex], bool] = attrgetter("_recursive")

# A task's own in a lock of readers and writers.
leave_rwlock = RWLock._leave
upgrade_rwlock_nowait = RWLock._upgrade_nowait
downgrade_rwlock = RWLock._downgrade
tasks_in_rwlock = RWLock._tasks

# A call that is posted, and where there is room for one.
post_call = Gate._post
room_for_calls = Gate._room
