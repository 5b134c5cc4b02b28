"""Forked processes that tell their result through a page: nothing of what is tested, and no descriptor, is leaned on."""

import ctypes
import mmap
import os
import re
import select
import signal
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, ClassVar

# Whoever takes longer than this hangs, in seconds, where nothing else runs.
PATIENCE = 10.0
# Where a hang is what is expected: the load of the last minute is left out.
unscaled = False
# Whoever is stepped may take so many times as long: each instruction is a switch there and back, which waits for a processor.
STEPPED = 10.0
# What a look at somebody counts for, in seconds, however long it took: of one that others keep waiting, or whose machine stood still.
LOOK, SLICE = 0.0005, 0.01
# The system calls that the library sleeps in: futex_waitv, epoll_pwait2, ppoll, and futex, on two architectures, to lock one that lends.
SLEEPS = re.compile(rb"(449|441|271) |(202|98) 0x[0-9a-f]+ 0xd ")
PAGE = 4096
# Of a thread's number.
NUMBER = 4
# How long others are given, in looks at them, where nothing is decided by how far they come.
LOOKS = 400
# Nobody outlives who started it.
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1
HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int)


class Hang(AssertionError):
    """Somebody waits who should not."""


class Patience:
    """Lost after some time, which on a busy machine is longer: by the load of the last minute, and by how often one came to look."""

    def __init__(self, look: float, times: float) -> None:
        self._started = time.monotonic()
        self._look, self._times = look, times
        self._looks = 0

    def wear(self, what: str) -> None:
        """Raise if it was the last look."""
        self._looks += 1
        if self._looks * self._look < PATIENCE * self._times:
            return
        # Who shares a processor with nine others takes ten times as long.
        shared = 1.0 if unscaled else max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))
        if time.monotonic() - self._started > PATIENCE * self._times * shared:
            raise Hang(what)


def state(task: Path) -> str:
    """Return what a process or a thread is about, by the kernel's letter; X: it is gone."""
    try:
        return (task / "stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def system_call(task: Path) -> bytes:
    """Return what a process or a thread waits in, with its arguments; nothing: it is gone."""
    try:
        return (task / "syscall").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def sleeps(task: Path) -> bool:
    """Say whether a process or a thread sleeps inside the library."""
    return SLEEPS.match(system_call(task)) is not None


def directory(number: int) -> Path:
    """Return where the kernel tells of a process or a thread.

    Of a thread too that is not in the directory of its process: whoever reaps a process empties that one, and where a thread is just
    emptying its own in there, does it again and again inside `wait4`, for many seconds if both have one processor.
    """
    return Path(f"/proc/{number}")


def until(condition: Callable[[], bool], what: str, times: float = 1.0) -> None:
    """Look again and again until ``condition`` holds."""
    patience = Patience(LOOK, times)
    while not condition():
        patience.wear(what)
        time.sleep(LOOK / 10)


def until_told(descriptor: int | IO[bytes], what: str, times: float = 1.0) -> None:
    """Wait until there is something to read: whoever looks again and again takes the processor from who is to write it."""
    patience = Patience(SLICE, times)
    while not select.select([descriptor], [], [], SLICE)[0]:
        patience.wear(what)


class Threads:
    """The numbers of a process's threads besides its first, as it tells them: its directory may not be asked (`directory`)."""

    # Those of this process.
    own: ClassVar["Threads | None"] = None

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, PAGE)

    def start(self, act: Callable[[], object]) -> threading.Thread:
        """Start one, which does not keep the process alive, in that process."""
        thread = threading.Thread(target=act, daemon=True)
        thread.start()
        numbers = (*self.numbers(), thread.native_id)
        struct.pack_into(f"{len(numbers)}I", self._page, NUMBER, *numbers)
        struct.pack_into("I", self._page, 0, len(numbers))
        return thread

    def numbers(self) -> tuple[int, ...]:
        """Return those that were started."""
        (count,) = struct.unpack_from("I", self._page)
        return struct.unpack_from(f"{count}I", self._page, NUMBER)

    def close(self) -> None:
        self._page.close()


def beside(act: Callable[[], object]) -> Path:
    """Start a thread of this child, which does not keep it alive; return where the kernel tells of it."""
    assert Threads.own is not None, "only a child tells of its threads"
    return directory(Threads.own.start(act).native_id or 0)


class Child:
    """A function in a process of its own."""

    def __init__(self, role: str, body: Callable[[], object]) -> None:
        self.role = role
        self._page = mmap.mmap(-1, PAGE)
        self._threads = Threads()
        self._status: int | None = None
        sys.stdout.flush()
        self._pid = os.fork()
        if self._pid == 0:
            self._run(body)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._pid

    def _run(self, body: Callable[[], object]) -> None:
        code = 1
        Threads.own = self._threads
        try:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            self._say(repr(body()))
            code = 0
        except BaseException:  # noqa: BLE001 - the process ends here, and its parent tells
            self._say(traceback.format_exc()[-PAGE + 16 :])
        finally:
            os._exit(code)

    def _say(self, text: str) -> None:
        said = text.encode()[: PAGE - 4]
        self._page[4 : 4 + len(said)] = said
        self._page[:4] = (len(said) + 1).to_bytes(4, "little")

    @property
    def said(self) -> str | None:
        """What it returned, as text; also seen by its siblings."""
        length = int.from_bytes(self._page[:4], "little")
        return self._page[4 : 3 + length].decode(errors="replace") if length else None

    @property
    def ended(self) -> bool:
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = status
        return self._status is not None

    @property
    def asleep(self) -> bool:
        """Say whether it sleeps inside the library, by the kernel's word."""
        return sleeps(directory(self.pid))

    @property
    def wholly_asleep(self) -> bool:
        """Say the same of all its threads that there are."""
        return all(sleeps(thread) for thread in self.threads() if state(thread) != "X")

    @property
    def system_call(self) -> bytes:
        """What it waits in, with its arguments, by the kernel's word."""
        return system_call(directory(self.pid))

    def threads(self) -> list[Path]:
        """Return where the kernel tells of each of its threads; some may be gone."""
        return [*map(directory, (self.pid, *self._threads.numbers()))]

    @property
    def processor(self) -> float:
        """How many seconds it has had a processor; none any more if it is gone."""
        try:
            return int((directory(self.pid) / "schedstat").read_text().split()[0]) / 1e9
        except (FileNotFoundError, ProcessLookupError):
            return 0

    @property
    def runs(self) -> bool:
        """Say whether it would go on if it had a processor."""
        return state(directory(self.pid)) == "R"

    def give_time(self) -> None:
        """Wait until it has ended or sleeps, or waits for some time: who waits in Python's words is not seen to sleep."""
        looks = iter(range(LOOKS))
        until(lambda: self.ended or self.asleep or (not self.runs and next(looks, None) is None), "time stands still")

    def until_asleep(self) -> None:
        """Wait until it sleeps inside the library."""
        until(lambda: self.asleep or self.ended, f"the {self.role} does not fall asleep")
        if self.ended:
            raise AssertionError(f"the {self.role} should sleep, and has ended: {self.said}")

    def result(self) -> str:
        """Wait for its end; what it returned, as text. It may wait for others itself, and tells for whom in vain."""
        until(lambda: self.ended, f"the {self.role} hangs", times=2)
        if self._status != 0:
            raise AssertionError(f"the {self.role} failed: {self.said or self._status}")
        return self.said or ""

    def reap(self) -> None:
        """Wait for the end of one that was killed."""
        until(lambda: self.ended, f"the {self.role} does not die")

    def kill(self) -> None:
        """End it."""
        if not self.ended:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self._status = signal.SIGKILL

    def close(self) -> None:
        """End it, and forget what it said."""
        self.kill()
        self._page.close()
        self._threads.close()


class Offspring(Child):
    """A child that another process forks when it is told to, wherever it is then; it outlives that one.

    It lives in a thread of its own: the one that forked is inside whatever it was inside of, as no thread is in the child of a
    neighbour's fork.
    """

    def __init__(self) -> None:
        self.role = "child of the victim"
        self._page = mmap.mmap(-1, PAGE)
        self._threads = Threads()
        # Its number, and whether it cannot be.
        self._born = mmap.mmap(-1, 5)

    def bear(self, body: Callable[[], object]) -> None:
        """Fork it, in the process that is to be its parent."""

        def live() -> None:
            try:
                self._say(repr(body()))
            except BaseException:  # noqa: BLE001 - the process ends here, and it is told
                self._say("failed: " + traceback.format_exc()[-PAGE // 2 :])

        if os.fork() == 0:
            self._born[:4] = os.getpid().to_bytes(4, "little")
            try:
                self._threads.start(live).join()
            finally:
                os._exit(0)

    def bear_at(self, signal_number: signal.Signals, body: Callable[[], object]) -> None:
        """Have it forked at a signal, at once: between two instructions, and not when the interpreter comes to it.

        The parent goes on once the child has done what it does, or sleeps, or takes long. Where an error is set no Python could run, so
        there is no child; and the parent has lost its error.
        """

        is_error_set = ctypes.pythonapi.PyErr_Occurred

        def handle(_number: int) -> None:
            try:
                is_error_set()
            except BaseException:  # noqa: BLE001 - whatever it is that the thread is about to raise
                self._born[4] = 1
            else:
                self.bear(body)
                self.give_time()

        self._handler = HANDLER(handle)
        LIBC.signal(ctypes.c_int(signal_number.value), self._handler)

    @property
    def pid(self) -> int:
        """0: it is not born."""
        return int.from_bytes(self._born[:4], "little")

    @property
    def refused(self) -> bool:
        """Nobody could have forked there."""
        return self._born[4] != 0

    @property
    def ended(self) -> bool:
        return self.said is not None

    @property
    def asleep(self) -> bool:
        return any(map(sleeps, self.threads()))

    @property
    def runs(self) -> bool:
        """Who is not born yet is on its way."""
        return not self.pid or any(state(thread) == "R" for thread in self.threads())

    def result(self) -> str:
        until(lambda: self.ended, f"the {self.role} hangs", times=2)
        told = self.said or ""
        assert not told.startswith("failed: "), told
        return told

    def kill(self) -> None:
        """End it; whoever is its parent by now reaps it."""
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(self.pid, 0)

    def close(self) -> None:
        super().close()
        self._born.close()


class Victim(Child):
    """One that prepares a call, says so, and makes it when it is told to."""

    def __init__(self, prepare: Callable[[], Callable[[], object]]) -> None:
        self._is_ready, ready = os.pipe()
        go, self._go = os.pipe()

        def body() -> object:
            call = prepare()
            os.write(ready, b"!")
            os.read(go, 1)
            call()
            return None

        super().__init__("victim", body)
        os.close(ready)
        os.close(go)

    def until_ready(self) -> None:
        """Wait until it has prepared its call."""
        until_told(self._is_ready, "the victim does not get as far as its call")
        if os.read(self._is_ready, 1) != b"!":
            self.reap()
            raise AssertionError(f"the victim did not get as far as its call: {self.said}")

    def go(self) -> None:
        """Let it call."""
        os.write(self._go, b"!")

    def close(self) -> None:
        super().close()
        os.close(self._is_ready)
        os.close(self._go)
