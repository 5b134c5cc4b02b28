"""The worlds that conformance cases run in."""

import inspect
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

# Test modules are imported by path, and what they share is a module as well.
sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.conformance.backends import Processes, Threads, World
from tests.conformance.lab import Lab
from tests.conformance.loops import LOOPS, EventLoop
from underpass import WaitSet, _core

RECHECK = 1.0

# Fixtures whose value is an object of the library.
MADE = {"members": WaitSet}

# The modules whose cases run in the lab as well.
IN_THE_LAB = {
    "test_atomic",
    "test_atomic_section",
    "test_barrier",
    "test_broadcast",
    "test_broadcast_in_place",
    "test_broadcast_waits",
    "test_condition",
    "test_condition_deaths",
    "test_event",
    "test_latch",
    "test_mutex",
    "test_mutex_deaths",
    "test_mutex_fairness",
    "test_mutex_fairness_deaths",
    "test_mutex_lending",
    "test_mutex_lending_deaths",
    "test_notification",
    "test_object_queue",
    "test_once",
    "test_pipe",
    "test_pool",
    "test_queue_leases",
    "test_queue_orders",
    "test_queue_waiting",
    "test_ring",
    "test_rwlock",
    "test_rwlock_deaths",
    "test_semaphore",
    "test_semaphore_fairness",
    "test_semaphore_leased",
    "test_select",
    "test_spin_lock",
    "test_timeouts",
    "test_wait_all",
    "test_wait_any",
    "test_wait_any_meanwhile",
    "test_wait_any_parts",
    "test_wait_set",
    "test_wait_set_dispatch",
    "test_wait_set_handlers",
    "test_wait_set_wait_for",
}


@pytest.fixture(autouse=True)
def no_recheck() -> Iterator[None]:
    """Turn the backstop off: a wake that gets lost hangs here, where it would cost its users a second now and then."""
    _core.set_recheck(None)
    yield
    _core.set_recheck(RECHECK)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a case with a world among threads, among processes, and, if its objects are there, in the lab."""
    if "world" in metafunc.fixturenames:
        worlds: list[type[World]] = [Threads, Processes]
        if metafunc.definition.path.stem in IN_THE_LAB:
            worlds.append(Lab)
        metafunc.parametrize("world", worlds, ids=[world.__name__.lower() for world in worlds], indirect=True)
    if "machine" in metafunc.fixturenames:
        metafunc.parametrize("machine", [Threads, Processes], ids=["threads", "processes"], indirect=True)
    if "mortals" in metafunc.fixturenames:
        metafunc.parametrize("mortals", [Processes, Lab], ids=["processes", "lab"], indirect=True)


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> EventLoop:
    """Return an event loop, each in its turn."""
    return EventLoop(request.param)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a case of the lab in several schedules, itself as one of the lab's processes."""
    world = pyfuncitem.funcargs.get("world", pyfuncitem.funcargs.get("mortals"))
    if not isinstance(world, Lab):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}

    def case() -> None:
        # What a fixture made is this machine's: each schedule makes its own.
        with ExitStack() as stack:
            made = {name: stack.enter_context(MADE[name]()) for name in arguments.keys() & MADE.keys()}
            pyfuncitem.obj(**arguments | made)

    world.explore(case)
    return True


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Name where the case runs."""
    world: World = request.param()
    yield world
    world.close()


@pytest.fixture
def machine(request: pytest.FixtureRequest) -> Iterator[World]:
    """Run a case that needs what the lab has not, descriptors say: among threads, and among processes."""
    world: World = request.param()
    yield world
    world.close()


@pytest.fixture
def mortals(request: pytest.FixtureRequest) -> Iterator[World]:
    """Run a case in which actors are killed or stopped: among processes, and in the lab."""
    world: World = request.param()
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
