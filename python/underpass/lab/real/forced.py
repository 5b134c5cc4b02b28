"""The host: a forked process in which a program is set up and conducted, so that nothing of it stays with the caller."""

import gc
import os
import shutil
import signal
import sys
import tempfile
import traceback
from ctypes import CDLL
from multiprocessing import connection
from pathlib import Path
from typing import NamedTuple, NoReturn

from underpass import _core
from underpass.errors import DiedError
from underpass.lab.program import World
from underpass.lab.real.conductor import Conductor
from underpass.lab.real.machine import RealMachine
from underpass.lab.real.outcome import Diverged, same
from underpass.lab.real.player import NUDGE, PR_SET_PDEATHSIG, gate
from underpass.lab.real.script import Script, write_script
from underpass.lab.stage import Program
from underpass.lab.verdict import Verdict

# The file system that spaces are made for.
_MEMORY = "/dev/shm"  # noqa: S108 - no file in it has a name that others could guess


UNSHARED = frozenset({"race", "shared global"})
"""Failures that are told of Python objects: the lab's processes share them, and each real one has its own."""


class Forced(NamedTuple):
    """How a schedule ended, in the lab and on real processes alike; the texts may differ in pids and files."""

    lab: Verdict | None
    real: Verdict | None


def force(program: Program, token: str, steps: int, *, lines: bool = False) -> Forced:
    """Run a schedule in the lab, and then on real processes, unless it fails by what those do not share.

    Raises:
        Diverged: They do not do the same, or cannot be made to.
        DiedError: The process that conducts them was killed.
    """
    script = write_script(program, token, steps, lines=lines)
    if script.verdict is not None and script.verdict.kind in UNSHARED:
        return Forced(script.verdict, None)
    if script.untried:
        raise Diverged(f"not tried: {script.untried}", step=0)
    real = _in_a_host(program, script)
    if not same(script.verdict, real):
        told = [verdict.summary if verdict is not None else "it passes" for verdict in (script.verdict, real)]
        step = len(script.directions)
        raise Diverged(f"diverged at the end: in the lab {told[0]}; on real processes {told[1]}", step=step)
    return Forced(script.verdict, real)


def _in_a_host(program: Program, script: Script) -> Verdict | None:
    space = tempfile.mkdtemp(prefix="underpass-real-", dir=_MEMORY if Path(_MEMORY).is_dir() else None)
    ours, theirs = connection.Pipe(duplex=False)
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _host(program, script, space, theirs, parent)
    theirs.close()
    try:
        outcome = ours.recv()
    except EOFError:
        raise DiedError(f"the process that conducts (pid {pid}) has died: try again", pid=pid) from None
    finally:
        ours.close()
        os.kill(pid, signal.SIGKILL)  # it has nothing more to do; not waited for, it is still there
        os.waitpid(pid, 0)
        shutil.rmtree(space, ignore_errors=True)
    if isinstance(outcome, Diverged):
        raise outcome
    if isinstance(outcome, str):
        raise DiedError(f"the process that conducts (pid {pid}) failed:\n{outcome}", pid=pid)
    return outcome


def _look_up(_number: int, _frame: object) -> None:
    """End a sleep, and do nothing else."""


def _host(
    program: Program, script: Script, space: str, outbox: "connection.Connection[object, object]", parent: int
) -> NoReturn:
    outcome: object
    try:
        CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(NUDGE, _look_up)
        os.environ["UNDERPASS_DIR"] = space
        gc.disable()
        # A lost wake is one, though a real sleeper looks for itself after a second.
        _core.set_recheck(None)
        _core.conduct(gate)
        conductor = Conductor(script)
        with conductor.recording:
            program(World(RealMachine(conductor), conductor.cast, conductor.start))
            # What was there before is nothing that the processes have to look through.
            gc.freeze()
            outcome = conductor.conduct()
    except Diverged as error:
        outcome = error
    except BaseException:  # noqa: BLE001 - told where the schedule was asked for
        outcome = traceback.format_exc()
    try:
        outbox.send(outcome)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(0)
