"""A place of the bench's own for its named objects."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Generator
from pathlib import Path

from underpass import Space


@contextlib.contextmanager
def private_space() -> Generator[Space]:
    """A space in shared memory that is removed when the block ends."""
    with tempfile.TemporaryDirectory(prefix=f"underpass-bench-{os.getpid()}-", dir="/dev/shm") as directory:
        space = Space(str(Path(directory, "space")))
        try:
            yield space
        finally:
            space.remove()
