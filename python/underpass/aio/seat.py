"""Which task of a loop has a mutex, or the turn of a once, and who waits for that.

They know threads, and all tasks of a loop are one thread. So among them a seat decides: its task alone goes for the mutex itself. A mutex
that is handed over decides itself, since each task has a place of its own in its line: whom it is handed to has the seat.

Who waits for many things looks on: it takes the mutex only while the seat is open to it, and is told when nobody has it any more.

Invariant: a seat that nobody has and for which tasks wait has woken the first of them; or, if none waits, has told all who look on.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from underpass import _loops, sync
from underpass.aio.line import Line
from underpass.aio.reactor import Reactor
from underpass.aio.running import reactor
from underpass.aio.turn import Stay
from underpass.errors import MisuseError, WouldBlock
from underpass.memory import SharedObject

T = TypeVar("T")


class Seat:
    """One mutex, as the tasks of one loop share it."""

    __slots__ = ("_line", "_mutex", "_onlookers", "_reactor", "depth", "owner")

    def __init__(self, where: Reactor, mutex: SharedObject) -> None:
        self._reactor = where
        self._mutex = mutex
        self._line = Line(None, together=False)
        self._onlookers: dict[Callable[[], object], None] = {}
        self.owner: object = None
        self.depth: int = 0

    @classmethod
    def of(cls, mutex: SharedObject) -> "Seat":
        """Return the seat of a mutex in the loop that runs here."""
        where = reactor()
        seat = where.seats.get(_loops.nonce(mutex))
        return cls(where, mutex) if seat is None else seat

    @property
    def waiting(self) -> int:
        """How many tasks wait for the one that has it."""
        return len(self._line.sleepers)

    def is_mine(self) -> bool:
        """Say whether the running task has it."""
        return self.owner is not None and self.owner is self._reactor.loop.task()

    def is_open(self) -> bool:
        """Say whether the running task may try to take the mutex: it has the seat, or nobody has, and none waits for it."""
        return self.is_mine() or (self.owner is None and not self._line.sleepers)

    def taken(self) -> None:
        """Have the running task, which has taken the mutex while the seat was open to it, sit."""
        self._sit(self._reactor.loop.task())
        self.depth += 1

    def look_on(self, tell: Callable[[], object]) -> None:
        """Have ``tell`` called whenever nobody has the seat any more, and none waits for it."""
        self._onlookers[tell] = None
        self._reactor.seats[_loops.nonce(self._mutex)] = self

    def look_away(self, tell: Callable[[], object]) -> None:
        """Have it called no more."""
        self._onlookers.pop(tell, None)
        self._forget_if_deserted()

    async def take(
        self, mutex: SharedObject, attempt: Callable[[], T], stay: Stay[T] | None = None, *, cancellable: bool = True
    ) -> T:
        """Have the running task take the mutex as ``attempt`` does; a task that has it already is judged by the mutex.

        ``stay`` is its place in the line of one that is handed over. ``cancellable`` as in `Reactor.wait`.
        """
        if cancellable:
            self._reactor.may_await(str, mutex)
            if self._reactor.cancelled:
                await self._reactor.loop.end_if_cancelled()
        task = self._reactor.loop.task()
        if self.owner is task:
            taken = attempt()
        elif stay is not None:
            self._refuse_nesting()
            taken = await self._stand_in_its_line(attempt, stay)
            self._sit(task)
        else:
            self._refuse_nesting()
            if self.owner is not None or self._line.sleepers:
                await self._stand_in_line()
            self._sit(task)
            try:
                taken = await self._reactor.wait(mutex, lambda: mutex, attempt, cancellable=False)
            except BaseException:
                self._stand_up()
                raise
        self.depth += 1
        return taken

    def take_nowait(self, attempt: Callable[[], T]) -> T:
        """Have the running task take the mutex, or raise WouldBlock."""
        if not self.is_open():
            raise WouldBlock(f"{self._mutex!r} not acquired: another task of this loop has it, or is before this one")
        if not self.is_mine():
            self._refuse_nesting()
        taken = attempt()
        self.taken()
        return taken

    def _refuse_nesting(self) -> None:
        """Keep the running task from a recursive mutex that its thread holds, and no task of this loop: to the mutex they are one owner."""
        mutex = self._mutex
        if self.owner is None and isinstance(mutex, sync.Mutex) and _loops.is_recursive(mutex) and _loops.depth(mutex):
            raise MisuseError(
                f"{self._mutex!r} not acquired: this thread holds it, by a blocking verb or for a task of another loop, and only whoever "
                "took it nests: give it back first"
            )

    def give(self, release: Callable[[], None]) -> None:
        """Have the running task give it back as ``release`` does."""
        if self.owner is None or self.owner is not self._reactor.loop.task():
            if self.depth:
                raise MisuseError(
                    f"{self._mutex!r} not released: another task of this loop holds it, and only that one releases it"
                )
            # A thread that took it by a blocking verb gives it back here as well; everybody else is refused.
            release()
            return
        before = _loops.depth(self._mutex)
        try:
            release()
        except BaseException:
            # A refusal leaves it the thread's. What a signal's handler raises, whatever it is, comes when it was given back.
            if not before or _loops.depth(self._mutex) != before:
                self._given()
            raise
        self._given()

    def end(self, release: Callable[[], None], error: BaseException | None) -> None:
        """End a block that holds the mutex.

        One that ended by the death of an owner, in a wait inside, has not come back, and does not hold it any more: what it raised goes
        on. A generator that is closed by another task than entered it does not hold it either, but nobody would hear of that.
        """
        if error is None or isinstance(error, GeneratorExit) or self.is_mine():
            self.give(release)

    def _given(self) -> None:
        self.depth -= 1
        if not self.depth:
            self._stand_up()

    async def _stand_in_its_line(self, attempt: Callable[[], T], stay: Stay[T]) -> T:
        if self.owner is None:
            with suppress(WouldBlock):
                return attempt()
        return await self._reactor.wait(stay, lambda: stay, stay.attempt, cancellable=False, give_up=stay.give_up)

    async def _stand_in_line(self) -> None:
        sleeper = self._reactor.loop.sleeper()
        told = _loops.task_waits(self._mutex, self._reactor.loop.task_name)
        self._line.sleepers[sleeper] = None
        try:
            await sleeper.sleep()
        except BaseException:
            del self._line.sleepers[sleeper]
            self._call_next()
            raise
        finally:
            told.end()
        del self._line.sleepers[sleeper]

    def _sit(self, task: object) -> None:
        self.owner = task
        self._reactor.seats[_loops.nonce(self._mutex)] = self

    def _stand_up(self) -> None:
        self.owner = None
        self._call_next()

    def _call_next(self) -> None:
        if self.owner is not None:
            return
        if self._line.sleepers:
            next(iter(self._line.sleepers)).wake()
            return
        for tell in list(self._onlookers):
            tell()
        self._forget_if_deserted()

    def _forget_if_deserted(self) -> None:
        if self.owner is None and not self._line.sleepers and not self._onlookers:
            self._reactor.seats.pop(_loops.nonce(self._mutex), None)
