"""Where a case runs: in threads of this process, or in processes of their own.

A case starts *actors* in a `World` and waits for states, never for times: `until` polls a condition under a watchdog, and
`Actor.asleep` says that the actor sleeps inside the library. Processes are forked, so an actor may be a closure.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import platform
import select
import signal
import subprocess
import sys
import threading
import time
import warnings
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import ForkProcess

T = TypeVar("T")

# Longer than anything a case waits for, shorter than the watchdog of the whole test.
PATIENCE = 60.0
# Short enough for many cases, long enough that the waiter really sleeps.
SOON = 0.02
# How long who waits in vain does so at a time.
SLICE = 0.3
# The system calls that the library sleeps in, futex_waitv and epoll_pwait2; the numbers are the same on every architecture.
SLEEPS = ("449", "441")
# The one for a mutex that lends, of which the operation is the second argument: FUTEX_LOCK_PI2.
FUTEX = "202" if platform.machine() == "x86_64" else "98"
LOCK_PI = "0xd"

FORK = multiprocessing.get_context("fork")


def pause() -> None:
    """Let others go on for a moment: the lab puts its own way in the place of this one."""
    time.sleep(0.0005)


def until(condition: Callable[[], object], what: str = "the condition") -> None:
    """Poll until ``condition`` holds; a watchdog fails the test."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {PATIENCE} s"
        pause()


class Ready(Protocol):
    """An event: the library's, or whichever."""

    def is_set(self) -> bool: ...


def in_vain(wait: Callable[[float], object], enough: Ready) -> None:
    """Wait for what one does not get until there is ``enough``: again and again, for nobody calls a wait off from outside."""
    while not enough.is_set():
        with suppress(TimeoutError):
            wait(SLICE)
            raise AssertionError("it was not to get it")


def sleeps_in_library(pid: int, tid: int) -> bool:
    """Say whether a thread sleeps in the library: by the kernel's word."""
    try:
        call = Path(f"/proc/{pid}/task/{tid}/syscall").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return call[0] in SLEEPS or (len(call) > 2 and call[0] == FUTEX and call[2] == LOCK_PI)


def disturbed(threads: Threads, wait: Callable[[], T], end: Callable[[], object]) -> T:
    """Wait here, in the main thread, while another interrupts the sleep by handlers that raise nothing, and then ends it."""
    me, heard = threading.get_native_id(), list[int]()
    before = signal.signal(signal.SIGUSR1, lambda number, _frame: heard.append(number))

    main = threading.get_ident()

    def disturb() -> None:
        try:
            for times in range(1, 4):
                until(lambda: sleeps_in_library(os.getpid(), me), "the sleep of the main thread")
                # To the process it might go to another thread, which sleeps in nothing.
                signal.pthread_kill(main, signal.SIGUSR1)
                until(lambda times=times: len(heard) == times, "the handler")
        finally:
            end()

    try:
        actor = threads.start(disturb)
        got = wait()
        actor.result()
        return got
    finally:
        signal.signal(signal.SIGUSR1, before)


class Actor(Generic[T]):
    """A function that runs beside the test."""

    pid: int
    tid: int
    killed = False

    @property
    def asleep(self) -> bool:
        return sleeps_in_library(self.pid, self.tid)

    def until_asleep(self) -> None:
        """Wait until it sleeps inside the library; if it ends instead, raise what it raised."""

        def settled() -> bool:
            if self.ended:
                raise AssertionError(f"it should sleep, and has ended with {self.result()!r}")
            return self.asleep

        until(settled, f"the sleep of {self}")

    @property
    def ended(self) -> bool:
        raise NotImplementedError

    def result(self) -> T:
        """Wait for its end: what the function returned, or raise what it raised."""
        raise NotImplementedError

    def abandon(self) -> None:
        """End it for good, whatever it does."""


class ThreadActor(Actor[T]):
    """One in a thread of this process."""

    def __init__(self, function: Callable[..., T], args: tuple[object, ...]) -> None:
        self._outcome: list[tuple[bool, object]] = []
        self._function, self._args = function, args
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.pid, self.tid = os.getpid(), cast("int", self._thread.native_id)

    def _run(self) -> None:
        try:
            self._outcome.append((True, self._function(*self._args)))
        except BaseException as error:  # noqa: BLE001 - handed to whoever asks for the result
            self._outcome.append((False, error))
        finally:
            del self._function, self._args

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def result(self) -> T:
        self._thread.join(PATIENCE)
        assert self.ended, f"{self._thread} has not ended within {PATIENCE} s"
        return cast("T", _unpack(*self._outcome[0]))

    def abandon(self) -> None:
        self._thread.join(0 if self._outcome else 1)


class ProcessActor(Actor[T]):
    """One in a forked process."""

    def __init__(self, function: Callable[..., T], args: tuple[object, ...]) -> None:
        self._outcome: tuple[bool, object] | None = None
        self._receiver, sender = FORK.Pipe(duplex=False)
        self._process: ForkProcess = FORK.Process(target=_report, args=(sender, function, args))
        with warnings.catch_warnings():
            # Newer Pythons warn of threads at a fork, and pytest's own watchdog is one.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process.start()
        sender.close()
        self.pid = self.tid = cast("int", self._process.pid)

    @property
    def ended(self) -> bool:
        return self._receiver.closed or self._receiver.poll() or not self._process.is_alive()

    def result(self) -> T:
        if self._outcome is None:
            assert wait([self._receiver], PATIENCE), f"process {self.pid} has not ended within {PATIENCE} s"
            try:
                outcome: tuple[bool, object] = self._receiver.recv()
            except EOFError:
                outcome = (False, ProcessLookupError(f"process {self.pid} died"))
            self._outcome = outcome
            self.abandon()
        return cast("T", _unpack(*self._outcome))

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def stop(self) -> None:
        """Stop it, wherever it is."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it with SIGKILL, wherever it is, and wait until it is dead."""
        self.killed = True
        self._process.kill()
        self._process.join()

    def die(self) -> None:
        """Wait until it has ended by itself, without a result."""
        with suppress(ProcessLookupError):
            self.result()

    def abandon(self) -> None:
        # What failed may have left threads that wait for ever.
        failed = self._outcome is None or not self._outcome[0]
        if failed and not self._receiver.closed:
            self._process.kill()
        if not self._receiver.closed:
            self._process.join()
            self._process.close()
            self._receiver.close()


class Flag:
    """Raised by one side, awaited by the other: a pipe, so that it does not lean on what is tested."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._read, self._write = os.pipe()

    def raise_(self, count: int = 1) -> None:
        """Let ``count`` waits pass."""
        os.write(self._write, b"!" * count)

    def wait(self) -> None:
        """Wait for one raise; if an actor fails meanwhile, fail with what it raised."""
        deadline = time.monotonic() + PATIENCE
        while not select.select([self._read], [], [], 0.1)[0]:
            self._world.check()
            assert time.monotonic() < deadline, f"nobody raised the flag within {PATIENCE} s"
        os.read(self._read, 1)  # of several who wait, one gets the byte and the others wait here

    def close(self) -> None:
        """Free its descriptors."""
        os.close(self._read)
        os.close(self._write)


class World:
    """Starts actors, and ends those that a failed test left."""

    kind: type[Actor[object]]

    def __init__(self) -> None:
        self._home = os.getpid()
        self._actors: list[Actor[object]] = []
        self._flags: list[Flag] = []

    def flag(self) -> Flag:
        """Make a flag that is closed with this world."""
        self._flags.append(Flag(self))
        return self._flags[-1]

    def times(self, number: int) -> int:
        """Say how often a case repeats what is to meet with others in as many ways as there are, if ``number`` suits a machine."""
        return number

    def check(self) -> None:
        """Raise what an actor has raised, if one has: to the case itself, since a neighbour may have raised as it should."""
        is_case = os.getpid() == self._home and threading.current_thread() is threading.main_thread()
        for actor in self._actors if is_case else ():
            if actor.ended and not actor.killed:
                actor.result()

    def close(self) -> None:
        """End everybody."""
        for actor in self._actors:
            actor.abandon()
        for flag in self._flags:
            flag.close()
        # pytest holds on to this world for longer than the objects that the actors use may live.
        self._actors.clear()


class Threads(World):
    """All in one process."""

    def start(self, function: Callable[..., T], *args: object) -> Actor[T]:
        """Run ``function(*args)`` in a thread."""
        actor = ThreadActor(function, args)
        self._actors.append(cast("Actor[object]", actor))
        return actor


class Processes(World):
    """Each in a process of its own."""

    def die(self) -> None:
        """End the actor that calls this, with SIGKILL."""
        signal.raise_signal(signal.SIGKILL)

    def rest(self) -> None:
        """Have the actor that calls this sleep until it is killed, outside the library."""
        signal.pause()

    def start(self, function: Callable[..., T], *args: object) -> ProcessActor[T]:
        """Run ``function(*args)`` in a forked process."""
        actor = ProcessActor(function, args)
        self._actors.append(cast("Actor[object]", actor))
        return actor


def apart(test: Callable[..., None]) -> Callable[..., None]:
    """Run the case in a process of its own: a process keeps the descriptors of each space that it enters."""

    @functools.wraps(test)
    def run(**fixtures: object) -> None:
        actor = ProcessActor(functools.partial(test, **fixtures), ())
        try:
            actor.result()
        finally:
            actor.abandon()

    return run


def new_interpreter(script: str, *args: str) -> str:
    """Run a script in an interpreter of its own; what it prints."""
    done = subprocess.run([sys.executable, "-c", script, *args], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _report(sender: Connection, function: Callable[..., object], args: tuple[object, ...]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sender.send((True, function(*args)))
    except BaseException as error:  # noqa: BLE001 - handed to whoever asks for the result
        sender.send((False, error))


def _unpack(success: bool, value: object) -> object:  # noqa: FBT001 - a pair from a pipe
    if success:
        return value
    raise cast("BaseException", value)
