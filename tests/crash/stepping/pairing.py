"""`python -m tests.crash.stepping.pairing`: pairs of deaths, drawn from a seed."""

import argparse
import os
import random
import sys

from tests.crash.stepping.__main__ import settle, space
from tests.crash.stepping.operation import AnyOperation
from tests.crash.stepping.pairs import First, Pair
from tests.crash.stepping.table import OPERATIONS

# Those that one after the other can do in one world, and that say what they did.
PAIRED = (
    "Semaphore.acquire",
    "Semaphore.release",
    "Semaphore.reset",
    "Semaphore.create",
    "Queue.put",
    "Queue.get",
    "Queue.take",
    "Queue.made",
    "Loan.commit",
    "Gate.call, which binds",
    "Gate.call",
    "Space.entered, the first time",
    "Space.sweep",
)


def paired() -> list[AnyOperation]:
    """Return the operations."""
    return [operation for operation in OPERATIONS if str(operation) in PAIRED]


def main() -> int:
    """Draw so many pairs of each operation and fate."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.stepping.pairing", description=__doc__)
    parser.add_argument("--draw", type=int, default=1, help="pairs of each operation and fate")
    parser.add_argument("--seed", type=int, default=0, help="repeat a draw")
    parser.add_argument("--only", default="", help="operations whose name contains this")
    arguments = parser.parse_args()
    seed = arguments.seed or random.randrange(1, 2**32)
    print(f"UNDERPASS_SEED={seed}")  # noqa: T201
    dice, failed, died = random.Random(seed), 0, 0
    with space() as check:
        settle(max(os.sched_getaffinity(0)))
        for operation in paired():
            if arguments.only not in str(operation):
                continue
            pair = Pair(operation)
            for fate in First:
                for _ in range(arguments.draw):
                    first, second = (dice.randrange(pair.instructions) for _ in range(2))
                    died += 1
                    try:
                        pair.die(first, second, fate)
                        check()
                    except AssertionError as error:
                        failed += 1
                        print(f"FAILED {operation}, {first} and {second}, the first {fate.value}: {error}")  # noqa: T201
            pair.close()
    print(f"{died} pairs, {failed} failures")  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
