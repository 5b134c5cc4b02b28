"""What `import underpass` costs in a fresh interpreter."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Generator

from underpass.tools.bench.measure import Contestant, Sampler
from underpass.tools.bench.placement import Seats

UNDERPASS = "import underpass"


def _timed(statement: str) -> Contestant:
    # Timed inside, so that the interpreter's own start does not count.
    program = f"import time; started = time.perf_counter_ns(); {statement}; print(time.perf_counter_ns() - started)"

    # In a group of its own, so that the terminal's Ctrl-C ends it by the parent's hand, without a traceback of its own.
    @contextlib.contextmanager
    def opened(_seats: Seats, _batch: int) -> Generator[Sampler]:
        def sample(count: int) -> list[float]:
            return [
                float(subprocess.check_output([sys.executable, "-c", program], process_group=0)) for _ in range(count)
            ]

        yield sample

    return Contestant(statement, opened, samples=1, warm_up=False)


IMPORTS = (_timed("import multiprocessing"), _timed(UNDERPASS))
