"""The lab: every interleaving, time-out and death of a program, on a simulated kernel.

Needs greenlet: ``pip install 'underpass[lab]'``.
"""

from underpass.lab import models
from underpass.lab.coverage import Interrupted, Report
from underpass.lab.exploration import explore, replay
from underpass.lab.explored import explored
from underpass.lab.failure import Failure
from underpass.lab.linearization import NotLinearizable
from underpass.lab.program import Process, World
from underpass.lab.real import Diverged
from underpass.lab.recorded import linearizable
from underpass.lab.stage import run
from underpass.lab.verdict import Verdict

__all__ = [
    "Diverged",
    "Failure",
    "Interrupted",
    "NotLinearizable",
    "Process",
    "Report",
    "Verdict",
    "World",
    "explore",
    "explored",
    "linearizable",
    "models",
    "replay",
    "run",
]
