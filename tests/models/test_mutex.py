"""Mutex against a depth, an owner among two threads, and whether its last owner died."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.models.stateful import compare, outcome, profiles
from underpass import MisuseError, Mutex, OwnerDiedError, TimedOut, WouldBlock

who = some.integers(0, 1)


class Hand:
    """A thread that does what it is told, one thing after the other."""

    def __init__(self) -> None:
        self._orders: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._results: SimpleQueue[object] = SimpleQueue()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        while (order := self._orders.get()) is not None:
            try:
                self._results.put(outcome(order))
            except (OwnerDiedError, ZeroDivisionError) as error:
                self._results.put(type(error))

    def do(self, order: Callable[[], object]) -> object:
        self._orders.put(order)
        return self._results.get()

    def end(self) -> None:
        self._orders.put(None)
        self._thread.join()
        # Python is through with it a little before the kernel is.
        task = Path(f"/proc/self/task/{self._thread.native_id}")
        while task.exists():
            os.sched_yield()


class MutexModel(RuleBasedStateMachine):
    """Who holds it, how often, and whether it was left behind."""

    @initialize(recursive=some.booleans(), order=some.sampled_from(("barging", "arrival", "priority", "inherited")))
    def make(self, *, recursive: bool, order: Literal["barging", "arrival", "priority", "inherited"]) -> None:
        self.recursive = recursive
        self.owner: int | None = None
        self.depth = 0
        self.dead = False
        if order == "inherited":
            self.it = Mutex.create("it", recursive=recursive, inherit_priority=True)
        else:
            self.it = Mutex.create("it", recursive=recursive, fairness=order)
        self.hands = [Hand(), Hand()]

    def _expected(self, hand: int, busy: type[Exception]) -> object:
        if self.owner == hand:
            return True if self.recursive else MisuseError
        if self.owner is not None:
            return busy
        return OwnerDiedError if self.dead else True

    def _taken(self, hand: int, result: object) -> None:
        if result is True:
            self.owner = hand
            self.depth += 1

    @rule(hand=who)
    def acquire(self, hand: int) -> None:
        result = self.hands[hand].do(lambda: self.it.acquire(timeout=0))
        assert result is self._expected(hand, TimedOut)
        self._taken(hand, result)

    @rule(hand=who)
    def acquire_nowait(self, hand: int) -> None:
        result = self.hands[hand].do(self.it.acquire_nowait)
        assert result is self._expected(hand, WouldBlock)
        self._taken(hand, result)

    @rule(hand=who)
    def release(self, hand: int) -> None:
        result = self.hands[hand].do(self.it.release)
        if self.owner != hand:
            assert result is MisuseError
            return
        assert result is None
        self.depth -= 1
        if self.depth == 0:
            self.owner = None

    @rule(hand=who)
    def owner_ends(self, hand: int) -> None:
        """A thread ends; what it held is owner-dead. Another takes its place."""
        self.hands[hand].end()
        self.hands[hand] = Hand()
        if self.owner == hand:
            self.owner, self.depth, self.dead = None, 0, True

    @rule(hand=who, repairs=some.booleans())
    def recover(self, hand: int, *, repairs: bool) -> None:
        def recover() -> object:
            with self.it.recovering(timeout=0) as died:
                if not repairs:
                    raise ZeroDivisionError
                return died is not None

        result = self.hands[hand].do(recover)
        if self.owner == hand and not self.recursive:
            assert result is MisuseError
        elif self.owner not in {None, hand}:
            assert result is TimedOut
        elif repairs:
            assert result is self.dead
            self.dead = False
        else:
            assert result is ZeroDivisionError

    @invariant()
    def is_the_same(self) -> None:
        owner = self.it.owner
        assert (owner is None) == (self.owner is None and not self.dead)  # a dead one stays until a recovery
        state = "held" if self.owner is not None else "owner died" if self.dead else "free"
        assert self.it.statistics().state == state

    def teardown(self) -> None:
        for hand in self.hands:
            hand.end()
        self.it.unlink()
        self.it.close()


@profiles
def test_mutex_is_an_owner_and_a_depth(profile: settings) -> None:
    compare(MutexModel, profile)
