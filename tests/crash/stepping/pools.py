"""Deaths inside Pool: a block is somebody's who lives, or free, and who waits for one gets it."""

from collections.abc import Callable
from contextlib import suppress

from tests.crash.stepping.operation import Operation, Tally
from underpass import Block, Pool, TimedOut, WouldBlock


def made() -> Pool:
    return Pool(2, 64)


def known() -> None:
    """Claim this process's life, and the objects that it will use, before it is stepped."""
    Pool(1, 64).alloc().release()


def turn(pool: Pool) -> None:
    """Take a block and give it back, if one is free."""
    with suppress(WouldBlock), pool.alloc_nowait():
        pass


def books(pool: Pool, _tally: Tally) -> int:
    """How many blocks the survivor can have, which are all: the dead have none, and none is lost."""
    held = list[Block]()
    with suppress(WouldBlock):
        while True:
            held.append(pool.alloc_nowait())
    return len(held)


def alloc(pool: Pool) -> Callable[[], object]:
    known()
    return pool.alloc


def alloc_nowait(pool: Pool) -> Callable[[], object]:
    known()
    return pool.alloc_nowait


def hand_on(pool: Pool) -> Callable[[], object]:
    known()
    return pool.alloc().hand_on


def release(pool: Pool) -> Callable[[], object]:
    known()
    first, second = pool.alloc(), pool.alloc()

    def give_back() -> Block:
        first.release()
        return second

    return give_back


def receive(pool: Pool) -> Callable[[], object]:
    known()
    reference = pool.alloc().hand_on()
    return lambda: pool.receive(reference)


def starved(pool: Pool) -> Callable[[], object]:
    known()
    held = [pool.alloc(), pool.alloc()]

    def wait() -> None:
        assert held
        pool.alloc(timeout=0.002)

    return wait


def wait(pool: Pool) -> None:
    """Sleep until a block is free, and give it back."""
    pool.alloc().release()


def is_due(pool: Pool) -> bool:
    return pool.free > 0


OPERATIONS: list[Operation[Pool]] = [
    Operation(noun="Pool", verb="alloc", world=made, prepare=alloc, again=turn, books=books),
    Operation(noun="Pool", verb="alloc_nowait", world=made, prepare=alloc_nowait, again=turn, books=books),
    Operation(
        noun="Block", verb="release", world=made, prepare=release, again=turn, books=books, wait=wait, due=is_due
    ),
    Operation(noun="Block", verb="hand_on", world=made, prepare=hand_on, again=turn, books=books),
    Operation(noun="Pool", verb="receive", world=made, prepare=receive, again=turn, books=books),
    Operation(
        noun="Pool", verb="alloc, timed out", world=made, prepare=starved, raises=(TimedOut,), again=turn, books=books
    ),
]
