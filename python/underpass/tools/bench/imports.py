"""What `import underpass` costs in a fresh interpreter."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Generator

from underpass.tools.bench.measure import Contestant, Sampler
from underpass.tools.bench.placement import Seats, UnavailableError

UNDERPASS = "import underpass"


def _timed(statement: str) -> Contestant:
    # Timed inside, so that the interpreter's own start does not count.
    program = f"import time; started = time.perf_counter_ns(); {statement}; print(time.perf_counter_ns() - started)"

    @contextlib.contextmanager
    def opened(_seats: Seats, _batch: int) -> Generator[Sampler]:
        yield lambda count: [_run(program) for _ in range(count)]

    return Contestant(statement, opened, samples=1, warm_up=False)


def _run(program: str) -> float:
    # In a group of its own: the terminal's Ctrl-C ends it by the parent's hand.
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, process_group=0)
    if done.returncode != 0:
        raise UnavailableError(done.stderr.strip().rpartition("\n")[2] or f"exit status {done.returncode}")
    return float(done.stdout)


IMPORTS = (_timed("import multiprocessing"), _timed(UNDERPASS))
