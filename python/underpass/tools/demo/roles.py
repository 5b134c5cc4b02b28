"""The programs of the pipeline's processes: reader, worker, index server. Each is started with handles and nothing else.

They touch nothing that the lab does not simulate, unless a fate says who dies: there the lab decides.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from underpass import Gate, PeerDiedError, Port, Queue, Semaphore, connect, serve
from underpass.tools.demo.corpus import Corpus, CorpusError, chunks
from underpass.tools.demo.index import MESSAGE_SIZE, Index, IndexServer, Place, Work
from underpass.tools.demo.job import HEADER_BYTES, Job, pack, unpack
from underpass.tools.demo.tokens import tokenise

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Condemned", "Fate", "Report", "Shared", "jobs_of", "read", "serve_index", "submit", "work"]


class Fate(NamedTuple):
    """Who takes this chunk first is going to die with it."""

    place: Place
    after_reply: bool  # no sooner than between the call's reply and the lease's end


class Condemned(msgspec.Struct, frozen=True, array_like=True):
    """A worker's note to the parent: it holds that chunk now."""

    pid: int
    number: int
    place: Place


class Report(msgspec.Struct, frozen=True, array_like=True):
    """The reader's: what it put into the queue, or what went wrong."""

    rounds: int
    chunks: int
    error: str


class Shared(NamedTuple):
    """Handles of what the processes share."""

    queue: Queue  # of chunks
    ready: Semaphore  # released by each worker that could begin
    go: Semaphore  # released for the reader when all could
    gates: Queue  # the server's gate, to the parent
    notes: Queue  # that somebody holds the chunk it dies with
    reports: Queue  # the reader's


def serve_index(shared: Shared, alter: bool) -> None:  # noqa: FBT001  the arguments of a process
    """Answer calls until terminated."""
    with Port(message_size=MESSAGE_SIZE) as port:
        shared.gates.put(pickle.dumps(port.gate()))
        serve(IndexServer(alter=alter), at=port)


def read(shared: Shared, corpus: Corpus, rounds: int | None, seconds: float) -> None:
    """Put the corpus into the queue, ``rounds`` times, or as often as it takes to have run ``seconds``."""
    report = Report(0, 0, "nothing was read")
    with shared.queue.putting():
        shared.go.acquire()
        try:
            report = _read_rounds(corpus, shared.queue, rounds, seconds)
        except CorpusError as error:
            report = Report(0, 0, str(error))
    shared.reports.put(msgspec.msgpack.encode(report))


def jobs_of(corpus: Corpus, round_: int) -> Iterator[bytes]:
    """Yield all messages of one pass."""
    for number, file in enumerate(corpus.files):
        document = round_ * len(corpus.files) + number
        for chunk in chunks(file.read()):
            yield pack(chunk, round_, number, document)


def _read_rounds(corpus: Corpus, queue: Queue, rounds: int | None, seconds: float) -> Report:
    started = time.monotonic()
    round_, count = 0, 0
    while round_ != rounds:
        for job in jobs_of(corpus, round_):
            queue.put(job)
            count += 1
        round_ += 1
        if rounds is None and time.monotonic() - started >= seconds:
            break
    return Report(round_, count, "")


def work(shared: Shared, number: int, gate: Gate, fate: Fate | None) -> None:
    """Lease chunks, tokenise them and send their postings, until the reader has left and nothing is queued or leased."""
    try:
        _work_off(shared, number, connect(Index, gate), fate)
    except PeerDiedError:
        sys.exit(1)  # the parent sees who it was, and says so


def _work_off(shared: Shared, number: int, index: Index, fate: Fate | None) -> None:
    index.progress()
    shared.ready.release()
    took = 0
    for lease in shared.queue.leases():
        with lease:
            job = unpack(lease.value)
            doomed = fate if fate and fate.place == job.place and lease.deliveries == 1 else None
            note = msgspec.msgpack.encode(Condemned(os.getpid(), number, job.place))
            if doomed and not doomed.after_reply:
                shared.notes.put(note)  # death may come at any instant of the work from now on
            with lease.value[HEADER_BYTES:] as text:
                took = submit(index, job, text, lease.deliveries, took)
            if doomed:
                if doomed.after_reply:
                    shared.notes.put(note)
                signal.pause()  # the postings are applied, the lease goes on: it comes now at the latest


def submit(index: Index, job: Job, text: memoryview, delivery: int, previous: int) -> int:
    """Tokenise a chunk and send its postings; how many ns the call took."""
    tokens = tokenise(text, job.first_line)
    done = Work(
        job.place, job.document, job.last, len(text), tokens.replaced, delivery, worker=os.getpid(), previous=previous
    )
    started = time.perf_counter_ns()
    index.add(done, tokens.postings)
    return time.perf_counter_ns() - started
