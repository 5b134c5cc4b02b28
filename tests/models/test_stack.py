"""Stack against a list."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.models.stateful import compare, outcome, profiles
from underpass import TimedOut, WouldBlock
from underpass.data import Stack


class StackModel(RuleBasedStateMachine):
    """What is on it, the last one on top."""

    @initialize(capacity=st.integers(1, 5))
    def make(self, capacity: int) -> None:
        self.capacity = capacity
        self.words = list[int]()
        self.it = Stack.create("it", capacity)
        self.other = Stack.open("it")

    @rule(word=st.integers(0, 2**64 - 1))
    def push(self, word: int) -> None:
        fits = len(self.words) < self.capacity
        assert outcome(lambda: self.it.push(word)) is (None if fits else WouldBlock)
        self.words += [word] if fits else []

    @rule(waits=st.booleans())
    def pop(self, *, waits: bool) -> None:
        verb = (lambda: self.other.pop(timeout=0)) if waits else self.other.pop_nowait
        expected = self.words.pop() if self.words else TimedOut if waits else WouldBlock
        assert outcome(verb) == expected

    @rule()
    def purge(self) -> None:
        assert self.other.purge() == len(self.words)
        self.words.clear()

    @invariant()
    def is_the_same(self) -> None:
        for handle in (self.it, self.other):
            assert handle.depth == handle.statistics().depth == len(self.words)

    def teardown(self) -> None:
        self.other.close()
        self.it.unlink()
        self.it.close()


@profiles
def test_stack_is_a_list(profile: settings) -> None:
    compare(StackModel, profile)
