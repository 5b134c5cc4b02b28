"""`underpass bench`: what this machine can do, what others reach on it, what underpass reaches, and which targets that meets.

    groups      which contestants run against which, and where
    measure     contests: contestants in turns, rows of medians       placement   the CPUs      partners  the other process
    limits      C, built at run time      peers     the standard library
    calls queues locks idle imports deaths          underpass, beside its peers of the same shape
    targets     what must be reached      report    tables and JSON   machine     the header
"""

from underpass.tools.bench.command import run

__all__ = ["run"]
