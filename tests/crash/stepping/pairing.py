"""`python -m tests.crash.stepping.pairing`: pairs of deaths, drawn from a seed among those that others can tell apart."""

import argparse
import os
import random
import sys
from collections.abc import Callable, Iterator

from tests.crash.stepping.__main__ import settle, space
from tests.crash.stepping.operation import AnyOperation
from tests.crash.stepping.pairs import First, Pair
from tests.crash.stepping.table import OPERATIONS

# Those that two can do in one world, one after the other, and whose books say what they did. Not among them are a port's own operations
# (a name has one receiver, so `Request.reply` is never in two processes), a mutex's release (it has one owner), and waits that a third has
# to end: who is told first is a matter of chance.
PAIRED = (
    "Semaphore.acquire",
    "Semaphore.release",
    "Semaphore.reset",
    "Semaphore.create",
    "Mutex.acquire",
    "Mutex.acquire_nowait, refused",
    "Semaphore.acquire, by arrival",
    "Semaphore.reset, by arrival",
    "Semaphore.acquire, leased, barging",
    "Semaphore.acquire, leased, arrival",
    "Mutex.recovering, entered",
    "Mutex.acquire, by arrival",
    "Mutex.recovering, by arrival, entered",
    "SpinLock.acquire",
    "Latch.count_down",
    "Condition.notify",
    "Condition.notify_all",
    "RWLock.reading, entered",
    "RWLock.writing, entered",
    "wait_any.ready",
    "select.ready",
    "WaitSet.add, the first",
    "WaitSet.remove",
    "WaitSet.close",
    "Notification.notify",
    "Notification.notify, of the other half",
    "Notification.set",
    "Notification.clear",
    "Notification.wait_nowait",
    "Event.set",
    "Event.clear",
    "Event.wait",
    "AtomicInt.add",
    "AtomicInt.exchange",
    "AtomicInt.compare_exchange",
    "AtomicInt.wake",
    "Queue.put",
    "Queue.get",
    "Queue.take",
    "Queue.made",
    "Loan.commit",
    "Lease.done",
    "Lease.put_back, to the dead letters",
    "Gate.call, which binds",
    "Gate.call",
    "Gate.send",
    "Gate.notify",
    "Space.entered, the first time",
    "Space.sweep",
)


def paired() -> list[AnyOperation]:
    """Return the operations."""
    found = [operation for operation in OPERATIONS if str(operation) in PAIRED]
    missing = {*PAIRED} - {*map(str, found)}
    assert not missing, f"no line of the table: {sorted(missing)}"
    return found


def draw(
    operation: AnyOperation, fates: list[First], dice: random.Random, check: Callable[[], None]
) -> Iterator[str | None]:
    """Inflict pairs of deaths on one operation; yield what was wrong after each. Where not one can be prepared, that is the only one."""
    try:
        pair = Pair(operation)
    except AssertionError as error:
        yield f"not one pair can be prepared: {error}"
        return
    try:
        for fate in fates:
            first, second = map(dice.choice, pair.points)
            try:
                pair.die(first, second, fate)
                check()
            except AssertionError as error:
                yield f"{first} and {second}, the first {fate.value}: {error}"
            else:
                yield None
    finally:
        pair.close()


def main() -> int:
    """Draw so many pairs of each operation and fate."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.stepping.pairing", description=__doc__)
    parser.add_argument("--draw", type=int, default=1, help="pairs of each operation and fate")
    parser.add_argument("--part", default="1/1", help="of the operations, the first half (1/2), the second (2/2), …")
    parser.add_argument("--one-fate", action="store_true", help="of each operation one fate, drawn")
    parser.add_argument("--seed", type=int, default=0, help="repeat a draw")
    parser.add_argument("--only", default="", help="operations whose name contains this")
    arguments = parser.parse_args()
    seed = arguments.seed or random.randrange(1, 2**32)
    print(f"UNDERPASS_SEED={seed}")  # noqa: T201
    number, parts = map(int, arguments.part.split("/"))
    dice, failed, died = random.Random(seed), 0, 0
    with space() as check:
        settle(max(os.sched_getaffinity(0)))
        for operation in paired()[number - 1 :: parts]:
            if arguments.only not in str(operation):
                continue
            fates = [dice.choice(list(First))] if arguments.one_fate else list(First)
            for what in draw(operation, [fate for fate in fates for _ in range(arguments.draw)], dice, check):
                died += 1
                if what is not None:
                    failed += 1
                    print(f"FAILED {operation}: {what}", flush=True)  # noqa: T201
    print(f"{died} pairs, {failed} failures")  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
