"""The same job on `multiprocessing`: its Queue, and a manager's proxy for the calls. Nobody is killed: it would not survive."""

from __future__ import annotations

import multiprocessing
import threading
import time
from multiprocessing import connection, resource_tracker
from multiprocessing.managers import BaseManager
from typing import TYPE_CHECKING, NamedTuple, cast

from underpass.tools.demo import roles
from underpass.tools.demo.index import Index, IndexServer, Progress, Work
from underpass.tools.demo.job import HEADER_BYTES, unpack
from underpass.tools.demo.pipeline import PipelineError
from underpass.tools.interrupts import interrupts_held, interrupts_ignored

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import SpawnProcess
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Semaphore

    from underpass.tools.demo.corpus import Corpus

__all__ = ["Measured", "run_on_multiprocessing"]

_TICK = 0.1
_CAPACITY = 64


class Measured(NamedTuple):
    """One run, from the moment that everybody was ready."""

    seconds: float
    progress: Progress


class ThreadedIndex(IndexServer):
    """The index server as a manager needs it, which serves each client in a thread of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def add(self, work: Work, postings: dict[str, list[int]]) -> bool:
        with self._lock:
            return super().add(work, postings)


class IndexManager(BaseManager):
    """Has the index in a process of its own."""


IndexManager.register("index", ThreadedIndex, exposed=("add", "progress"))


def run_on_multiprocessing(
    corpus: Corpus, workers: int, rounds: int, tick: Callable[[Progress, float], None]
) -> Measured:
    """Run ``rounds`` passes over the corpus.

    Raises:
        PipelineError: A process failed.
    """
    context = multiprocessing.get_context("spawn")
    processes: list[SpawnProcess] = []
    manager = IndexManager(ctx=context)

    def launch(name: str, role: Callable[..., None], *handles: object) -> None:
        process = context.Process(target=role, args=handles, name=name, daemon=True)
        processes.append(process)
        with interrupts_held():
            process.start()

    resource_tracker.ensure_running()
    try:
        with interrupts_held():
            manager.start()
        index = cast("Index", getattr(manager, "index")())  # noqa: B009  made by register, so no checker knows it
        queue: Queue[bytes | None] = context.Queue(_CAPACITY)
        ready, go = context.Semaphore(0), context.Semaphore(0)
        launch("reader", _read, corpus, queue, go, rounds, workers)
        for number in range(1, workers + 1):
            launch(f"worker {number}", _work, queue, index, ready)
        for _ in range(workers):
            while not ready.acquire(timeout=_TICK):
                _check(processes)
        started = time.monotonic()
        go.release()
        while living := [process.sentinel for process in processes if process.exitcode is None]:
            connection.wait(living, _TICK)
            _check(processes)
            tick(index.progress(), time.monotonic() - started)
        return Measured(time.monotonic() - started, index.progress())
    finally:
        with interrupts_ignored():
            for process in processes:
                if process.pid is not None:
                    process.kill()
                    process.join()
            if hasattr(manager, "shutdown"):
                manager.shutdown()


def _check(processes: list[SpawnProcess]) -> None:
    for process in processes:
        if process.exitcode:
            raise PipelineError(f"multiprocessing's {process.name} ended with exit code {process.exitcode}")


def _read(corpus: Corpus, queue: Queue[bytes | None], go: Semaphore, rounds: int, workers: int) -> None:
    go.acquire()
    for round_ in range(rounds):
        for job in roles.jobs_of(corpus, round_):
            queue.put(job)
    for _ in range(workers):
        queue.put(None)


def _work(queue: Queue[bytes | None], index: Index, ready: Semaphore) -> None:
    index.progress()
    ready.release()
    took = 0
    while (message := queue.get()) is not None:
        view = memoryview(message)
        took = roles.submit(index, unpack(view), view[HEADER_BYTES:], 1, took)
