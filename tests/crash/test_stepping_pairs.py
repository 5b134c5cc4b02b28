"""Deaths in pairs, and deaths where not everything is allowed: in a pid namespace, under Docker's seccomp profile."""

import random
import subprocess
import sys

import pytest

from tests.crash.stepping import pairing
from tests.crash.stepping.children import Hang
from tests.crash.stepping.operation import AnyOperation
from tests.crash.stepping.pairs import First, Pair
from tests.crash.test_lives import NAMESPACE
from tests.crash.test_stepping import ROOT, deaths, deaths_at_once, needs_stepper

pytestmark = pytest.mark.timeout(400)


def seed(dice: random.Random) -> str:
    return str(dice.randrange(1, 2**32))


@needs_stepper
@pytest.mark.parametrize("parts", [("1/6", "2/6"), ("3/6", "5/6"), ("4/6", "6/6")], ids=" and ".join)
def test_pairs_of_deaths(dice: random.Random, parts: tuple[str, str]) -> None:
    draw = ("--one-fate", "--seed", seed(dice), "--part")
    for code, told in deaths_at_once([(*draw, part) for part in parts], module="tests.crash.stepping.pairing"):
        assert code == 0, told


def test_a_hang_before_the_first_pair_is_a_failure_of_that_operation_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(operation: AnyOperation) -> Pair:
        raise Hang(f"nobody comes back from {operation}")

    monkeypatch.setattr(pairing, "Pair", hangs)
    operation, *_ = pairing.paired()
    assert [*pairing.draw(operation, [First.KILLED], random.Random(1), lambda: None)] == [
        f"not one pair can be prepared: nobody comes back from {operation}"
    ]


@needs_stepper
@pytest.mark.deep
def test_many_pairs_of_deaths(dice: random.Random) -> None:
    code, told = deaths("--seed", seed(dice), "--draw", "300", module="tests.crash.stepping.pairing")
    assert code == 0, told


# A namespace changes what the kernel tells of processes, and every kind of object asks it.
KINDS = (
    "Semaphore.",
    "Mutex.",
    "Notification.",
    "Event.",
    "AtomicInt.",
    "SpinLock.",
    "Condition.",
    "RWLock.",
    "Latch.",
    "wait_any.",
    "WaitSet.",
    "Queue.",
    "Lease.",
    "Gate.",
    "Port.",
    "Space.",
)


@needs_stepper
@pytest.mark.parametrize("kind", KINDS)
def test_deaths_in_a_pid_namespace(dice: random.Random, kind: str) -> None:
    tried = subprocess.run([*NAMESPACE, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no pid namespace for this user: {tried.stderr.strip()}")
    command = [*NAMESPACE, "--kill-child", sys.executable, "-m", "tests.crash.stepping"]
    arguments = ["--only", kind, "--draw", "4", "--seed", seed(dice)]
    run = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@needs_stepper
def test_deaths_under_the_seccomp_profile_of_docker(dice: random.Random) -> None:
    arguments = ("tests.crash.stepping", "--draw", "20", "--seed", seed(dice))
    code, told = deaths(*arguments, module="tests.crash.docker_seccomp")
    assert code == 0, told


def test_the_seccomp_profile_of_docker_refuses() -> None:
    program = (
        "import ctypes, errno\nfrom tests.crash import docker_seccomp\ndocker_seccomp.confine()\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "assert libc.unshare(0) == -1 and ctypes.get_errno() == errno.EPERM\n"
        "assert libc.syscall(438, -1, 0, 0) == -1 and ctypes.get_errno() == errno.EPERM\n"
        "assert libc.syscall(440, -1, 0, 0, 0, 0) == -1 and ctypes.get_errno() == errno.EPERM\n"
        "assert libc.syscall(468, 0) == -1 and ctypes.get_errno() == errno.ENOSYS"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
