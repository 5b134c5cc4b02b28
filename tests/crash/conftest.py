"""What crash tests get: processes, and dice."""

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Test modules are imported by path, and what they share is a module as well.
sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.conformance.backends import Processes


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Run a case that only processes can show."""
    world = Processes()
    yield world
    world.close()


@pytest.fixture
def dice() -> random.Random:
    """Roll for the instants of death; UNDERPASS_SEED repeats a roll."""
    seed = int(os.environ.get("UNDERPASS_SEED", "0")) or random.randrange(1, 2**32)
    print(f"UNDERPASS_SEED={seed}")  # noqa: T201 - shown when it fails
    return random.Random(seed)
