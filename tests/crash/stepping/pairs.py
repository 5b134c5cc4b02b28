"""Two at a time: both die, or one is stopped while the other dies."""

import os
import signal
from enum import Enum
from itertools import permutations, product

from tests.crash.stepping.children import STEPPED, Child, Victim, until
from tests.crash.stepping.death import AfterStage, Through, Traced, die, together
from tests.crash.stepping.operation import AnyOperation, Company, Tally, nothing
from tests.crash.stepping.scenario import apart
from tests.crash.stepping.stepper import Stepper, library
from underpass import _core

# Two deaths in one instant, and whoever is stopped, are the business of the re-check: this often, in seconds.
RECHECK = 0.01


class First(Enum):
    """What happens to the first of the two, held inside its operation, while the second dies inside its own."""

    KILLED = "killed too"
    CONTINUED = "stopped, and continued afterwards"
    STOPPED_AND_KILLED = "stopped, and killed afterwards"


class Pair:
    """Two that do the same operation on the same object."""

    def __init__(self, operation: AnyOperation) -> None:
        self.operation = operation
        self._steppers = (Stepper(), Stepper())
        # Of each: whom its stepper has not yet taken where it should, and whether it was let go.
        self._awaited: list[int | None] = [None, None]
        self._let_go = [False, False]
        # Of each: after how many instructions it may be held, so that no two of them are the same to others.
        self.points: list[list[int]] = []
        for stepper in self._steppers:
            traced = Traced(stepper, library(_core.__file__))
            die(operation, Company.ALONE, traced)
            self.points.append(apart(stepper.effects(), traced.instructions))
        deaths = (AfterStage(nothing), AfterStage(None))
        # One that is continued may come through.
        ends = [*product(deaths, deaths), *(pair for end in deaths for pair in permutations((end, Through())))]
        self.explained = {self._explain(first, second) for first, second in ends}

    def die(self, first: int, second: int, fate: First) -> None:
        """Hold one after ``first`` instructions, kill the other after ``second``; raise if the survivors are not well."""
        _core.set_recheck(RECHECK)
        world = self.operation.world()
        victims: list[Victim] = []
        try:
            for _ in range(2):
                victims.append(Victim(lambda: self.operation.prepare(world)))
                victims[-1].until_ready()
            one, other = victims
            self._bring(0, one, first)
            if fate is not First.KILLED and self._awaited[0] is None:
                self._steppers[0].stop(one.pid)
                self._let_go[0] = True
            self._bring(1, other, second)
            self._kill(1, other)
            if fate is First.CONTINUED and self._let_go[0]:
                os.kill(one.pid, signal.SIGCONT)
                until(lambda: one.ended, "the one that was stopped hangs")
            self._kill(0, one)
            found = self._survive(world)
            assert found in self.explained, f"found {found}, explained is {self.explained}"
        finally:
            for victim in victims:
                victim.close()
            self.operation.close(world)

    def close(self) -> None:
        """End the steppers."""
        for stepper in self._steppers:
            stepper.close()

    def _bring(self, number: int, victim: Victim, count: int) -> None:
        """Take it there; it may have to sleep on the way, for what the other holds."""
        stepper = self._steppers[number]
        stepper.step(victim.pid, count)
        victim.go()
        until(lambda: stepper.answered or victim.asleep, "the victim neither sleeps nor comes where it should", STEPPED)
        self._let_go[number], self._awaited[number] = False, victim.pid
        if stepper.answered:
            stepper.answer()
            self._awaited[number] = None

    def _kill(self, number: int, victim: Victim) -> None:
        if victim.ended:
            return
        stepper = self._steppers[number]
        os.kill(victim.pid, signal.SIGKILL)
        if victim.pid == self._awaited[number]:
            # It slept on its way.
            stepper.answer()
        elif not self._let_go[number]:
            stepper.kill(victim.pid)
        victim.reap()

    def _survive(self, world: object) -> str:
        def survive() -> object:
            told = self.operation.again(world)
            books = self.operation.books(world, Tally())
            return f"{told} {books}" if isinstance(told, str) else books

        survivor = Child("survivor", survive)
        try:
            # Who of the two was first decides the order.
            return together(survivor.result())
        finally:
            survivor.close()

    def _explain(self, *ends: AfterStage | Through) -> str:
        world = self.operation.world()
        victims: list[Victim] = []
        try:
            for end in ends:
                victims.append(Victim(lambda end=end: end.body(self.operation, world)))
                victims[-1].until_ready()
            for victim in victims:
                victim.go()
                victim.reap()
            return self._survive(world)
        finally:
            for victim in victims:
                victim.close()
            self.operation.close(world)
