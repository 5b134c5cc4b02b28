"""The stepper, seen from Python: crates/underpass-stepper, which holds other processes at one instruction of a call."""

import ctypes
import select
import signal
import subprocess
from pathlib import Path

from tests.crash.stepping.children import STEPPED, until_told

ROOT = Path(__file__).parents[3]
PROGRAM = ROOT / "target" / "release" / "underpass-stepper"
# Whoever is stepped takes so many times as long where all memory is compared at each instruction.
COMPARING = 20
LIBC = ctypes.CDLL(None, use_errno=True)
# Of x86_64, as the stepper.
GET_ROBUST_LIST = 274


class Stepper:
    """One process that traces; what it traced last is what its steps count along."""

    def __init__(self) -> None:
        if not PROGRAM.exists():
            raise FileNotFoundError(
                f"{PROGRAM} is not built: `cargo build --release -p underpass-stepper`, as `make test` does"
            )
        self._process = subprocess.Popen([str(PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.pid = self._process.pid
        self._comparing = False
        self._requests, self._answers = self._process.stdin, self._process.stdout

    def trace(self, pid: int, library: tuple[int, int], *, compare: bool = False) -> None:
        """Be ready to write down the instructions of the process's next call into the library; `answer` tells how many.

        With ``compare`` it also looks, after each, whether what others see has changed.
        """
        head = robust_list(pid)
        self._comparing = compare
        self._ask(f"{'compare' if compare else 'trace'} {pid} {library[0]} {library[1]} {head}")

    def effects(self) -> dict[int, str]:
        """Return the instructions of the trace that others can tell of, by how many come before them, and why they can."""
        self._send("effects")
        return {int(count): kind for count, kind in (word.split(":") for word in self.answer()[1:])}

    def changes(self) -> set[int]:
        """Return those after which something was seen to have changed."""
        self._send("changes")
        return {*map(int, self.answer()[1:])}

    def step(self, pid: int, count: int) -> None:
        """Be ready to take the process to where it has executed ``count`` instructions of that call; `answer` tells."""
        self._ask(f"step {pid} {count}")

    def kill(self, pid: int) -> None:
        """Kill a process where it is held."""
        self._do(f"kill {pid}")

    def stop(self, pid: int) -> None:
        """Let it go, stopped as by SIGSTOP."""
        self.signal(pid, signal.SIGSTOP)

    def signal(self, pid: int, number: signal.Signals) -> None:
        """Let it go, with a signal that it gets where it is held."""
        self._do(f"signal {pid} {number.value}")

    @property
    def answered(self) -> bool:
        """Say whether `answer` would come at once."""
        return bool(select.select([self._answers], [], [], 0)[0])

    def answer(self) -> list[str]:
        """Wait for what the last request led to."""
        times = STEPPED * (COMPARING if self._comparing else 1)
        until_told(self._answers, "the victim neither returns nor comes where it should", times)
        words = self._answers.readline().decode().split()
        assert words, "the stepper has ended"
        assert words[0] != "error:", " ".join(words)
        return words

    def close(self) -> None:
        """End it, and what it still holds."""
        self._process.kill()
        self._process.wait()
        self._requests.close()
        self._answers.close()

    def _send(self, request: str) -> None:
        self._requests.write(request.encode() + b"\n")

    def _ask(self, request: str) -> None:
        self._send(request)
        assert self.answer() == ["ready"]

    def _do(self, request: str) -> None:
        self._send(request)
        assert self.answer() == ["done"]


def robust_list(pid: int) -> int:
    """Return where the list of robust locks begins of which the kernel tells when that process dies."""
    head, size = ctypes.c_size_t(), ctypes.c_size_t()
    if LIBC.syscall(GET_ROBUST_LIST, pid, ctypes.byref(head), ctypes.byref(size)) != 0:
        raise OSError(ctypes.get_errno(), "get_robust_list")
    return head.value


def library(path: str) -> tuple[int, int]:
    """Return where the instructions of a shared library lie in this process, and so in those forked from it."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5] == path and "x" in fields[1]:
            low, high = fields[0].split("-")
            return int(low, 16), int(high, 16)
    raise LookupError(f"{path} is not mapped with instructions")
