"""The limits of this machine: two C processes that hand a turn to each other and back, with nothing in between.

Built at run time from `limits.c` with the machine's C compiler, because a limit of another machine says nothing.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from importlib.resources import as_file, files
from pathlib import Path

from underpass.tools.bench.measure import Contestant, Sampler
from underpass.tools.bench.placement import Seats, UnavailableError

SPIN = "C spin ping-pong"
MESSAGE = "C spin ping-pong with 64 bytes"
FUTEX = "C futex ping-pong"

_ANYWHERE = -1


def limit(name: str, shape: str, *, batch: int, samples: int) -> Contestant:
    """One of the shapes of `limits.c`, as a contestant."""
    return Contestant(name, functools.partial(_limit, shape), batch=batch, samples=samples, warm_up=False)


@contextlib.contextmanager
def _limit(shape: str, seats: Seats, batch: int) -> Generator[Sampler]:
    with _program() as program:

        def sample(count: int) -> list[float]:
            cpus = (_ANYWHERE if cpu is None else cpu for cpu in (seats.client, seats.server))
            arguments = [str(number) for number in (*cpus, batch, count)] + ["asleep"] * seats.asleep
            # In a group of its own: the terminal's Ctrl-C ends it by the parent's hand, and its server with it.
            done = subprocess.run([program, shape, *arguments], stdout=subprocess.PIPE, check=True, process_group=0)
            return [float(line) for line in done.stdout.split()]

        yield sample


@contextlib.contextmanager
def _program() -> Generator[Path]:
    """Compile the limits into a directory of their own, which goes with the block."""
    compiler = _compiler()
    with (
        tempfile.TemporaryDirectory(prefix="underpass-bench-") as directory,
        as_file(files("underpass.tools.bench") / "limits.c") as source,
    ):
        program = Path(directory, "limits")
        done = subprocess.run(
            [*compiler, "-O2", "-o", program, source],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            complaint = next(
                (line for line in done.stderr.splitlines() if "error" in line), f"exit status {done.returncode}"
            )
            raise UnavailableError(f"{shlex.join(compiler)} could not build the limits: {complaint}")
        yield program


def _compiler() -> list[str]:
    named = os.environ.get("CC")
    for candidate in [shlex.split(named)] if named else [["cc"], ["gcc"], ["clang"]]:
        if shutil.which(candidate[0]):
            return candidate
    raise UnavailableError("no C compiler (cc) found: install one (Debian: apt install gcc libc6-dev), or set CC")
