"""Whether every verb that changes or awaits shared memory stands in the table of deaths, or among the exceptions with a reason.

What is stopped, and forked, in the middle is made from the same table.
"""

import inspect
import re
from collections.abc import Iterator

import underpass
from tests.crash.stepping.table import OPERATIONS
from underpass import _core, data, memory, ports, sync, waiting

MODULES = (underpass, sync, data, memory, ports, waiting)
# What is one piece of code for all classes: whose lines stand for it.
SHARED = {
    "create": "Semaphore",
    "open": "Semaphore",
    "open_or_create": "Semaphore",
    "unlink": "Semaphore",
    "close": "Semaphore",
    "fileno": "Semaphore",
}
# What changes nothing and waits for nothing, wherever it is.
LOOKS = {"statistics", "is_set", "load"}
# What else has no line, and why it needs none.
EXCEPTIONS = {
    "AtomicInt.change_from": "makes a Python object, in this process",
    "Condition.acquire": "is its mutex's",
    "Condition.acquire_nowait": "is its mutex's",
    "Condition.holding": "is its mutex's",
    "Condition.recovering": "is its mutex's",
    "Condition.release": "is its mutex's",
    "Condition.wait_for": "is wait, again and again",
    "Event.wait_nowait": "looks, and takes nothing",
    "Gate.call_into": "is call, and the reply is copied elsewhere",
    "Latch.wait_nowait": "looks, and takes nothing",
    "Mutex.holding": "is acquire, and at its end release",
    "News.take": "empties a descriptor of this process",
    "Notification.flags": "makes a Python object, in this process",
    "Pool.room_for": "makes a Python object, in this process",
    "Port.gate": "makes a Python object, in this process",
    "Port.serve": "is receive, and then reply",
    "Port.serve_bytes": "is receive, and then reply",
    "Queue.leases": "is take, and then done or put_back, again and again",
    "Region.array": "makes a Python object, in this process",
    "Ring.room_for": "makes a Python object, in this process",
    "Semaphore.holding": "is acquire, and at its end release",
    "Space.default": "is Space(), as it is entered",
    "Space.look": "looks, and takes no part",
    "Space.waits": "looks",
    "SpinLock.holding": "is acquire, and at its end release",
    "WaitSet.ready": "is wait that has no time",
    "WaitSet.wait_for": "is dispatch, until one was handled",
}


def classes() -> dict[str, type]:
    """Return the native classes that a program can name."""
    named = {name: getattr(module, name) for module in MODULES for name in module.__all__}
    return {name: it for name, it in named.items() if inspect.isclass(it) and getattr(_core, name, None) is it}


def verbs() -> Iterator[tuple[str, str]]:
    """Name each public verb of them, after its class."""
    for name, it in classes().items():
        for verb in vars(it):
            if not verb.startswith("_") and callable(getattr(it, verb)):
                yield name, verb


def functions() -> set[str]:
    """Name the native functions and blocks that wait."""
    return {"wait_any", "wait_all", "select"}


def lines() -> set[tuple[str, str]]:
    """Name what has a line: the class, and the first word of what is done there."""
    return {(operation.noun, re.split(r"[ ,]", operation.verb)[0]) for operation in OPERATIONS}


def has_line(name: str, verb: str) -> bool:
    return (name, verb) in lines() or (SHARED.get(verb), verb) in lines()


def test_each_verb_has_a_line_or_a_reason_why_not() -> None:
    missing = [
        f"{name}.{verb}"
        for name, verb in verbs()
        if not (has_line(name, verb) or verb in LOOKS or f"{name}.{verb}" in EXCEPTIONS)
    ]
    assert missing == [], (
        "no death is inflicted: give it a line in tests/crash/stepping, or say in EXCEPTIONS why it needs none"
    )


def test_functions_have_lines() -> None:
    assert functions() <= set(vars(underpass)) & {noun for noun, _ in lines()}


def test_exceptions_are_verbs_without_a_line() -> None:
    known = {f"{name}.{verb}" for name, verb in verbs()}
    assert set(EXCEPTIONS) <= known
    assert [name for name in EXCEPTIONS if tuple(name.split(".")) in lines()] == []
    assert {verb for _, verb in verbs()} >= LOOKS | SHARED.keys()
    assert {(noun, verb) for verb, noun in SHARED.items()} <= lines()


def test_a_missing_line_is_noticed() -> None:
    assert not has_line("Pipe", "overwrite")
    assert has_line("Pipe", "write")
