"""One death: a world, a victim that dies at one instruction, and what the survivors find."""

import mmap
import os
import re
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from tests.crash.stepping.children import STEPPED, Child, Victim, until
from tests.crash.stepping.operation import AnyOperation, Company, Tally
from tests.crash.stepping.stepper import Stepper
from underpass import _core

# How soon a sleeper looks for itself where nobody tells it, in seconds.
RECHECK = 0.01
# Turns a contender has to make after the death.
TURNS = 2


class End(Protocol):
    """How a victim's call ends."""

    def body(self, operation: AnyOperation, world: object) -> Callable[[], object]:
        """Return what the victim calls, after it has prepared."""
        ...

    def begin(self, victim: Victim) -> None:
        """Let it call."""
        ...

    def decided(self, victim: Victim) -> bool:
        """Say whether it has come where it should."""
        ...

    def finish(self, victim: Victim) -> str:
        """Kill it there, and tell where that was."""
        ...

    def abandon(self) -> None:
        """Hold nobody any more: one that is traced cannot be reaped before its tracer has gone."""


@dataclass
class AtInstruction:
    """After ``count`` instructions of the trace that the stepper has."""

    stepper: Stepper
    count: int

    def body(self, operation: AnyOperation, world: object) -> Callable[[], object]:
        return operation.prepare(world)

    def begin(self, victim: Victim) -> None:
        self.stepper.step(victim.pid, self.count)
        victim.go()

    def decided(self, victim: Victim) -> bool:
        del victim
        return self.stepper.answered

    def abandon(self) -> None:
        self.stepper.close()

    def finish(self, victim: Victim) -> str:
        words = self.stepper.answer()
        assert words[0] != "died", f"the victim died by itself: {victim.said}"
        self.stepper.kill(victim.pid)
        victim.reap()
        return words[0] if words[0] == "returned" else words[2]


@dataclass
class Asleep:
    """In its sleep, before the partner has done anything."""

    def body(self, operation: AnyOperation, world: object) -> Callable[[], object]:
        return operation.prepare(world)

    def begin(self, victim: Victim) -> None:
        victim.go()
        victim.until_asleep()
        victim.kill()

    def decided(self, victim: Victim) -> bool:
        return victim.ended

    def abandon(self) -> None:
        """It holds nobody."""

    def finish(self, victim: Victim) -> str:
        victim.kill()
        return "asleep"


@dataclass
class AfterStage:
    """Having done a whole part of the operation: what deaths inside are measured against."""

    stage: Callable[[object], object] | None

    def body(self, operation: AnyOperation, world: object) -> Callable[[], object]:
        call = operation.prepare(world)

        def act() -> None:
            kept: object = None  # a lease that is let go is put back
            if self.stage is None:
                with suppress(*operation.raises):
                    kept = call()
            else:
                kept = self.stage(world)
            os.kill(os.getpid(), signal.SIGKILL)
            del kept

        return act

    def begin(self, victim: Victim) -> None:
        victim.go()

    def decided(self, victim: Victim) -> bool:
        return victim.ended

    def abandon(self) -> None:
        """It holds nobody."""

    def finish(self, victim: Victim) -> str:
        victim.reap()
        assert victim.said is None, f"the victim of a stage failed: {victim.said}"
        return "stage"


@dataclass
class Through:
    """Not inside: it does all of the operation, lets go of what that gave it, and ends."""

    def body(self, operation: AnyOperation, world: object) -> Callable[[], object]:
        call = operation.prepare(world)

        def act() -> None:
            with suppress(*operation.raises):
                call()

        return act


@dataclass
class Traced:
    """Not at all: the stepper writes its instructions down."""

    stepper: Stepper
    library: tuple[int, int]
    # Also look, after each, whether what others see has changed.
    compare: bool = False
    instructions: int = 0

    def body(self, operation: AnyOperation, world: object) -> Callable[[], object]:
        call = operation.prepare(world)

        def act() -> None:
            with suppress(*operation.raises):
                call()

        return act

    def begin(self, victim: Victim) -> None:
        self.stepper.trace(victim.pid, self.library, compare=self.compare)
        victim.go()

    def decided(self, victim: Victim) -> bool:
        del victim
        return self.stepper.answered

    def abandon(self) -> None:
        self.stepper.close()

    def finish(self, victim: Victim) -> str:
        words = self.stepper.answer()
        assert words[2] == "returned", f"the traced call did not return: {victim.said}"
        self.instructions = int(words[1])
        victim.result()
        return "returned"


class Contender:
    """Does the same again and again, until it is told to stop."""

    def __init__(self, operation: AnyOperation, world: object) -> None:
        self._page = mmap.mmap(-1, 16)
        contend = operation.contend
        assert contend is not None

        def body() -> dict[str, int]:
            os.sched_setaffinity(0, range(os.cpu_count() or 1))
            tally, turn = Tally(), 0
            while not self._page[8]:
                contend(world, tally)
                turn += 1
                self._page[:8] = turn.to_bytes(8, "little")
            return dict(tally)

        self.child = Child("contender", body)
        self.progress()

    def progress(self) -> None:
        """Wait until it has made some turns more."""
        wanted = int.from_bytes(self._page[:8], "little") + TURNS
        until(
            lambda: int.from_bytes(self._page[:8], "little") >= wanted or self.child.ended,
            "the contender makes no progress",
        )
        if self.child.ended:
            raise AssertionError(f"the contender has ended: {self.child.said}")

    def tally(self) -> Tally:
        """Stop it; what it added and took."""
        self._page[8] = 1
        found: dict[str, int] = eval(self.child.result(), {}, {})  # noqa: S307 - a dict of our own
        return Tally(found)

    def close(self) -> None:
        self.child.close()
        self._page.close()


@dataclass(frozen=True)
class Found:
    """What a death led to."""

    where: str
    books: str


def die(operation: AnyOperation, company: Company, end: End) -> Found:
    """Let a victim die, with that company, and the survivors go on."""
    _core.set_recheck(RECHECK if company in operation.late else None)
    world = operation.world()
    closing: list[Child | Contender | Victim] = []
    try:
        victim = Victim(lambda: end.body(operation, world))
        closing.append(victim)
        victim.until_ready()
        waiter: Child | None = None
        contender: Contender | None = None

        def start_waiter() -> None:
            nonlocal waiter
            if company is Company.WAITER and waiter is None:
                assert operation.wait is not None
                wait = operation.wait
                waiter = Child("waiter", lambda: wait(world))
                closing.append(waiter)
                waiter.until_asleep()

        if company is Company.CONTENDER:
            contender = Contender(operation, world)
            closing.append(contender)
        if operation.partner is None:
            start_waiter()
        end.begin(victim)
        helped = operation.partner is None
        if operation.partner is not None:
            until(lambda: end.decided(victim) or victim.asleep, "the victim neither sleeps nor dies", STEPPED)
            if not end.decided(victim):
                # It sleeps first, and is told first.
                start_waiter()
                operation.partner(world)
                helped = True
        where = end.finish(victim)
        if not helped and operation.partner is not None:
            start_waiter()
            operation.partner(world)
        return Found(where, _survive(operation, world, closing, waiter, contender))
    except BaseException:
        end.abandon()
        raise
    finally:
        for thing in reversed(closing):
            thing.close()
        operation.close(world)


def _survive(
    operation: AnyOperation,
    world: object,
    closing: list[Child | Contender | Victim],
    waiter: Child | None,
    contender: Contender | None,
) -> str:
    if waiter is not None:
        sleeper = waiter
        # Told by the kernel alone: nobody else has done anything since the death.
        until(
            lambda: sleeper.ended or (sleeper.asleep and not operation.due(world)),
            "the waiter sleeps on, and what it waits for is there",
        )
    tally = Tally()
    if contender is not None:
        contender.progress()
        tally = contender.tally()

    def survive() -> object:
        operation.again(world)
        if waiter is not None:
            sleeper = waiter
            until(lambda: sleeper.said is not None, "the waiter hangs, and a survivor did what it waits for")
        return operation.books(world, tally)

    survivor = Child("survivor", survive)
    closing.append(survivor)
    books = survivor.result()
    if waiter is None:
        return books
    return f"{books}, waiter: {waiter.result()}" if operation.in_turn else together(books, waiter.result())


def together(*books: str) -> str:
    """Return what they found, each as often as it was, and not who found it."""
    return ", ".join(sorted(re.findall(r"\w+", " ".join(books))))
