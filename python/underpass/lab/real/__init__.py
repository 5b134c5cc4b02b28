"""A schedule of the lab, forced on real processes: Linux's sleeps and wakes, real kills, and memory in files.

The lab runs the schedule first and writes down its `Script`: who has its turn at which point. Then a *host*, forked from the caller,
sets the program up in a space of its own, forks its processes, and conducts them: `Conductor`. Each process asks before every
point (`Player`) and goes on when it is let.
"""

from underpass.lab.real.forced import force
from underpass.lab.real.outcome import Diverged

__all__ = ["Diverged", "force"]
