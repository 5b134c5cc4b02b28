"""What happens in the middle of an operation and is not its end: the process is stopped there, or forks there.

Whoever is stopped lives, and what others do meanwhile comes before its operation or after it: the books are those of a process that
was stopped before its first instruction or after its last. A child that is forked there is somebody else, and does the same as whoever
comes while a process is stopped. Where a waiter or a contender is there besides, any may come first, and all have to go on.

The child is forked by a handler of a signal that the process gets at that very instruction: whatever thread of it would have called
`fork` then, its child would have had this memory.
"""

import mmap
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial

from tests.crash.stepping.children import PAGE, STEPPED, Child, Offspring, Victim, directory, state, until
from tests.crash.stepping.death import RECHECK, Contender
from tests.crash.stepping.operation import AnyOperation, Company, Tally, nothing
from tests.crash.stepping.scenario import Scenario
from underpass import UnderpassError, _core

# A fork that waits for what its own thread is about sleeps for a lock of the C library's or of Rust's, or yields the processor again and
# again: it is sure after so many looks, or so many seconds of its own processor. futex to wait, in x86_64.
WAITS, YIELDS = 200, 0.1
WAITING = re.compile(rb"202 0x[0-9a-f]+ 0x8[09] ")
# One that waits to be told something, and is inside nothing: read.
READING = b"0 "
FORKS = signal.SIGUSR2


class PutOffError(Exception):
    """No thread of the process could have forked there: the fork waits until the operation is past it."""


def until_born(child: Offspring, parent: Victim, *, held: bool) -> None:
    """Wait for a child, if it comes: one that was held inside an operation may have to put it off."""
    waits, begun = 0, parent.processor

    def is_put_off() -> bool:
        nonlocal waits
        waits += WAITING.match(parent.system_call) is not None
        return held and (waits > WAITS or parent.processor > begun + YIELDS)

    until(lambda: child.pid != 0 or child.refused or parent.ended or is_put_off(), "the victim does not fork")
    if not child.pid:
        raise PutOffError


def ending(call: Callable[[], object], raises: tuple[type[BaseException], ...] = ()) -> tuple[object, str]:
    """Make a call that somebody else may have made impossible; what it returned, and how it ended."""
    try:
        return call(), "returned"
    except (UnderpassError, *raises) as error:
        return None, type(error).__name__


def _contend_once(contend: Callable[[object, Tally], object], world: object) -> object:
    return contend(world, Tally())


def is_stopped(victim: Victim) -> bool:
    return state(directory(victim.pid)) == "T"


class Scene:
    """A victim that lives on when its call has returned, and who else is there."""

    def __init__(self, operation: AnyOperation, company: Company, arm: Callable[[object], object]) -> None:
        self.operation, self.company = operation, company
        self.world = operation.world()
        # How its call ended, and what it waits for then.
        self._page = mmap.mmap(-1, PAGE)
        may_end, self._may_end = os.pipe()
        self._contender: Contender | None = None
        self._waits = company is Company.WAITER
        self._helped = False
        # All whose results are asked for: the waiter, and whoever comes between.
        self.children: list[Child] = []

        def body() -> Callable[[], object]:
            arm(self.world)
            call = operation.prepare(self.world)

            def act() -> None:
                kept, ended = ending(call, operation.raises)
                self._page[: len(ended)] = ended.encode()
                os.read(may_end, 1)
                del kept

            return act

        self.victim = Victim(body)
        os.close(may_end)

    def begin(self) -> None:
        """Have all come who come before the call."""
        self.victim.until_ready()
        if self.company is Company.CONTENDER:
            contend = self.operation.contend
            assert contend is not None

            def try_to_contend(world: object, tally: Tally) -> None:
                """Go on also where what is over for the victim is over for others."""
                ending(partial(contend, world, tally))

            self._contender = Contender(replace(self.operation, contend=try_to_contend), self.world)
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
        partner = self.operation.partner
        if partner is not None:
            # The other may have done it.
            ending(lambda: partner(self.world))

    @property
    def returned(self) -> bool:
        """The victim's call has."""
        return self._page[0] != 0 or self.victim.ended

    def end(self) -> str:
        """Let the victim end, and the others come through; what there is then."""
        self._give_time()
        with suppress(BrokenPipeError):
            os.write(self._may_end, b"!")
        self.victim.result()
        self._give_time()
        ended = self._page[:].rstrip(b"\0").decode()
        tally = self._contender.tally() if self._contender is not None else Tally()

        def survive() -> object:
            # What somebody waits for may have gone to the victim; and all may have been done by now.
            ending(partial(self.operation.again, self.world))
            until(lambda: all(child.said is not None for child in self.children), "somebody hangs, who should go on")
            return self.operation.books(self.world, tally)

        survivor = Child("survivor", survive)
        self.children.append(survivor)
        books = survivor.result()
        others = ", ".join(child.result() for child in self.children)
        return f"{books}, victim: {ended}, others: {others}"

    def _give_time(self) -> None:
        """Let all come through who can."""
        for child in self.children:
            child.give_time()

    def close(self) -> None:
        """End whoever is left."""
        for child in (*self.children, self.victim):
            child.close()
        if self._contender is not None:
            self._contender.close()
        self.operation.close(self.world)
        self._page.close()
        os.close(self._may_end)


class Stopped(Scenario):
    """One that is stopped there, while another does what survivors do, and continued."""

    def _explain(self) -> Iterator[str]:
        asleep = ["asleep"] if self.operation.partner is not None else []
        for moment in ["before", *asleep, "after"]:
            yield self._let(moment)
            if not self._is_ordered:
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
        result, ended = ending(partial(self._meanwhile(), world))
        return result if ended == "returned" else ended

    def _meanwhile(self) -> Callable[[object], object]:
        """What another does meanwhile, as far as it may: what a survivor does, or where that is nothing, whoever is there besides."""
        operation = self.operation
        if operation.meanwhile is not None:
            return operation.meanwhile
        if operation.again is not nothing:
            return operation.again
        if operation.wait is not None:
            return operation.wait
        if operation.contend is not None:
            return partial(_contend_once, operation.contend)
        return nothing

    def _let(self, where: str | int) -> str:
        books = self._interrupted(where)
        self._check_space()
        # Of three any two may come first.
        return books if self._is_ordered else "all go on"

    @property
    def _is_ordered(self) -> bool:
        return self.company is Company.ALONE and not self.operation.unordered

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
            until(
                lambda: self._stepper.answered or scene.victim.asleep,
                "the victim neither sleeps nor gets there",
                STEPPED,
            )
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
            # Inside the interpreter nobody's Python could run.
            until(lambda: victim.asleep or victim.system_call.startswith(READING), "the victim waits for nothing")
            os.kill(victim.pid, FORKS)
        until_born(self._child, victim, held=held)
        return self._child

    def _go_on(self, victim: Victim) -> None:
        """It has not been held."""
