"""Deaths inside Stack: a word was pushed or it was not, was popped or was not, and whoever waits for one gets one that is there."""

from contextlib import suppress
from functools import partial

from tests.crash.stepping.operation import Operation, Tally
from underpass import TimedOut, WouldBlock
from underpass.data import Stack

WORDS = (11, 12)


def made() -> Stack:
    """Return one that has two words, and room for more."""
    stack = Stack(8)
    for word in WORDS:
        stack.push(word)
    return stack


def known(stack: Stack) -> Stack:
    """Return it once this process has a life."""
    Stack(1).push(0)
    return stack


def push(stack: Stack) -> None:
    stack.push(13)


def pop(stack: Stack) -> None:
    with suppress(WouldBlock):
        stack.pop_nowait()


def books(stack: Stack, _tally: Tally) -> list[int]:
    """What is on it, from the top."""
    found = list[int]()
    with suppress(WouldBlock):
        while True:
            found.append(stack.pop_nowait())
    return found


def is_due(stack: Stack) -> bool:
    return stack.depth > 0


OPERATIONS: list[Operation[Stack]] = [
    Operation(
        noun="Stack",
        verb="push",
        world=made,
        prepare=lambda it: partial(known(it).push, 13),
        again=push,
        books=books,
    ),
    Operation(
        noun="Stack",
        verb="push, onto nothing",
        world=lambda: Stack(8),
        prepare=lambda it: partial(known(it).push, 13),
        again=push,
        books=books,
        wait=lambda it: it.pop(),
        due=is_due,
    ),
    Operation(
        noun="Stack",
        verb="pop",
        world=made,
        prepare=lambda it: known(it).pop,
        again=pop,
        books=books,
    ),
    Operation(
        noun="Stack",
        verb="pop_nowait",
        world=made,
        prepare=lambda it: known(it).pop_nowait,
        again=pop,
        books=books,
    ),
    Operation(
        noun="Stack",
        verb="pop, asleep",
        world=lambda: Stack(8),
        prepare=lambda it: it.pop,
        partner=push,
        again=push,
        books=books,
        wait=lambda it: it.pop(),
        due=is_due,
    ),
    Operation(
        noun="Stack",
        verb="pop, timed out",
        world=lambda: Stack(8),
        prepare=lambda it: partial(known(it).pop, timeout=0.002),
        raises=(TimedOut,),
        again=push,
        books=books,
        wait=lambda it: it.pop(),
        due=is_due,
    ),
    Operation(noun="Stack", verb="purge", world=made, prepare=lambda it: known(it).purge, again=push, books=books),
]
