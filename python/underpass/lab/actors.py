"""The greenlets that tasks run on: one that has played its part waits for the next schedule's.

A greenlet that begins has a stack of Python frames mapped, and one that ends has it unmapped: two system calls and a page fault,
which take as long as all else that a schedule does for a task of a few steps.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

import greenlet

Part = Callable[[], object]
"""What a task does, from its beginning to its end. It lets `greenlet.GreenletExit` end it, and raises nothing."""


@dataclass(slots=True)
class _Role:
    """What a greenlet plays. It does not know the greenlet, which therefore goes when nobody else does."""

    part: Part | None = None
    begun: bool = False


@final
class Actors:
    """Greenlets of whoever explores, by the number of the task that each plays."""

    def __init__(self) -> None:
        self._host = greenlet.getcurrent()
        self._actors: list[greenlet.greenlet] = []
        self._roles: list[_Role] = []

    def cast(self, number: int, part: Part) -> greenlet.greenlet:
        """Return who plays a task: it begins when it is switched to. Tasks are cast in order."""
        if number == len(self._actors):
            self._roles.append(_Role())
            self._actors.append(greenlet.greenlet(_play(self._roles[number], self._host), self._host))
        actor = self._actors[number]
        self._roles[number].part = part
        actor.gr_context = None  # what the last part had set in its context is not this one's
        return actor

    def __getitem__(self, number: int) -> greenlet.greenlet:
        return self._actors[number]

    def playing(self) -> Iterator[tuple[int, greenlet.greenlet]]:
        """Those who have begun and not come to an end, with their numbers."""
        return ((number, self._actors[number]) for number, role in enumerate(self._roles) if role.begun)

    def dismiss(self) -> None:
        """Forget the parts: nobody plays any more."""
        for role in self._roles:
            role.part = None


def _play(role: _Role, host: greenlet.greenlet) -> Callable[[], None]:
    def play() -> None:
        while True:
            assert role.part is not None
            role.begun = True
            role.part()
            role.begun, role.part = False, None
            host.switch()

    return play
