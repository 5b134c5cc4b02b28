"""What is stepped through: a line of the table for each operation, and who else is there."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, TypeVar

W = TypeVar("W")
Tally = Counter[str]


class Company(Enum):
    """Who else uses the object while the victim dies."""

    ALONE = "alone"
    WAITER = "waiter"
    CONTENDER = "contender"


def never(_world: object) -> bool:
    """Nothing that a waiter sleeps for is ever there by itself."""
    return False


def nothing(_world: object) -> None:
    """Leave the world as it is."""


@dataclass(frozen=True, kw_only=True)
class Operation(Generic[W]):
    """One operation of one object. Each death has a world of its own."""

    noun: str
    verb: str
    # Made before anybody is forked.
    world: Callable[[], W]
    # Run by the victim: what it returns is called, and enters the library once.
    prepare: Callable[[W], Callable[[], object]]
    # Run by the survivor after the death: the same operation, and whatever lets the waiter leave.
    again: Callable[[W], object]
    # Run by the survivor at last: what is there, with what the contender says it added and took.
    books: Callable[[W, Tally], object]
    # Run by another while the victim lives, inside it (middles.py): if it is not what a survivor does.
    meanwhile: Callable[[W], object] | None = None
    # Why these two have more orders than before, in its sleep, and after: then all have to go on, and no more is asked.
    unordered: str = ""
    # With whom it cannot be done while the victim lives, and why.
    alive: Mapping[Company, str] = field(default_factory=dict[Company, str], hash=False)
    # Between nothing and all of it: what else the operation may have done, completely.
    partly: tuple[Callable[[W], object], ...] = ()
    # The operation ends with this.
    raises: tuple[type[BaseException], ...] = ()
    # The victim sleeps inside, until this is done by somebody else.
    partner: Callable[[W], object] | None = None
    # Somebody sleeps in this, and what it sleeps for is there: then it may not go on sleeping.
    wait: Callable[[W], object] | None = None
    due: Callable[[W], bool] = never
    # It comes before a survivor who comes later. Where not, it is one of both who is told what the dead one left, whichever.
    in_turn: bool = True
    # One turn of somebody who does the same again and again, and undoes it.
    contend: Callable[[W, Tally], object] | None = None
    # With this company the death is told by the re-check alone: a known fault (CAVEATS). Everywhere else it is turned off.
    late: frozenset[Company] = frozenset()
    close: Callable[[W], object] = nothing

    def companies(self) -> tuple[Company, ...]:
        """Who may be there."""
        also = ((Company.WAITER, self.wait), (Company.CONTENDER, self.contend))
        return (Company.ALONE, *(company for company, role in also if role is not None))

    def __str__(self) -> str:
        return f"{self.noun}.{self.verb}"


AnyOperation = Operation[Any]
