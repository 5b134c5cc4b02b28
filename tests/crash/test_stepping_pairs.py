"""Deaths in pairs, and deaths where not everything is allowed: in a pid namespace, under Docker's seccomp profile."""

import random
import subprocess
import sys

import pytest

from tests.crash.test_lives import NAMESPACE
from tests.crash.test_stepping import ROOT, deaths, needs_stepper

pytestmark = pytest.mark.timeout(180)


def seed(dice: random.Random) -> str:
    return str(dice.randrange(1, 2**32))


@needs_stepper
def test_pairs_of_deaths(dice: random.Random) -> None:
    code, told = deaths("--seed", seed(dice), module="tests.crash.stepping.pairing")
    assert code == 0, told


@needs_stepper
@pytest.mark.deep
def test_many_pairs_of_deaths(dice: random.Random) -> None:
    code, told = deaths("--seed", seed(dice), "--draw", "300", module="tests.crash.stepping.pairing")
    assert code == 0, told


@needs_stepper
def test_deaths_in_a_pid_namespace(dice: random.Random) -> None:
    tried = subprocess.run([*NAMESPACE, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no pid namespace for this user: {tried.stderr.strip()}")
    command = [*NAMESPACE, "--kill-child", sys.executable, "-m", "tests.crash.stepping"]
    arguments = ["--only", "Queue.", "--draw", "20", "--seed", seed(dice)]
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
        "assert libc.syscall(468, 0) == -1 and ctypes.get_errno() == errno.ENOSYS"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
