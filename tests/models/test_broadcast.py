"""Broadcast against a list that forgets its front when the ring is full, or does not as long as a reader needs it."""

from typing import Literal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.models.stateful import compare, outcome, profiles
from underpass import Broadcast, EndOfStream, Subscription, TimedOut, WouldBlock

RING = 256
STEP = 16


def record(message: bytes) -> int:
    """Bytes that a message takes."""
    return STEP + -(-len(message) // STEP) * STEP


class BroadcastModel(RuleBasedStateMachine):
    """What was published, where it lies, and how far each reader has come."""

    when_full: Literal["overwrite", "wait"] = "overwrite"

    @initialize()
    def make(self) -> None:
        self.it = Broadcast.create("it", RING, when_full=self.when_full)
        self.other = Broadcast.open("it")
        self.messages = list[bytes]()
        self.begins = list[int]()
        self.end = self.oldest = 0
        self.closed = False
        self.readers = list[list[int]]()
        self.subscriptions = list[Subscription]()

    @rule(size=st.integers(0, RING // 2 - STEP))
    def publish(self, size: int) -> None:
        message = bytes((len(self.messages) + place) % 256 for place in range(size))
        rest = RING - self.end % RING
        first = self.end + (rest if rest < record(message) else 0)
        # A reader that lives needs what this one would overwrite.
        held = any(self.position(place[0]) + RING < first + record(message) for place in self.readers)
        ended = outcome(lambda: self.it.publish_nowait(message))
        if self.closed or (held and self.when_full == "wait"):
            assert ended is (EndOfStream if self.closed else WouldBlock)
            return
        assert ended is None
        self.begins.append(self.end)
        self.messages.append(message)
        self.end = first + record(message)
        self.oldest = next(n for n, begin in enumerate(self.begins) if self.kept(n, begin))

    def position(self, number: int) -> int:
        """Where a reader is that expects this message."""
        return self.begins[number] if number < len(self.begins) else self.end

    def kept(self, number: int, begin: int) -> bool:
        """A filler goes before its message, which may then still be whole."""
        rest = RING - begin % RING
        first = begin + (rest if rest < record(self.messages[number]) else 0)
        return first + RING >= self.end

    @precondition(lambda self: len(self.readers) < 4)
    @rule(start=st.sampled_from(["now", "oldest"]))
    def subscribe(self, start: str) -> None:
        now = start == "now"
        self.subscriptions.append(self.other.subscribe(start="now" if now else "oldest"))
        self.readers.append([len(self.messages) if now else self.oldest, 0])

    @precondition(lambda self: self.readers)
    @rule(which=st.integers(0, 3), times=st.integers(1, 4))
    def get(self, which: int, times: int) -> None:
        which %= len(self.readers)
        place, mine = self.readers[which], self.subscriptions[which]
        for _ in range(times):
            if place[0] == len(self.messages):
                ended = EndOfStream if self.closed else None
                assert outcome(mine.get_nowait) is (ended or WouldBlock)
                assert outcome(lambda mine=mine: mine.get(timeout=0)) is (ended or TimedOut)
            else:
                place[1] += max(0, self.oldest - place[0])
                place[0] = max(place[0], self.oldest)
                assert outcome(mine.get_nowait) == self.messages[place[0]]
                place[0] += 1

    @precondition(lambda self: self.readers)
    @rule(which=st.integers(0, 3))
    def leave(self, which: int) -> None:
        which %= len(self.readers)
        self.readers.pop(which)
        self.subscriptions.pop(which).close()

    @precondition(lambda self: len(self.messages) > 20)
    @rule()
    def shutdown(self) -> None:
        self.it.shutdown()
        self.closed = True

    @invariant()
    def is_the_same(self) -> None:
        statistics = self.other.statistics()
        assert statistics.published == len(self.messages)
        assert statistics.kept == len(self.messages) - self.oldest
        assert statistics.shut_down == self.closed
        if self.when_full == "wait":
            behind = sorted((len(self.messages) - place for place, _ in self.readers), reverse=True)
            assert [reader.behind for reader in statistics.readers] == behind
        for (place, lost), mine in zip(self.readers, self.subscriptions, strict=True):
            assert (mine.behind, mine.lost) == (len(self.messages) - place, lost)

    def teardown(self) -> None:
        for mine in self.subscriptions:
            mine.close()
        self.other.close()
        self.it.unlink()
        self.it.close()


class WaitingModel(BroadcastModel):
    """Nothing is overwritten that a reader needs: then nothing is lost."""

    when_full = "wait"


@profiles
def test_broadcast_forgets_its_oldest(profile: settings) -> None:
    # Its steps are longer than those of other models.
    compare(BroadcastModel, settings(profile, max_examples=profile.max_examples // 3))


@profiles
def test_broadcast_keeps_what_its_readers_need(profile: settings) -> None:
    compare(WaitingModel, settings(profile, max_examples=profile.max_examples // 3))
