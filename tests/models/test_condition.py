"""Condition over a mutex of either kind against how often this thread holds that; nobody else is there."""

from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.models.stateful import compare, outcome, profiles
from underpass import Condition, MisuseError, Mutex, TimedOut

MOMENT = 1e-6


class ConditionModel(RuleBasedStateMachine):
    """Held so often."""

    @initialize(recursive=some.booleans(), given=some.booleans())
    def make(self, *, recursive: bool, given: bool) -> None:
        self.recursive = recursive and given
        self.depth = 0
        self.mutex = Mutex.create("mutex", recursive=recursive)
        self.it = Condition.create("it", self.mutex if given else None)
        self.other = Condition.open("it")

    @rule()
    def acquire(self) -> None:
        if self.depth and not self.recursive:
            assert outcome(self.other.acquire) is MisuseError
        else:
            assert self.it.acquire() is True
            self.depth += 1

    @rule()
    def release(self) -> None:
        if self.depth:
            self.other.release()
            self.depth -= 1
        else:
            assert outcome(self.it.release) is MisuseError

    @rule(timeout=some.sampled_from([0.0, MOMENT]))
    def wait(self, timeout: float) -> None:
        expected = TimedOut if self.depth == 1 else MisuseError
        assert outcome(lambda: self.it.wait(timeout=timeout)) is expected
        assert outcome(lambda: self.other.wait_for(lambda: False, timeout=timeout)) is expected

    @rule()
    def wait_for_what_is_true(self) -> None:
        assert self.it.wait_for(lambda: True, timeout=0) is True

    @rule(count=some.integers(0, 3))
    def notify(self, count: int) -> None:
        assert (self.it.notify(count), self.other.notify_all()) == (0, 0)

    @invariant()
    def is_the_same(self) -> None:
        for handle in (self.it, self.other):
            found = handle.statistics()
            assert (found.n_waiting, found.held, found.waiters) == (0, self.depth > 0, 0)
            assert (handle.owner is not None) == (self.depth > 0)

    def teardown(self) -> None:
        for _ in range(self.depth):
            self.it.release()
        for thing in (self.it, self.mutex):
            thing.unlink()
            thing.close()
        self.other.close()


@profiles
def test_condition_is_its_mutex_while_nobody_waits(profile: settings) -> None:
    compare(ConditionModel, profile)
