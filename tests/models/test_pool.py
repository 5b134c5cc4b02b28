"""Pool against a dictionary of who has what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.models.stateful import compare, outcome, profiles
from underpass import Block, MisuseError, Pool, TimedOut, WouldBlock

if TYPE_CHECKING:
    from collections.abc import Callable


class PoolModel(RuleBasedStateMachine):
    """Everything that one process can do with a pool without waiting, through two handles of it."""

    @initialize(sizes=some.dictionaries(some.integers(1, 40), some.integers(1, 3), min_size=1, max_size=4))
    def make(self, sizes: dict[int, int]) -> None:
        (first, count), *others = sizes.items()
        self.it = Pool.create("it", count, first, more=dict(others))
        self.other = Pool.open("it")
        self.sizes = dict(sorted(sizes.items()))
        # Each block, what its bytes are, and of which size it is.
        self.held: list[tuple[Block, bytes, int]] = []
        self.most = dict.fromkeys(sizes, 0)
        self.references: list[bytes] = []

    def used(self, size: int) -> int:
        return sum(of == size for _, _, of in self.held)

    @rule(length=some.integers(0, 45), wait=some.booleans(), fill=some.integers(0, 255))
    def alloc(self, length: int, *, wait: bool, fill: int) -> None:
        attempt: Callable[[], Block] = (
            (lambda: self.it.alloc(length, timeout=0)) if wait else (lambda: self.other.alloc_nowait(length))
        )
        fitting = [size for size in self.sizes if size >= length]
        free = [size for size in fitting if self.used(size) < self.sizes[size]]
        if not fitting:
            with pytest.raises(ValueError, match="of its largest blocks"):
                attempt()
            return
        if not free:
            assert outcome(attempt) is (TimedOut if wait else WouldBlock)
            return
        block = attempt()
        block[:] = bytes([fill]) * length
        self.held.append((block, bytes([fill]) * length, free[0]))
        self.most[free[0]] = max(self.most[free[0]], self.used(free[0]))

    @precondition(lambda self: self.held)
    @rule(place=some.integers(0, 11), forget=some.booleans())
    def give_back(self, place: int, *, forget: bool) -> None:
        block, _, _ = self.held.pop(place % len(self.held))
        if not forget:
            block.release()
            assert outcome(block.release) is MisuseError

    @precondition(lambda self: self.held)
    @rule(place=some.integers(0, 11), back=some.booleans())
    def hand_on(self, place: int, *, back: bool) -> None:
        block, data, size = self.held.pop(place % len(self.held))
        self.references.append(block.hand_on())
        if back:
            block.release()
            return
        self.held.append((self.other.receive(self.references[-1]), data, size))
        assert outcome(block.release) is MisuseError

    @precondition(lambda self: self.references)
    @rule(place=some.integers(0, 11))
    def receive_again(self, place: int) -> None:
        reference = self.references[place % len(self.references)]
        with pytest.raises(MisuseError):
            self.it.receive(reference)

    @invariant()
    def tells(self) -> None:
        told = self.it.statistics()
        assert [(size.block_size, size.blocks) for size in told.sizes] == list(self.sizes.items())
        assert [size.free for size in told.sizes] == [count - self.used(size) for size, count in self.sizes.items()]
        assert [size.high_water for size in told.sizes] == [self.most[size] for size in self.sizes]
        assert sum(told.holders.values()) == len(self.held)
        assert all(bytes(block) == data for block, data, _ in self.held)

    def teardown(self) -> None:
        if hasattr(self, "it"):
            self.held.clear()
            self.it.unlink()
            self.it.close()
            self.other.close()


@profiles
def test_pool_is_a_dictionary(profile: settings) -> None:
    compare(PoolModel, profile)
