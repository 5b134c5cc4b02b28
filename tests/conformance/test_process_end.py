"""The end of a process as something to wait for: what is no pid, forked children, and why it does not travel."""

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import underpass
from underpass import TimedOut, wait_any


@pytest.mark.parametrize("pid", [0, -1, -(2**40), 2**31, 2**40])
def test_what_is_no_pid_is_refused(pid: int) -> None:
    with pytest.raises(ValueError, match=f"{pid} is no process"):
        underpass.process(pid)


@pytest.mark.parametrize("travel", [pickle.dumps, copy.copy, copy.deepcopy])
def test_it_is_neither_pickled_nor_copied_and_goes_on(travel: Callable[[Any], object]) -> None:
    with underpass.process(os.getpid()) as end:
        with pytest.raises(TypeError, match=rf"pass the pid, and call process\({os.getpid()}\) there"):
            travel(end)
        with pytest.raises(TimedOut):
            wait_any(end, timeout=0)


FORKED = """
import os, underpass
end = underpass.process(os.getpid())
child = os.fork()
if child == 0:
    before = end.fileno()
    os.closerange(3, 100)
    other = os.open("/dev/null", os.O_RDONLY)
    os.dup2(other, before)
    del end
    os.fstat(before)
    os.close(before)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_that_drops_it_closes_nothing_of_its_own() -> None:
    ran = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.stdout, ran.stderr) == ("0\n", "")


def test_a_forked_child_waits_for_it_as_its_parent_does() -> None:
    with underpass.process(os.getpid()) as end:
        child = os.fork()
        if child == 0:
            try:
                wait_any(end, timeout=0)
            except TimedOut:
                end.close()
                os._exit(0)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        with pytest.raises(TimedOut):
            wait_any(end, timeout=0)
