"""Latch against a number that goes down."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.models.stateful import compare, outcome, profiles
from underpass import MisuseError, TimedOut, WouldBlock
from underpass.sync import Latch


class LatchModel(RuleBasedStateMachine):
    """So many are to come."""

    @initialize(count=st.integers(0, 5))
    def make(self, count: int) -> None:
        self.count = count
        self.it = Latch.create("it", count)
        self.other = Latch.open("it")

    @rule(n=st.integers(1, 4))
    def count_down(self, n: int) -> None:
        fits = n <= self.count
        assert outcome(lambda: self.it.count_down(n)) is (None if fits else MisuseError)
        self.count -= n if fits else 0

    @rule()
    def wait(self) -> None:
        opened = self.count == 0
        assert outcome(lambda: self.other.wait(timeout=0)) is (True if opened else TimedOut)
        assert outcome(self.other.wait_nowait) is (True if opened else WouldBlock)

    @invariant()
    def is_the_same(self) -> None:
        for handle in (self.it, self.other):
            assert handle.count == handle.statistics().count == self.count

    def teardown(self) -> None:
        self.other.close()
        self.it.unlink()
        self.it.close()


@profiles
def test_latch_counts_down(profile: settings) -> None:
    compare(LatchModel, profile)
