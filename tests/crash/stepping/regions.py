"""Deaths inside Region: it is there or not, longer or not, sealed or not, and its bytes are whole."""

import pickle
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from tests.crash.stepping.operation import Operation, Tally
from underpass import MisuseError, NotFoundError, Region, Space

NAME = "stepped-region"
PAGE = 4096


class Named:
    """A region with a name, made before anybody is forked."""

    def __init__(self) -> None:
        self.region = Region.create(NAME, PAGE)
        self.region[0] = 7

    def forget(self) -> None:
        """Remove it."""
        with suppress(NotFoundError):
            self.region.unlink()
        self.region.close()


def opened(named: Named) -> Region:
    """Return the victim's own handle, once this process has a life."""
    Region(1).close()
    del named
    return Region.open(NAME)


def whole(named: Named, _tally: Tally) -> tuple[int, int]:
    """All bytes that it says it has are there."""
    for region in (named.region, Region.open(NAME)):
        region[-1] = 1
        assert len(region) == len(memoryview(region)) == region.statistics().size
    return len(named.region), named.region[0]


def nothing_left(_region: object, _tally: Tally) -> list[str]:
    Space.default().sweep()
    return sorted(info.file for info in Space.default() if info.name is None and info.state != "alive")


def sealed_books(region: Region, _tally: Tally) -> bool:
    """Whoever opens it finds what the word says, and the kernel agrees."""
    again: Region = pickle.loads(pickle.dumps(region))  # noqa: S301 - our own bytes
    assert again.sealed
    with suppress(MisuseError):
        again.resize(9 * PAGE)
    return len(again) == PAGE


def seal_again(region: Region) -> None:
    """Another seals it, unless the victim has."""
    with suppress(MisuseError):
        region.seal()


def sealing(region: Region) -> Callable[[], object]:
    Region(1).close()
    return region.seal


NAMED: list[Operation[Named]] = [
    Operation(
        noun="Region",
        verb="resize",
        world=Named,
        prepare=lambda named: partial(opened(named).resize, 3 * PAGE),
        again=lambda named: named.region.resize(3 * PAGE),
        books=whole,
        close=Named.forget,
    ),
    Operation(
        noun="Region",
        verb="open",
        world=Named,
        prepare=lambda _: partial(Region.open, NAME),
        again=lambda _: Region.open(NAME).close(),
        books=whole,
        close=Named.forget,
    ),
]

ANONYMOUS: list[Operation[Region]] = [
    Operation(
        noun="Region",
        verb="made",
        world=lambda: Region(PAGE),
        prepare=lambda _: partial(Region, PAGE),
        again=lambda _: Region(PAGE).close(),
        books=nothing_left,
        close=Region.close,
    ),
    Operation(
        noun="Region",
        verb="resize, of a memfd",
        world=lambda: Region(PAGE),
        prepare=lambda region: partial(region.resize, 3 * PAGE),
        again=lambda region: region.resize(3 * PAGE),
        books=lambda region, _tally: (len(region), region[3 * PAGE - 1]),
        close=Region.close,
    ),
    Operation(
        noun="Region",
        verb="seal",
        world=lambda: Region(PAGE),
        prepare=sealing,
        again=seal_again,
        books=sealed_books,
        close=Region.close,
    ),
]

OPERATIONS = [*NAMED, *ANONYMOUS]
