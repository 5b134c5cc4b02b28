"""The lab: every interleaving, time-out and death of a program, on a simulated kernel.

Needs greenlet: ``pip install 'underpass[lab]'``.
"""

from underpass.lab import models
from underpass.lab.exploration import Report, explore, replay
from underpass.lab.failure import Failure
from underpass.lab.linearization import NotLinearizable
from underpass.lab.program import Process, World
from underpass.lab.recorded import linearizable
from underpass.lab.verdict import Verdict

__all__ = [
    "Failure",
    "NotLinearizable",
    "Process",
    "Report",
    "Verdict",
    "World",
    "explore",
    "linearizable",
    "models",
    "replay",
]
