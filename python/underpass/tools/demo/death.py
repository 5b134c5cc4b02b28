"""The end of one worker: when, and with what in its hands."""

from __future__ import annotations

import os
import random
import signal
import threading
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from underpass.errors import ClosedError, EndOfStream
from underpass.tools.demo.corpus import CHUNK_BYTES
from underpass.tools.demo.index import Place
from underpass.tools.demo.roles import Condemned, Fate

if TYPE_CHECKING:
    from underpass import Queue
    from underpass.tools.demo.corpus import Corpus

__all__ = ["Death", "Killing", "draw"]

# About as long as a worker has a full chunk, in seconds: the instant of death lies within.
_SPAN = 0.01


class Killing(NamedTuple):
    """A worker was killed with SIGKILL."""

    pid: int
    number: int
    place: Place
    held_for: float  # s, as the queue's statistics had it


def draw(corpus: Corpus, seed: int, *, after_reply: bool = False) -> tuple[Fate, float]:
    """Choose the instant: a byte of the first pass. Who holds its chunk dies, after so many seconds of it."""
    chance = random.Random(seed)  # noqa: S311  it has to be repeatable
    byte = chance.randrange(corpus.size)
    for number, file in enumerate(corpus.files):
        if byte < file.size:
            chunk = byte // CHUNK_BYTES
            size = min(CHUNK_BYTES, file.size - chunk * CHUNK_BYTES)
            return Fate(Place(0, number, chunk), after_reply), chance.uniform(0, _SPAN * size / CHUNK_BYTES)
        byte -= file.size
    raise AssertionError("a byte beyond the last")


class Death(threading.Thread):
    """Waits for the worker that holds the chunk, and kills it.

    Args:
        queue: Whose statistics say what it holds.
        notes: Where the worker says that it does.
        delay: How long it may go on.
    """

    def __init__(self, queue: Queue, notes: Queue, delay: float) -> None:
        super().__init__(name="death")
        self._queue = queue
        self._notes = notes
        self._delay = delay
        self._over = threading.Event()
        self.killing: Killing | None = None

    def run(self) -> None:
        """Wait, and kill."""
        try:
            note = msgspec.msgpack.decode(self._notes.get(), type=Condemned)
        except (EndOfStream, ClosedError):
            return  # the demo ended before
        if self._over.wait(self._delay):
            return
        held = [lease.held_for for lease in self._queue.statistics().leases if lease.pid == note.pid]
        if held:
            os.kill(note.pid, signal.SIGKILL)
            self.killing = Killing(note.pid, note.number, note.place, max(held))

    def cancel(self) -> None:
        """Let everybody live, and end the thread."""
        self._over.set()
        self._notes.shutdown(immediate=True)
        self.join()
