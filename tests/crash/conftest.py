"""What crash tests get: processes."""

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
