"""Barrier of one or two against what is waiting at it, which is nobody between two steps, and how it was broken."""

import pytest
from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.models.stateful import compare, outcome, profiles
from underpass import Barrier, BrokenBarrierError, TimedOut


class BarrierModel(RuleBasedStateMachine):
    """Whole, or broken in some way."""

    @initialize(parties=some.integers(1, 2) | some.sampled_from([64]))
    def make(self, parties: int) -> None:
        self.parties = parties
        self.cause: str | None = None
        self.it = Barrier.create("it", parties)
        self.other = Barrier.open("it")

    @rule()
    def wait(self) -> None:
        if self.cause is not None:
            with pytest.raises(BrokenBarrierError) as caught:
                self.other.wait(timeout=0)
            assert caught.value.cause == self.cause
        elif self.parties == 1:
            assert self.other.wait(timeout=0) == 0
        else:
            assert outcome(lambda: self.other.wait(timeout=0)) is TimedOut
            self.cause = "timed out"

    @rule()
    def abort(self) -> None:
        self.it.abort()
        self.cause = self.cause or "aborted"

    @rule()
    def reset(self) -> None:
        self.other.reset()
        self.cause = None

    @rule()
    def join(self) -> None:
        self.it.join()

    @invariant()
    def is_the_same(self) -> None:
        for handle in (self.it, self.other):
            found = handle.statistics()
            assert (found.parties, found.n_waiting, found.broken) == (self.parties, 0, self.cause is not None)
            assert (handle.parties, handle.n_waiting, handle.broken) == (self.parties, 0, self.cause is not None)

    def teardown(self) -> None:
        self.other.close()
        self.it.unlink()
        self.it.close()


@profiles
def test_barrier_is_whole_or_broken(profile: settings) -> None:
    compare(BarrierModel, profile)
