"""What a task waits for beside other things: a set of its own, which its loop waits for.

A mutex knows the thread. So one that another task of this loop has, or waits for, is out of reach: it would seem to be the task's own.

Invariant: between two attempts the set has all that was in reach at the last one, and looks on at the seats of all that was not.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from underpass import sync
from underpass.aio.running import reactor
from underpass.aio.seat import Seat
from underpass.errors import WouldBlock
from underpass.waiting import WaitSet

T = TypeVar("T")


def is_in_reach(one: object) -> bool:
    """Say whether the running task may look whether that is ready."""
    return not isinstance(one, sync.Mutex) or Seat.of(one).is_open()


class Reach:
    """One wait for several things."""

    def __init__(self, verb: str, what: list[Any]) -> None:
        self._verb = verb
        self._what = what
        self._reactor = reactor()
        self._members: WaitSet | None = None
        self._seats: list[Seat] = []

    async def wait(self, attempt: Callable[[list[int]], T]) -> T:
        """Return what ``attempt`` returns, of the places of what is in reach, once it does not raise WouldBlock."""

        def look() -> T:
            places = [place for place, one in enumerate(self._what) if is_in_reach(one)]
            self._arrange()
            if self._what and not places:
                raise WouldBlock("other tasks of this loop have all of it")
            return attempt(places)

        try:
            return await self._reactor.wait(self, self._begin, look, verb=self._verb)
        finally:
            self._reactor.let_go(self)
            self._end()

    def _begin(self) -> WaitSet:
        self._members = WaitSet()
        self._arrange()
        return self._members

    def _arrange(self) -> None:
        """Have the set as it has to be; there is none before the first attempt."""
        members = self._members
        if members is None:
            return
        self._look_away()
        for one in self._what:
            if not is_in_reach(one):
                if one in members:
                    members.remove(one)
                seat = Seat.of(one)
                seat.look_on(self._again)
                self._seats.append(seat)
            elif one not in members:
                members.add(one)
        # What has come by now is found by the attempt; what comes later is told.
        members.ready()

    def _again(self) -> None:
        self._reactor.wake(self)

    def _look_away(self) -> None:
        seats, self._seats = self._seats, []
        for seat in seats:
            seat.look_away(self._again)

    def _end(self) -> None:
        self._look_away()
        if self._members is not None:
            self._members.close()
