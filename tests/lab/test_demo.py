"""The demo's own workers in the lab: whoever is killed, and wherever, everything is indexed once."""

import pickle
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from underpass import Gate, Queue, Semaphore, connect

pytest.importorskip("greenlet")

from underpass import lab
from underpass.lab import World
from underpass.tools.demo import proof, roles
from underpass.tools.demo.corpus import Corpus, gather
from underpass.tools.demo.index import Again, Index
from underpass.tools.demo.job import JOB_BYTES

SCHEDULES = 1_000
WORKERS = 2


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Three documents: as many chunks as make two workers share them, lose one and get it back."""
    for number, text in enumerate(("a deadlock", "of two\nsemaphores", "a semaphore of two")):
        (tmp_path / f"{number}.txt").write_text(text)
    return gather(tmp_path)


class Pipeline:
    """What the demo's pipeline does with processes of the system, with those of the lab."""

    def __init__(self, world: World, corpus: Corpus, *, alter: bool = False) -> None:
        self.verdict: proof.Verdict | None = None
        self.again: list[Again] = []
        self._world = world
        self._corpus = corpus
        self._shared = roles.Shared(
            queue=Queue(2, JOB_BYTES),
            ready=Semaphore(0),
            go=Semaphore(0),
            gates=Queue(1, 1024),
            notes=Queue(1, 256),
            reports=Queue(1, 4096),
        )
        world.process(roles.serve_index, self._shared, alter, mortal=False, servant=True)
        world.process(roles.read, self._shared, corpus, 1, 0.0, mortal=False)
        world.process(self._direct, mortal=False, name="parent")

    def _direct(self) -> None:
        """Have workers started, let the reader go, and prove the index when they have ended."""
        gate: Gate = pickle.loads(self._shared.gates.get())  # noqa: S301 - our own
        keepers = [
            self._world.process(self._keep, number, gate, mortal=False, name=f"keeper {number}")
            for number in range(1, WORKERS + 1)
        ]
        for _ in keepers:
            self._shared.ready.acquire()
        self._shared.go.release()
        for keeper in keepers:
            self._world.join(keeper)
        report = msgspec.msgpack.decode(self._shared.reports.get(), type=roles.Report)
        assert not report.error
        index = connect(Index, gate)
        assert index.progress().chunks == report.chunks
        self.again = index.again()
        reference = proof.build(self._corpus, lambda _: None)
        found = proof.postings_of(index)
        self.verdict = proof.compare(reference.postings, found, report.rounds, len(self._corpus.files))

    def _keep(self, number: int, gate: Gate) -> None:
        """Start a worker, and another for one that was killed."""
        ended = False

        def play() -> None:
            nonlocal ended
            roles.work(self._shared, number, gate, None)
            ended = True

        while not ended:
            self._world.join(self._world.process(play, name=f"worker {number}"))

    def holds(self) -> bool:
        """Say whether the proof was made, and holds."""
        return self.verdict is not None and self.verdict.holds


def test_everything_is_indexed_once_whoever_dies(corpus: Corpus) -> None:
    again: Counter[bool] = Counter()

    def program(world: World) -> None:
        pipeline = Pipeline(world, corpus)
        world.at_end(pipeline.holds)
        world.at_end(lambda: again.update(chunk.was_applied for chunk in pipeline.again))

    lab.explore(program, schedules=SCHEDULES, kills=1, seed=1, jobs=1)
    # Deaths fell before the server had applied the chunk, and after.
    assert set(again) == {False, True}


def test_an_index_that_is_wrong_is_found(corpus: Corpus) -> None:
    def program(world: World) -> None:
        world.at_end(Pipeline(world, corpus, alter=True).holds)

    with pytest.raises(lab.Failure, match="at the end: holds returned False"):
        lab.explore(program, schedules=1, seed=1)
