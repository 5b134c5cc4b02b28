"""The parent's side: starts the processes, looks after them, and leaves nothing behind."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from typing import TYPE_CHECKING, Self, TypeVar

import msgspec

from underpass import Gate, Queue, Semaphore, Space, TimedOut, connect
from underpass.tools.demo import child, roles
from underpass.tools.demo.corpus import Corpus, CorpusError
from underpass.tools.demo.death import Death, Killing
from underpass.tools.demo.index import Index, Progress
from underpass.tools.demo.job import JOB_BYTES
from underpass.tools.interrupts import interrupts_held, interrupts_ignored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.context import SpawnProcess
    from types import TracebackType

__all__ = ["Outcome", "Pipeline", "PipelineError", "Plan"]

T = TypeVar("T", Queue, Semaphore)
R = TypeVar("R")

# How often the parent looks at its children and at the progress.
_TICK = 0.1
# How long a process may take to end when it is told to.
_PATIENCE = 2.0
_QUEUE_CAPACITY = 64


class PipelineError(Exception):
    """A process of the demo ended that nobody had killed. The text is one line for the user."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run.

    Attributes:
        corpus: What to index.
        workers: How many workers there are at any time.
        rounds: How many passes; None: as many as it takes to have run `seconds`.
        seconds: See there.
        fate: Which chunk is the last of the worker that takes it, and how long it may hold it.
        alter: Falsify one posting, for the tests.
    """

    corpus: Corpus
    workers: int
    rounds: int | None = None
    seconds: float = 5.0
    fate: tuple[roles.Fate, float] | None = None
    alter: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was run."""

    rounds: int
    chunks: int
    seconds: float
    progress: Progress


class Pipeline:
    """The processes of one run; leaving ends them all, however it is left.

    Attributes:
        index: The server, while the pipeline is entered.
        killing: Who was killed, once somebody was.
        replacements: How many workers were started for those that had died.
    """

    index: Index

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.replacements: int = 0
        self._stack = ExitStack()
        self._spawn = multiprocessing.get_context("spawn")
        self._workers: dict[int, SpawnProcess] = {}
        self._processes: list[SpawnProcess] = []
        self._outcome: Outcome | None = None
        self._death: Death | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def killing(self) -> Killing | None:
        """Who was killed, if somebody was yet."""
        return self._death.killing if self._death else None

    @property
    def outcome(self) -> Outcome:
        """What was run, once `run` has ended."""
        assert self._outcome is not None
        return self._outcome

    def run(self) -> Iterator[tuple[Progress, float]]:
        """Let the reader go; yield the progress and the seconds since, some times a second, until all is done."""
        started = time.monotonic()
        self._shared.go.release()
        # One that was killed counts as well: its successor is still to come.
        while unfinished := [worker for worker in self._workers.values() if worker.exitcode != 0]:
            connection.wait([worker.sentinel for worker in unfinished] + [self._server.sentinel], _TICK)
            self._check()
            yield self.index.progress(), time.monotonic() - started
        seconds = time.monotonic() - started
        report = msgspec.msgpack.decode(self._until_ready(self._shared.reports.get), type=roles.Report)
        if report.error:
            raise CorpusError(report.error)
        self._outcome = Outcome(report.rounds, report.chunks, seconds, self.index.progress())

    def _start(self) -> None:
        plan = self.plan
        # multiprocessing's own servant is started first, since starting it lets Ctrl-C through again.
        resource_tracker.ensure_running()
        shared = self._shared = roles.Shared(
            queue=self._keep(Queue(_QUEUE_CAPACITY, JOB_BYTES)),
            ready=self._keep(Semaphore(0)),
            go=self._keep(Semaphore(0)),
            gates=self._keep(Queue(1, 1024)),
            notes=self._keep(Queue(1, 256)),
            reports=self._keep(Queue(1, 4096)),
        )
        self._server = self._launch("index server", roles.serve_index, plan.alter, orderly=True)
        self._reader = self._launch("reader", roles.read, plan.corpus, plan.rounds, plan.seconds)
        self._gate: Gate = pickle.loads(self._until_ready(shared.gates.get))  # noqa: S301  from our own child
        for number in range(1, plan.workers + 1):
            self._launch_worker(number)
        for _ in range(plan.workers):
            self._until_ready(shared.ready.acquire)
        self.index = connect(Index, self._gate)
        if plan.fate is not None:
            death = Death(shared.queue, shared.notes, plan.fate[1])
            with interrupts_held():
                death.start()
            self._death = death

    def _keep(self, thing: T) -> T:
        def remove() -> None:
            thing.unlink()
            thing.close()

        self._stack.callback(remove)
        return thing

    def _launch(self, name: str, role: Callable[..., None], *arguments: object, orderly: bool = False) -> SpawnProcess:
        process = self._spawn.Process(
            target=child.play,
            args=(os.getpid(), role, self._shared, *arguments),
            kwargs={"orderly": orderly},
            name=name,
            daemon=True,
        )
        self._processes.append(process)
        # Ctrl-C is the parent's to handle: children are born with it blocked.
        with interrupts_held():
            process.start()
        return process

    def _launch_worker(self, number: int) -> None:
        fate = self.plan.fate[0] if self.plan.fate else None
        self._workers[number] = self._launch(f"worker {number}", roles.work, number, self._gate, fate)

    def _until_ready(self, operation: Callable[..., R]) -> R:
        """Wait for what a child is going to do, as long as the children live."""
        while True:
            try:
                return operation(timeout=_TICK)
            except TimedOut:
                self._check()

    def _check(self) -> None:
        """Replace workers that were killed; give up if anything else went wrong.

        Raises:
            PipelineError: The server or the reader has ended before its time, or a worker has failed.
        """
        if self._server.exitcode is not None:
            raise PipelineError(f"the index server ended: {_ending(self._server)}")
        if self._reader.exitcode:
            raise PipelineError(f"the reader ended: {_ending(self._reader)}")
        for number, worker in list(self._workers.items()):
            if worker.exitcode is not None and worker.exitcode < 0:
                self.replacements += 1
                self._launch_worker(number)
            elif worker.exitcode:
                raise PipelineError(f"{worker.name} ended: {_ending(worker)}")

    def _end(self) -> None:
        with interrupts_ignored():
            if self._death is not None:
                self._death.cancel()
            # The server last: nobody is to find it gone.
            started = [process for process in reversed(self._processes) if process.pid is not None]
            for process in started:
                process.terminate()
            for process in started:
                process.join(_PATIENCE)
                if not connection.wait([process.sentinel], 0):
                    process.kill()
                    process.join()
                # A Ctrl-C between the kernel's word of an end and Python's note of it: it has ended, and nobody knows how.
                if process.exitcode is not None:
                    process.close()
            self._stack.close()
            # What a killed process had of its own goes now, not when somebody next enters the space.
            Space.default().sweep()


def _ending(process: SpawnProcess) -> str:
    code = process.exitcode or 0
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
