"""AtomicInt against a number of 64 bits that wraps around."""

from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.models.stateful import compare, outcome, profiles
from underpass import AtomicInt, TimedOut

numbers = some.integers(-3, 3) | some.sampled_from([2**63 - 1, -(2**63), 0x5555_5555_5555_5555])


def wrapped(number: int) -> int:
    """The number in two's complement of 64 bits."""
    return (number + 2**63) % 2**64 - 2**63


class AtomicModel(RuleBasedStateMachine):
    """A signed number of 64 bits."""

    @initialize(value=numbers)
    def make(self, value: int) -> None:
        self.value = value
        self.it = AtomicInt.create("it", value)
        self.other = AtomicInt.open("it")

    @rule(value=numbers)
    def store(self, value: int) -> None:
        self.it.store(value)
        self.value = value

    @rule(value=numbers)
    def exchange(self, value: int) -> None:
        assert self.other.exchange(value) == self.value
        self.value = value

    @rule(expected=numbers, value=numbers)
    def compare_exchange(self, expected: int, value: int) -> None:
        assert self.it.compare_exchange(expected, value) == self.value
        if self.value == expected:
            self.value = value

    @rule(operand=numbers)
    def add(self, operand: int) -> None:
        assert self.it.add(operand) == self.value
        self.value = wrapped(self.value + operand)

    @rule(operand=numbers)
    def sub(self, operand: int) -> None:
        assert self.other.sub(operand) == self.value
        self.value = wrapped(self.value - operand)

    @rule(operand=numbers)
    def bits(self, operand: int) -> None:
        assert self.it.and_(operand) == self.value
        self.value &= operand
        assert self.other.or_(operand >> 1) == self.value
        self.value |= operand >> 1
        assert self.it.xor(operand) == self.value
        self.value ^= operand

    @rule(expected=numbers)
    def wait(self, expected: int) -> None:
        result = outcome(lambda: self.it.wait(expected, timeout=0))
        assert result is (TimedOut if self.value == expected else True)

    @invariant()
    def is_the_same(self) -> None:
        assert self.it.load() == self.other.load() == self.value

    def teardown(self) -> None:
        self.other.close()
        self.it.unlink()
        self.it.close()


@profiles
def test_atomic_int_is_a_number_of_64_bits(profile: settings) -> None:
    compare(AtomicModel, profile)
