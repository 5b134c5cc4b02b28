"""What happens in the middle of an operation and is not its end: the process is stopped there, or forks there.

Whoever is stopped lives, and what others do meanwhile comes before its operation or after it: the books are those of a process that
was stopped before its first instruction or after its last. A child that is forked there is somebody else, and does the same as whoever
comes while a process is stopped. Where a waiter or a contender is there besides, any may come first, and all have to go on.

The child is forked by a handler of a signal that the process gets at that very instruction: whatever thread of it would have called
`fork` then, its child would have had this memory.
"""

import mmap
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from tests.crash.stepping.children import Child, Offspring, Victim, until
from tests.crash.stepping.death import RECHECK, Contender
from tests.crash.stepping.operation import AnyOperation, Company, Tally, nothing
from tests.crash.stepping.scenario import Scenario
from underpass import MisuseError, WouldBlock, _core

# A fork that waits for what its own thread is about yields the processor: after so many looks it is sure.
YIELDS = 200
SCHED_YIELD = b"24 "
FORKS = signal.SIGUSR2

# Whose others act at once, and whose books do not tell who of them came first.
INTERRUPTED = (
    "Semaphore.acquire",
    "Semaphore.acquire, asleep",
    "Semaphore.release",
    "Semaphore.acquire, by arrival",
    "Semaphore.acquire, by arrival, asleep",
    "Semaphore.release, by arrival",
    "Semaphore.acquire, leased, arrival",
    "Semaphore.release, leased, arrival",
    "Mutex.acquire",
    "Mutex.release",
    "Mutex.acquire, by arrival",
    "Mutex.release, by arrival",
    "Notification.notify",
    "Notification.set",
    "Event.set",
    "Event.wait, asleep",
    "AtomicInt.add",
    "AtomicInt.exchange",
    "Latch.count_down",
    "RWLock.reading, entered",
    "RWLock.writing, entered",
    "RWLock.writing, left, to a reader",
    "Once.running, entered",
    "Queue.put",
    "Queue.get",
)


class PutOffError(Exception):
    """No thread of the process could have forked there: the fork waits until the operation is past it."""


def until_born(child: Offspring, parent: Victim) -> None:
    """Wait for a child, if it comes."""
    yields = 0

    def is_put_off() -> bool:
        nonlocal yields
        with suppress(FileNotFoundError, ProcessLookupError):
            yields += Path(f"/proc/{parent.pid}/syscall").read_bytes().startswith(SCHED_YIELD)
        return yields > YIELDS

    until(lambda: child.pid != 0 or parent.ended or is_put_off(), "the victim does not fork")
    if not child.pid:
        raise PutOffError


def is_stopped(victim: Victim) -> bool:
    return Path(f"/proc/{victim.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


class Scene:
    """A victim that lives on when its call has returned, and who else is there."""

    def __init__(self, operation: AnyOperation, company: Company, arm: Callable[[object], object]) -> None:
        self.operation, self.company = operation, company
        self.world = operation.world()
        self._page = mmap.mmap(-1, 2)
        self._contender: Contender | None = None
        self._waits = company is Company.WAITER
        self._helped = False
        # All whose results are asked for: the waiter, and whoever comes between.
        self.children: list[Child] = []

        def body() -> Callable[[], object]:
            arm(self.world)
            call = operation.prepare(self.world)

            def act() -> None:
                kept: object = None
                with suppress(*operation.raises):
                    kept = call()
                self._page[0] = 1
                until(lambda: self._page[1] == 1, "nobody lets the victim end")
                del kept

            return act

        self.victim = Victim(body)

    def begin(self) -> None:
        """Have all come who come before the call."""
        self.victim.until_ready()
        if self.company is Company.CONTENDER:
            self._contender = Contender(self.operation, self.world)
        if self.operation.partner is None:
            self.help()

    def help(self) -> None:
        """Have the waiter come, and do once what the victim sleeps for."""
        if self._helped:
            return
        self._helped = True
        if self._waits:
            assert self.operation.wait is not None
            waiter = Child("waiter", partial(self.operation.wait, self.world))
            self.children.append(waiter)
            # What it waits for may be there by now.
            until(lambda: waiter.asleep or waiter.ended, "the waiter neither sleeps nor goes")
        if self.operation.partner is not None:
            # The other may have done it.
            with suppress(WouldBlock, MisuseError):
                self.operation.partner(self.world)

    @property
    def returned(self) -> bool:
        """The victim's call has."""
        return self._page[0] == 1 or self.victim.ended

    def end(self) -> str:
        """Let the victim end, and the others come through; what there is then."""
        self._page[1] = 1
        self.victim.result()
        tally = self._contender.tally() if self._contender is not None else Tally()

        def survive() -> object:
            # What somebody waits for may have gone to the victim.
            self.operation.again(self.world)
            until(lambda: all(child.said is not None for child in self.children), "somebody hangs, who should go on")
            return self.operation.books(self.world, tally)

        survivor = Child("survivor", survive)
        self.children.append(survivor)
        books = survivor.result()
        return f"{books}, others: {', '.join(child.result() for child in self.children)}"

    def close(self) -> None:
        """End whoever is left."""
        for child in (*self.children, self.victim):
            child.close()
        if self._contender is not None:
            self._contender.close()
        self.operation.close(self.world)
        self._page.close()


class Stopped(Scenario):
    """One that is stopped there, while another does what survivors do, and continued."""

    def _explain(self) -> Iterator[str]:
        for moment in ("before", "after"):
            yield self._let(moment)
            if self.company is not Company.ALONE:
                return

    def _inflict(self, count: int | None) -> str:
        return self._let("asleep" if count is None else count)

    def _arm(self, world: object) -> None:
        """Make ready, in the victim."""

    def _interrupt(self, world: object, victim: Victim, *, held: bool) -> Child:
        """Have another act, which begins now; its process."""
        if held:
            self._stepper.stop(victim.pid)
            until(lambda: is_stopped(victim), "the victim goes on although it is stopped")
        return Child("other", lambda: self._act(world))

    def _go_on(self, victim: Victim) -> None:
        """Let it go on where it is held."""
        os.kill(victim.pid, signal.SIGCONT)

    def _act(self, world: object) -> object:
        """What another does meanwhile: what a survivor does, or where that is nothing, whoever is there besides."""
        operation = self.operation
        if operation.meanwhile is not None:
            return operation.meanwhile(world)
        if operation.again is not nothing:
            return operation.again(world)
        if operation.wait is not None:
            return operation.wait(world)
        return operation.contend(world, Tally()) if operation.contend is not None else None

    def _let(self, where: str | int) -> str:
        books = self._interrupted(where)
        self._check_space()
        # Of three any two may come first.
        return books if self.company is Company.ALONE else "all go on"

    def _interrupted(self, where: str | int) -> str:
        _core.set_recheck(RECHECK if self.company in self.operation.late else None)
        scene = Scene(self.operation, self.company, self._arm)
        try:
            scene.begin()
            self._come_through(scene, where)
            return scene.end()
        except PutOffError:
            raise
        except BaseException:
            # What it traces cannot be reaped before it has gone.
            self._stepper.close()
            raise
        finally:
            scene.close()

    def _come_through(self, scene: Scene, where: str | int) -> None:
        """Let the victim call, and be interrupted on its way."""
        if where == "before":
            self._disturb(scene)
        if isinstance(where, int):
            self._stepper.step(scene.victim.pid, where)
        scene.victim.go()
        if isinstance(where, int):
            until(lambda: self._stepper.answered or scene.victim.asleep, "the victim neither sleeps nor gets there")
            if not self._stepper.answered:
                scene.help()
            words = self._stepper.answer()
            self._where = words[0] if words[0] == "returned" else words[2]
            self._disturb(scene, held=True)
        until(lambda: scene.victim.asleep or scene.returned, "the victim neither sleeps nor returns")
        if where == "asleep":
            self._disturb(scene)
        scene.help()
        until(lambda: scene.returned, "the victim hangs, and nobody holds it")
        if where == "after":
            self._disturb(scene)

    def _disturb(self, scene: Scene, *, held: bool = False) -> None:
        other = self._interrupt(scene.world, scene.victim, held=held)
        scene.children.append(other)
        other.give_time()
        if held:
            self._go_on(scene.victim)


class Forked(Stopped):
    """One whose child, forked there, does what survivors do."""

    def _inflict(self, count: int | None) -> str:
        try:
            return super()._inflict(count)
        except PutOffError:
            self._where = "other"
            return next(iter(self.explained))

    def _arm(self, world: object) -> None:
        self._child.bear_at(FORKS, lambda: self._act(world))

    def _interrupted(self, where: str | int) -> str:
        self._child = Offspring()
        return super()._interrupted(where)

    def _interrupt(self, world: object, victim: Victim, *, held: bool) -> Child:
        del world
        if held:
            self._stepper.signal(victim.pid, FORKS)
        else:
            os.kill(victim.pid, FORKS)
        until_born(self._child, victim)
        return self._child

    def _go_on(self, victim: Victim) -> None:
        """It has not been held."""
