"""A process of another pid namespace, for test_lives.py: it takes or gets one message of the queue "across"."""

import os
import sys

from underpass import Queue, _core

_core.set_recheck(None)
queue = Queue.open("across")
if sys.argv[1] == "take":
    lease = queue.take(timeout=20)
    print(os.getpid(), "has", bytes(lease.value).decode(), flush=True)  # noqa: T201 - its test reads this
    sys.stdin.read()  # until the test kills it
else:
    print(os.getpid(), "waits", flush=True)  # noqa: T201
    print(os.getpid(), "has", queue.get().decode(), flush=True)  # noqa: T201
