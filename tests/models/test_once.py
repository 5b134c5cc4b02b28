"""Once against whether it has run."""

from contextlib import suppress

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.models.stateful import compare, outcome, profiles
from underpass import MisuseError, Once


class OnceModel(RuleBasedStateMachine):
    """It has run or it has not."""

    @initialize()
    def make(self) -> None:
        self.done = False
        self.it = Once.create("it")
        self.other = Once.open("it")

    @rule()
    def call(self) -> None:
        ran = list[int]()
        assert self.it.call(lambda: ran.append(1), timeout=0) is not self.done
        assert ran == ([] if self.done else [1])
        self.done = True

    @rule()
    def fail(self) -> None:
        with suppress(ZeroDivisionError), self.other.running(timeout=0) as turn:
            assert (turn is None) is self.done
            assert 1 / 0

    @rule()
    def call_itself(self) -> None:
        with self.it.running() as turn:
            if turn is not None:
                # Of a thread, whichever handle it uses.
                assert outcome(lambda: self.other.call(int)) is MisuseError
        self.done = True

    @invariant()
    def is_the_same(self) -> None:
        for handle in (self.it, self.other):
            assert handle.done is self.done
            assert handle.statistics().state == ("done" if self.done else "new")

    def teardown(self) -> None:
        self.other.close()
        self.it.unlink()
        self.it.close()


@profiles
def test_once_has_run_or_not(profile: settings) -> None:
    compare(OnceModel, profile)
