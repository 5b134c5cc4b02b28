"""RWLock against how often two threads read, which of them writes, and whether a writer has left what it did not repair."""

from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.models.stateful import compare, profiles
from tests.models.test_mutex import Hand
from underpass import MisuseError, OwnerDiedError, RWLock, TimedOut, WouldBlock

who = some.integers(0, 1)


class RWLockModel(RuleBasedStateMachine):
    """Nobody waits: the preference makes no difference."""

    @initialize(prefer=some.sampled_from(["writers", "readers", "arrival"]))
    def make(self, prefer: str) -> None:
        self.depth = [0, 0]
        self.writer: int | None = None
        # A writer died, and its writing has not been repaired.
        self.dead = False
        self.it = RWLock.create("it", prefer=prefer)  # pyright: ignore[reportArgumentType]
        self.hands = [Hand(), Hand()]

    def do(self, hand: int, order: Callable[[], object]) -> object:
        return self.hands[hand].do(order)

    @rule(hand=who)
    def read(self, hand: int) -> None:
        result = self.do(hand, self.it.reading(timeout=0).__enter__)
        if self.writer == hand:
            assert result is MisuseError
        elif self.writer is not None:
            assert result is TimedOut
        elif self.dead:
            assert result is OwnerDiedError
        else:
            assert result is None
            self.depth[hand] += 1

    @rule(hand=who)
    def write(self, hand: int) -> None:
        result = self.do(hand, self.it.writing(timeout=0).__enter__)
        if self.writer == hand or self.depth[hand]:
            assert result is MisuseError
        elif self.writer is not None or self.depth[1 - hand]:
            assert result is TimedOut
        else:
            assert (type(result) is OwnerDiedError) == self.dead
            self.writer = hand

    @rule(hand=who, well=some.booleans())
    def leave(self, hand: int, *, well: bool) -> None:
        kind = None if well else ZeroDivisionError
        result = self.do(hand, lambda: self.it.writing().__exit__(kind, None, None))
        if self.depth[hand] > 1 or (self.depth[hand] and self.writer is None):
            self.depth[hand] -= 1
        elif self.writer == hand:
            self.writer, self.depth[hand] = None, 0
            self.dead = self.dead and not well
        else:
            assert result is MisuseError
            return
        assert result is None

    @rule(hand=who)
    def upgrade(self, hand: int) -> None:
        result = self.do(hand, self.it.upgrade_nowait)
        if self.writer == hand or not self.depth[hand]:
            assert result is MisuseError
        elif self.depth[1 - hand]:
            assert result is WouldBlock
        else:
            assert result is True
            self.writer = hand

    @rule(hand=who)
    def downgrade(self, hand: int) -> None:
        result = self.do(hand, self.it.downgrade)
        if self.writer != hand or self.dead:
            assert result is MisuseError
        else:
            assert result is None
            self.writer, self.depth[hand] = None, max(1, self.depth[hand])

    @rule(hand=who)
    def die(self, hand: int) -> None:
        self.hands[hand].end()
        if self.writer == hand:
            self.writer, self.dead = None, True
        self.depth[hand] = 0
        self.hands[hand] = Hand()

    @invariant()
    def is_the_same(self) -> None:
        found = self.it.statistics()
        if self.writer is not None:
            state = "written"
        elif self.dead:
            state = "writer died"
        else:
            state = "read" if any(self.depth) else "free"
        readers = sum(depth > 0 for depth in self.depth) if self.writer is None else 0
        assert (found.state, found.readers, found.waiters) == (state, readers, 0)

    def teardown(self) -> None:
        for hand in self.hands:
            hand.end()
        self.it.unlink()
        self.it.close()


@profiles
def test_rwlock_agrees_with_its_model(profile: settings) -> None:
    compare(RWLockModel, profile)
