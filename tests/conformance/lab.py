"""The third back end: a case's actors and the case itself are processes of the lab, in a handful of schedules each."""

import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeVar, cast
from unittest import mock

from tests.conformance import backends
from tests.conformance.backends import Actor, World
from underpass import MisuseError, Semaphore, lab
from underpass.lab import Process, judge

T = TypeVar("T")

# Schedules of a case, and where their dice start.
SCHEDULES = 8
SEED = 20_261


class LabActor(Actor[T]):
    """One that is a process of the lab."""

    def __init__(self, world: "Lab", function: Callable[..., T], args: tuple[object, ...]) -> None:
        self._world, self._outcome = world, list[tuple[bool, object]]()

        def run() -> None:
            world.actors[world.stage.pid] = cast("LabActor[object]", self)
            try:
                self._outcome.append((True, function(*args)))
            except Exception as error:  # noqa: BLE001 - handed to whoever asks for the result
                self._outcome.append((False, error))

        self.process: Process = world.stage.process(run)
        self.pid = self.tid = self.process.number + 2

    @property
    def asleep(self) -> bool:
        return self._world.stage.asleep(self.process)

    @property
    def ended(self) -> bool:
        return bool(self._outcome) or self._world.stage.ended(self.process)

    def stop(self) -> None:
        """Stop it, wherever it is."""
        self._world.stage.stop(self.process)

    def resume(self) -> None:
        """Let it go on."""
        self._world.stage.resume(self.process)

    def kill(self) -> None:
        """End it, wherever it is."""
        self._world.stage.kill(self.process)

    def die(self) -> None:
        """Wait until it has ended by itself, without a result."""
        self._world.stage.join(self.process)

    def result(self) -> T:
        self._world.stage.join(self.process)
        if not self._outcome:
            raise ProcessLookupError(f"process {self.pid} died")
        return cast("T", backends._unpack(*self._outcome[0]))  # pyright: ignore[reportPrivateUsage]


class LabFlag(backends.Flag):
    """A flag at which the lab's processes sleep."""

    def __init__(self, stage: lab.World) -> None:
        self._stage, self._raised = stage, Semaphore(0)

    def raise_(self, count: int = 1) -> None:
        self._raised.release(count)

    def wait(self) -> None:
        try:
            self._raised.acquire()
        except MisuseError:
            # In an atomic section nobody sleeps in the library: another waits, and is waited for.
            self._stage.join(self._stage.process(self._raised.acquire, servant=True))

    def close(self) -> None:
        self._raised.close()


class Lab(World):
    """All in the lab."""

    stage: lab.World
    #: Those of the schedule that have begun, by their pids.
    actors: dict[int, LabActor[object]]

    def die(self) -> None:
        """End the actor that calls this."""
        self.actors[self.stage.pid].kill()

    def rest(self) -> None:
        """Have the actor that calls this sleep until it is killed."""
        self.flag().wait()

    def start(self, function: Callable[..., T], *args: object) -> LabActor[T]:
        """Run ``function(*args)`` in a process of the lab."""
        return LabActor(self, function, args)

    def flag(self) -> LabFlag:
        return LabFlag(self.stage)

    def times(self, number: int) -> int:
        """Say a tenth: who goes on is drawn at every step here, where a machine changes now and then."""
        return number // 10

    def check(self) -> None:
        """Let a failure of an actor be told by whoever asks for its result."""

    def explore(self, case: Callable[[], object]) -> None:
        """Run a case in some schedules, itself as one of the processes."""

        def program(stage: lab.World) -> None:
            self.stage, self.actors = stage, {}
            stage.process(case, name="case")

        with self._inside():
            lab.explore(program, schedules=SCHEDULES, strategy="walk", seed=SEED, early=False, steps=100_000)

    @contextmanager
    def _inside(self) -> Generator[None]:
        """Let the lab answer what a case asks of the machine."""
        with (
            mock.patch.object(backends, "pause", self._step),
            mock.patch.object(time, "monotonic", self._now),
            mock.patch.object(os, "getpid", self._pid),
            # Actors may end with what they hold: what comes of it is what a case is about.
            mock.patch.object(judge, "leaked", return_value=None),
        ):
            yield

    # The stage is another one in each schedule.

    def _step(self) -> None:
        self.stage.step()

    def _now(self) -> float:
        return self.stage.now

    def _pid(self) -> int:
        return self.stage.pid
