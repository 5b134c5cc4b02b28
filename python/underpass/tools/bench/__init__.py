"""`underpass bench`: what this machine can do, what others reach on it, what underpass reaches, and which targets that meets.

- `groups`: which contestants run against which, and where
- `measure`: contests, in which contestants take turns, and rows of medians; `placement` and `partners`: their CPUs and processes
- `limits`: C, built at run time; `standard`: the standard library; `peers/`: other packages, in an environment of their own
- `calls`, `queues`, `locks`, `fairness`, `flags`, `wakes`, `awaits`, `many`, `idle`, `imports`, `deaths`: underpass, beside peers of
  the same shape
- `targets`: what must be reached; `machine`, `report`: what is printed
"""

from underpass.tools.bench.command import run

__all__ = ["run"]
