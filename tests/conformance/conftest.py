"""The worlds that conformance cases run in."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Test modules are imported by path, and what they share is a module as well.
sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.conformance.backends import Processes, Threads
from underpass import _core

RECHECK = 1.0


@pytest.fixture(autouse=True)
def no_recheck() -> Iterator[None]:
    """Turn the backstop off: a wake that gets lost hangs here, where it would cost its users a second now and then."""
    _core.set_recheck(None)
    yield
    _core.set_recheck(RECHECK)


@pytest.fixture(params=[Threads, Processes], ids=["threads", "processes"])
def world(request: pytest.FixtureRequest) -> Iterator[Threads | Processes]:
    """Run the case twice: among threads, and among processes."""
    world: Threads | Processes = request.param()
    yield world
    world.close()


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Run a case that only processes can show."""
    world = Processes()
    yield world
    world.close()


@pytest.fixture
def threads() -> Iterator[Threads]:
    """Run a case that only threads can show."""
    world = Threads()
    yield world
    world.close()


@pytest.fixture
def directory(private_space: Path) -> Iterator[Path]:
    """Name a directory beside the test's own space that does not exist yet."""
    path = private_space.with_name(private_space.name + "-other")
    yield path
    shutil.rmtree(path, ignore_errors=True)
