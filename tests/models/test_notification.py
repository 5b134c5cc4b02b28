"""Notification and Event against a set of flags."""

from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.models.stateful import compare, outcome, profiles
from underpass import Event, Notification, TimedOut, WouldBlock

ALL = 2**64 - 1
# Few flags, so that they meet; and the last one.
flags = some.integers(0, 15) | some.sampled_from([1 << 63, ALL])


class NotificationModel(RuleBasedStateMachine):
    """A word of 64 flags."""

    @initialize()
    def make(self) -> None:
        self.bits = 0
        self.it = Notification.create("it")
        self.other = Notification.open("it")

    @rule(bits=flags)
    def notify(self, bits: int) -> None:
        assert self.it.notify(bits) == self.bits
        self.bits |= bits

    @rule(bits=flags, mask=flags)
    def set(self, bits: int, mask: int) -> None:
        assert self.other.set(bits, mask) == self.bits
        self.bits = self.bits & ~mask | bits & mask

    @rule(bits=flags)
    def clear(self, bits: int) -> None:
        assert self.it.clear(bits) == self.bits
        self.bits &= ~bits & ALL

    @rule(bits=flags, every=some.booleans(), consume=some.booleans(), wait=some.booleans())
    def wait(self, bits: int, *, every: bool, consume: bool, wait: bool) -> None:
        matched = self.bits & bits
        satisfied = matched == bits if every else matched != 0 or bits == 0
        if wait:
            result = outcome(lambda: self.other.wait(bits, all=every, consume=consume, timeout=0))
        else:
            result = outcome(lambda: self.other.wait_nowait(bits, all=every, consume=consume))
        if not satisfied:
            assert result is (TimedOut if wait else WouldBlock)
            return
        assert result == matched
        if consume:
            self.bits &= ~matched

    @invariant()
    def is_the_same(self) -> None:
        assert self.it.bits == self.other.bits == self.bits

    def teardown(self) -> None:
        self.other.close()
        self.it.unlink()
        self.it.close()


class EventModel(RuleBasedStateMachine):
    """One flag."""

    @initialize()
    def make(self) -> None:
        self.flag = False
        self.it = Event.create("it")

    @rule()
    def set(self) -> None:
        self.it.set()
        self.flag = True

    @rule()
    def clear(self) -> None:
        self.it.clear()
        self.flag = False

    @rule()
    def wait(self) -> None:
        assert outcome(lambda: self.it.wait(timeout=0)) is (True if self.flag else TimedOut)

    @invariant()
    def is_the_same(self) -> None:
        assert self.it.is_set() is self.flag

    def teardown(self) -> None:
        self.it.unlink()
        self.it.close()


@profiles
def test_notification_is_a_word_of_flags(profile: settings) -> None:
    compare(NotificationModel, profile)


@profiles
def test_event_is_a_flag(profile: settings) -> None:
    compare(EventModel, profile)
