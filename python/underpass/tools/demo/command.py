"""The command: run the pipeline, tell what happened, ask the index, prove it."""

from __future__ import annotations

import os
import random
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from underpass import UnderpassError
from underpass.tools.demo import compare, death, proof
from underpass.tools.demo.corpus import Corpus, CorpusError, gather
from underpass.tools.demo.pipeline import Pipeline, PipelineError, Plan
from underpass.tools.demo.progress import Display, display, expected_size, rates, seconds_text, size_text

if TYPE_CHECKING:
    import io
    from pathlib import Path

    from underpass.tools.demo.index import Again, Index, Progress
    from underpass.tools.demo.pipeline import Outcome
    from underpass.tools.demo.roles import Fate

__all__ = ["Choices", "run"]

_HOLDS, _FAILED, _NOTHING_TO_DO, _INTERRUPTED = 0, 1, 2, 130
_SECONDS = 5.0
# What is asked at the end, if the corpus has it; then its own most common terms.
_QUERIES = ("deadlock", "semaphore", "kill")
_QUERY_COUNT = 3


@dataclass(frozen=True, slots=True)
class Choices:
    """The command line.

    Attributes:
        path: What to index; None: the standard library.
        workers: How many; None: one for each CPU, and at least two.
        seed: Chooses who dies and when; None: any.
        kill: Whether anybody does.
        compare: Whether multiprocessing gets the same job.
        once: One pass instead of five seconds.
        alter: Falsify one posting, for the tests.
        after_reply: Kill between a call's reply and the end of the lease, for the tests.
    """

    path: Path | None = None
    workers: int | None = None
    seed: int | None = None
    kill: bool = True
    compare: bool = False
    once: bool = False
    alter: bool = False
    after_reply: bool = False


def run(choices: Choices) -> int:
    """Run the demo; the exit code: 0 only if the proof holds."""
    if hasattr(sys.stdout, "reconfigure"):
        # In a pipe, too, each line is there when it is true.
        cast("io.TextIOWrapper", sys.stdout).reconfigure(line_buffering=True)
    try:
        corpus = gather(choices.path)
    except CorpusError as error:
        print(f"underpass demo: {error}", file=sys.stderr)
        return _NOTHING_TO_DO
    except KeyboardInterrupt:
        return _interrupted()
    try:
        return _HOLDS if _run(choices, corpus) else _FAILED
    except (CorpusError, PipelineError, UnderpassError) as error:
        print(f"underpass demo: {error}", file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        return _interrupted()


def _interrupted() -> int:
    print("underpass demo: interrupted; all processes have ended, nothing is left in the space", file=sys.stderr)
    return _INTERRUPTED


def _run(choices: Choices, corpus: Corpus) -> bool:
    workers = choices.workers or max(2, len(os.sched_getaffinity(0)))
    seed = random.SystemRandom().randrange(1_000_000) if choices.seed is None else choices.seed
    print(
        f"indexing {_count(len(corpus.files), 'file')}, {size_text(corpus.size)}, of {corpus.root} with {_count(workers, 'worker')}; "
        + (f"seed {seed} chooses who is killed" if choices.kill else "nobody is killed")
    )
    if corpus.unreadable:
        print(f"left out, since they cannot be read: {_count(corpus.unreadable, 'file')}")
    fate = death.draw(corpus, seed, after_reply=choices.after_reply) if choices.kill else None
    plan = Plan(corpus, workers, 1 if choices.once else None, _SECONDS, fate, choices.alter)
    with Pipeline(plan) as pipeline:
        with display("indexing") as shown:
            _show(pipeline, shown, Story(corpus, fate[0] if fate else None))
        outcome = pipeline.outcome
        _print_outcome(outcome, pipeline.replacements)
        _print_queries(corpus, pipeline.index, outcome.rounds)
        verdict = _prove(corpus, pipeline.index, outcome)
        told = fate is None or pipeline.killing is not None
    if choices.compare:
        _compare(plan, outcome.rounds)
    return _print_verdict(corpus, verdict) and told


def _count(number: int, one: str, several: str = "") -> str:
    return f"{number:,} {one}" if number == 1 else f"{number:,} {several or one + 's'}"


class Story:
    """Tells of the death, as it unfolds, each part once.

    Args:
        corpus: Has the files' names.
        fate: The chunk that somebody dies with.
    """

    def __init__(self, corpus: Corpus, fate: Fate | None) -> None:
        self._corpus = corpus
        self._fate = fate
        self._killed_told = fate is None
        self._return_told = fate is None

    def tell(self, pipeline: Pipeline, shown: Display) -> None:
        """Say what has happened since."""
        killing = pipeline.killing
        if killing is not None and not self._killed_told:
            self._killed_told = True
            file = self._corpus.files[killing.place.file].shown
            shown.note(
                f"kill -9: worker {killing.number}, pid {killing.pid}, "
                f"held chunk {killing.place.chunk + 1} of {file} for {seconds_text(killing.held_for)}"
            )
        if self._killed_told and not self._return_told:
            for again in pipeline.index.again():
                if self._fate is not None and again.place == self._fate.place:
                    self._return_told = True
                    shown.note(_tell_return(again))


def _tell_return(again: Again) -> str:
    applied = "had been applied, so they were not again" if again.was_applied else "had not been applied, and now are"
    return (
        f"         it went back to the front of the queue; pid {again.worker} got it as delivery {again.deliveries}: "
        f"its postings {applied}"
    )


def _show(pipeline: Pipeline, shown: Display, story: Story) -> None:
    plan = pipeline.plan
    for progress, seconds in pipeline.run():
        total = expected_size(progress, seconds, plan.corpus.size, plan.rounds, plan.seconds)
        shown.update(min(1.0, progress.size / total), rates(progress, seconds))
        story.tell(pipeline, shown)
    story.tell(pipeline, shown)


def _print_outcome(outcome: Outcome, replacements: int) -> None:
    progress = outcome.progress
    passes, files = _count(outcome.rounds, "pass", "passes"), _count(progress.files, "file")
    print(
        f"indexed: {passes}, {files}, {size_text(progress.size)} in {outcome.seconds:.1f} s: "
        f"{progress.postings:,} postings of {progress.terms:,} terms"
    )
    latencies = f"{rates(progress, outcome.seconds)} in the median, {seconds_text(progress.latency_p99)}"
    print(f"         {latencies} at the 99th percentile")
    if replacements:
        print(f"         workers that were killed and replaced: {replacements}")
    if progress.replaced:
        print(f"         {progress.replaced:,} undecodable places were replaced")


def _print_queries(corpus: Corpus, index: Index, rounds: int) -> None:
    queries = [term for term in _QUERIES if index.look_up(term, 0).postings]
    queries += [term for term in index.most_common(_QUERY_COUNT) if term not in queries]
    for term in queries[:_QUERY_COUNT]:
        started = time.perf_counter()
        found = index.look_up(term, 1)
        took = time.perf_counter() - started
        times, files = found.postings // rounds, found.documents // rounds
        document, line = found.places[0]
        first = f"{corpus.files[document % len(corpus.files)].shown}:{line}"
        print(f"query:   {term!r} stands {times:,} times in {files:,} files, first {first} ({seconds_text(took)})")


def _prove(corpus: Corpus, index: Index, outcome: Outcome) -> proof.Verdict:
    done = 0
    with display("proof") as shown:

        def tick(size: int) -> None:
            nonlocal done
            done += size
            shown.update(done / corpus.size, "indexing once more, in one process and without underpass")

        reference = proof.build(corpus, tick)
    verdict = proof.compare(reference.postings, proof.postings_of(index), outcome.rounds, len(corpus.files))
    _check_counts(outcome, reference)
    return verdict


def _check_counts(outcome: Outcome, reference: proof.Reference) -> None:
    progress = outcome.progress
    if progress.chunks != outcome.chunks:
        raise PipelineError(f"the reader put {outcome.chunks:,} chunks, the server applied {progress.chunks:,}")
    if progress.replaced != reference.replaced * outcome.rounds:
        raise PipelineError(
            f"{progress.replaced:,} undecodable places were counted, {reference.replaced * outcome.rounds:,} are there"
        )


def _print_verdict(corpus: Corpus, verdict: proof.Verdict) -> bool:
    if verdict.holds:
        print(
            f"proof:   all {verdict.postings:,} postings compared with an index built without underpass: "
            "nothing lost, nothing twice"
        )
        return True
    for difference in verdict.differences:
        file = corpus.files[difference.document % len(corpus.files)].shown if corpus.files else ""
        print(
            f"         {difference.term!r} at {file}:{difference.line}: "
            f"expected {difference.expected} times, found {difference.found} times"
        )
    print(f"proof:   FAILED: of {verdict.postings:,} postings {verdict.lost:,} lost, {verdict.twice:,} too many")
    return False


def _compare(plan: Plan, rounds: int) -> None:
    """Run the job on both, nobody killed and the start-up left out, and print them side by side."""
    calm = Plan(plan.corpus, plan.workers, rounds)

    def share(progress: Progress) -> float:
        return progress.size / (rounds * plan.corpus.size)

    with display("underpass, nobody killed") as shown, Pipeline(calm) as pipeline:
        for progress, seconds in pipeline.run():
            shown.update(share(progress), rates(progress, seconds))
        outcome = pipeline.outcome
    ours = compare.Measured(outcome.seconds, outcome.progress)
    with display("multiprocessing") as shown:
        theirs = compare.run_on_multiprocessing(
            plan.corpus,
            plan.workers,
            rounds,
            lambda progress, seconds: shown.update(share(progress), rates(progress, seconds)),
        )
    print("compare: the same job, nobody killed, start-up left out")
    for name, measured in (("underpass", ours), ("multiprocessing", theirs)):
        print(f"         {name:15}  {measured.seconds:6.2f} s  {rates(measured.progress, measured.seconds)}")
    print(f"         underpass does it in {ours.seconds / theirs.seconds:.2f} × the time of multiprocessing")
