"""Semaphore against a number."""

from typing import Literal

from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.models.stateful import compare, outcome, profiles
from underpass import MisuseError, Semaphore, TimedOut, WouldBlock

Fairness = Literal["barging", "arrival", "priority"]

fairness = some.sampled_from(("barging", "arrival", "priority"))
counts = some.integers(1, 7) | some.sampled_from([2**31 - 1, 2**31, 2**40])


class SemaphoreModel(RuleBasedStateMachine):
    """A number between 0 and its limit; of a leased one also what this process holds."""

    @initialize(
        limit=some.integers(1, 6) | some.none(),
        start=some.integers(0, 6),
        kind=some.sampled_from(("plain", "saturating", "leased")),
        fairness=fairness,
    )
    def make(self, *, limit: int | None, start: int, kind: str, fairness: Fairness) -> None:
        self.limit = 2**31 - 1 if limit is None else limit
        self.value = min(start, self.limit)
        self.saturate, self.leased, self.held = kind == "saturating", kind == "leased", 0
        self.it = Semaphore.create(
            "it", self.value, limit=limit, saturate=self.saturate, leased=self.leased, fairness=fairness
        )
        self.other = Semaphore.open("it")

    @rule(count=counts)
    def release(self, count: int) -> None:
        fits = count <= self.held if self.leased else self.value + count <= self.limit
        expected = None if fits or self.saturate else MisuseError
        assert outcome(lambda: self.it.release(count)) is expected
        if expected is None:
            self.value = min(self.value + count, self.limit)
            self.held -= count

    def take(self) -> None:
        self.held += self.value > 0
        self.value -= self.value > 0

    @rule()
    def acquire(self) -> None:
        assert outcome(lambda: self.other.acquire(timeout=0)) is (True if self.value else TimedOut)
        self.take()

    @rule()
    def acquire_nowait(self) -> None:
        assert outcome(self.it.acquire_nowait) is (True if self.value else WouldBlock)
        self.take()

    @rule()
    def hold(self) -> None:
        def hold() -> None:
            with self.it.holding(timeout=0):
                assert self.other.value == self.value - 1

        assert outcome(hold) is (None if self.value else TimedOut)

    @rule()
    def reset(self) -> None:
        self.it.reset()
        self.value = 0

    @invariant()
    def is_the_same(self) -> None:
        for handle in (self.it, self.other):
            assert handle.value == self.value
            assert handle.statistics().limit == self.limit
            holders = [units for _, units in handle.statistics().holders]
            assert holders == ([self.held] if self.leased and self.held else [])

    def teardown(self) -> None:
        self.other.close()
        self.it.unlink()
        self.it.close()


@profiles
def test_semaphore_is_a_number(profile: settings) -> None:
    compare(SemaphoreModel, profile)
