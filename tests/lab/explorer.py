"""The lab's engine in its smallest form: greenlets on the lab kernel, and every schedule of theirs by depth-first search."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import greenlet

from underpass._core import Lab

Program = Callable[[], tuple[list[Callable[[], object]], Callable[[], None]]]
"""Makes the objects, and returns the processes and what must hold at the end."""


class Deadlock(AssertionError):
    """Everybody who is left sleeps, and nobody will wake them."""


@dataclass
class Schedule:
    """One run: the choices made, and how many there were at each point."""

    prefix: list[int]
    taken: list[int] = field(default_factory=list[int])
    width: list[int] = field(default_factory=list[int])

    def choose(self, options: int) -> int:
        """Follow the prefix, then always the first."""
        at = len(self.taken)
        choice = self.prefix[at] if at < len(self.prefix) else 0
        self.taken.append(choice)
        self.width.append(options)
        return choice

    def next(self) -> list[int] | None:
        """The prefix of the next schedule in depth-first order; None after the last."""
        for at in reversed(range(len(self.taken))):
            if self.taken[at] + 1 < self.width[at]:
                return [*self.taken[:at], self.taken[at] + 1]
        return None


def run(program: Program, schedule: Schedule) -> None:
    """Run the program once, as the schedule says."""
    hub = greenlet.getcurrent()
    lab = Lab(lambda _who: hub.switch())
    with lab:
        # Building the objects is nobody's operation: it runs in the hub, where a scheduling point has nowhere to go.
        processes, at_end = program()
        runners = {who: greenlet.greenlet(process, hub) for who, process in enumerate(processes)}
        while alive := [who for who, runner in runners.items() if not runner.dead]:
            options: list[tuple[str, int]] = [("run", who) for who in alive if not lab.asleep(who)]
            options += [("expire", who) for who in alive if lab.can_expire(who)]
            if not options:
                raise Deadlock(f"processes {alive} sleep for ever after the choices {schedule.taken}")
            what, who = options[schedule.choose(len(options))]
            if what == "expire":
                lab.expire(who)
            lab.run(who)
            runners[who].switch()
        lab.run(len(runners))
        at_end()


def explore(program: Program) -> int:
    """Run every schedule of the program; how many there are."""
    return sum(1 for _ in schedules(program))


def schedules(program: Program) -> Iterator[Schedule]:
    """Every schedule of the program, run."""
    prefix: list[int] | None = []
    while prefix is not None:
        schedule = Schedule(prefix)
        run(program, schedule)
        yield schedule
        prefix = schedule.next()
