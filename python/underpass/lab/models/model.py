"""What a sequential model is: what an object does when one operation comes after the other.

A model is a value that says what an operation gives and what the object is then. It has a method for each operation, named like
that of the object, which takes who calls and then the operation's arguments, and yields every ``(outcome, next model)`` that is
right: a class of exceptions stands for raising one. What yields nothing cannot happen now: it waits.
A property of the object is a method ``read_<property>``.
A method ``<operation>_called``, if there is one, says what the call itself does, before the operation takes effect: it becomes one
of those who wait, in the dual data structures of Scherer and Scott.

```python
@dataclass(frozen=True)
class Register(Model):
    value: int = 0

    def read(self, who):
        yield self.value, self

    def write(self, who, value):
        yield None, Register(value)
```

An operation that waits may as well time out, with ``timeout=`` or under `fail_after`, so a model yields TimedOut whenever it waits.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, TypeAlias

from underpass.lab.history import Operation, Task

__all__ = ["Bracket", "Model", "Step"]

Step: TypeAlias = "Iterator[tuple[object, Model]]"


class Bracket(NamedTuple):
    """The operations that a ``with`` statement stands for.

    Attributes:
        begin: What its begin is.
        end: What its end is.
        broken: What its end by an exception is.
        gave: The outcome of `begin`, from what the statement gets.
    """

    begin: str
    end: str
    broken: str
    gave: Callable[[Any], object] = lambda _: True


class Model:
    """What all models are; they are immutable and hashable."""

    # The methods that return a context manager, and what it does; "" for the object itself in a with statement.
    brackets: ClassVar[Mapping[str, Bracket]] = {}
    # The methods that return a lease.
    leasing: ClassVar[frozenset[str]] = frozenset()

    def partition(self, operation: Operation) -> Hashable:
        """Return to which of several independent objects the operation goes: the key, in a dictionary. Each is checked alone."""
        return None

    def killed(self, who: Task) -> Step:
        """Yield what the object is once a process of which `who` is a thread was killed."""
        yield None, self

    def reaped(self, who: Task) -> Step:
        """Yield what the object is once somebody has found that the process was killed: at any time after, or never."""
        yield from ()

    def seen(self, name: str, result: Any) -> object:
        """Return what an operation has returned in a form that can be compared."""
        return result
