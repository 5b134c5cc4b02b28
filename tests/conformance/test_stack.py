"""Stack: Zephyr's k_stack, between threads and processes."""

import pickle
import select
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.backends import SOON, Actor, ProcessActor, Processes, Threads, until
from underpass import ClosedError, ExistsError, MismatchError, NotFoundError, TimedOut, WouldBlock, wait_any
from underpass import select as choose
from underpass.data import Stack

World = Threads | Processes
LARGEST = 2**64 - 1


def popped(stack: Stack) -> list[int]:
    """All that is on it, from the top."""
    found = list[int]()
    while True:
        try:
            found.append(stack.pop_nowait())
        except WouldBlock:
            return found


def test_the_last_one_comes_first() -> None:
    stack = Stack(4)
    for word in (0, 1, LARGEST):
        stack.push(word)
    assert (stack.depth, stack.capacity) == (3, 4)
    assert [stack.pop(), stack.pop(timeout=0), stack.pop_nowait()] == [LARGEST, 1, 0]
    assert stack.depth == 0


def test_in_vain() -> None:
    stack = Stack(2)
    with pytest.raises(WouldBlock, match="0 of 2 words are on it"):
        stack.pop_nowait()
    with pytest.raises(TimedOut):
        stack.pop(timeout=0)
    before = time.monotonic()
    with pytest.raises(TimedOut, match=rf"gave no word within {SOON} s: 0 of 2 words"):
        stack.pop(timeout=SOON)
    assert time.monotonic() - before >= SOON


def test_a_full_one_refuses() -> None:
    stack = Stack(2)
    stack.push(1)
    stack.push(2)
    with pytest.raises(WouldBlock, match="took no word without waiting: 2 of 2 words are on it"):
        stack.push(3)
    assert popped(stack) == [2, 1]


@pytest.mark.parametrize("capacity", [0, -1, 2**24 + 1, 2**70])
def test_capacities_that_are_none(capacity: int) -> None:
    with pytest.raises(ValueError, match=r"capacity|out of range"):
        Stack(capacity)


@pytest.mark.parametrize("word", [-1, 2**64])
def test_what_is_no_word(word: int) -> None:
    stack = Stack(1)
    with pytest.raises(ValueError, match="is not between 0 and"):
        stack.push(word)
    with pytest.raises(TypeError):
        stack.push("7")  # type: ignore[arg-type]
    assert stack.depth == 0


def test_purge() -> None:
    stack = Stack(4)
    assert stack.purge() == 0
    for word in range(3):
        stack.push(word)
    assert stack.purge() == 3
    assert popped(stack) == []
    stack.push(7)
    assert stack.pop() == 7


def test_words_are_handed_to_those_who_wait_by_arrival(world: World) -> None:
    stack = Stack(1)
    poppers = list[Actor[int]]()
    for number in range(3):
        poppers.append(world.start(stack.pop))
        poppers[-1].until_asleep()
        assert stack.statistics().waiters == number + 1
    # More than it holds: each goes to one who waits, and nobody else sees it.
    for word in (10, 11, 12):
        stack.push(word)
        assert stack.depth == 0
    assert [popper.result() for popper in poppers] == [10, 11, 12]
    stack.push(13)
    assert popped(stack) == [13]


def test_a_purge_lets_nobody_go(world: World) -> None:
    stack = Stack(1)
    popper = world.start(stack.pop)
    popper.until_asleep()
    assert stack.purge() == 0
    assert not popper.ended
    stack.push(1)
    assert popper.result() == 1


def test_who_gives_up_takes_nothing_along(world: World) -> None:
    stack = Stack(1)

    def wait_in_vain() -> None:
        with pytest.raises(TimedOut):
            stack.pop(timeout=SOON)

    world.start(wait_in_vain).result()
    stack.push(5)
    assert stack.pop_nowait() == 5


def test_every_word_is_popped_once(world: World) -> None:
    stack, each, pushers, poppers = Stack(4), 200, 2, 3

    def push(first: int) -> None:
        for word in range(first, first + each):
            until(lambda word=word: pushed(word), "room")

    def pushed(word: int) -> bool:
        try:
            stack.push(word)
        except WouldBlock:
            return False
        return True

    def pop() -> list[int]:
        found = list[int]()
        while (word := stack.pop()) != LARGEST:
            found.append(word)
        return found

    takers = [world.start(pop) for _ in range(poppers)]
    givers = [world.start(push, number * each) for number in range(pushers)]
    for giver in givers:
        giver.result()
    until(lambda: stack.depth == 0, "the last word")
    for _ in takers:
        until(lambda: pushed(LARGEST), "room")
    assert sorted(word for taker in takers for word in taker.result()) == list(range(pushers * each))


# ── deaths ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def stopped(actor: ProcessActor[Any]) -> None:
    """Stop it, and wait until none of its threads runs."""

    def is_stopped(thread: Path) -> bool:
        return (thread / "stat").read_text().rpartition(")")[2].split()[0] == "T"

    actor.stop()
    until(lambda: all(map(is_stopped, Path(f"/proc/{actor.pid}/task").iterdir())), "the stop")


def test_who_dies_asleep_takes_nothing_along(mortals: Processes) -> None:
    stack = Stack(4)
    poppers = [mortals.start(stack.pop) for _ in range(3)]
    for popper in poppers:
        popper.until_asleep()
    poppers[0].kill()
    poppers[1].kill()
    stack.push(7)
    assert poppers[2].result() == 7
    for word in range(4):
        stack.push(word)
    assert popped(stack) == [3, 2, 1, 0]


def test_what_was_handed_to_the_dead_comes_back_on_top(processes: Processes) -> None:
    stack = Stack(1)
    popper = processes.start(stack.pop)
    popper.until_asleep()
    stopped(popper)
    stack.push(1)
    stack.push(2)
    assert stack.depth == 1  # the other is handed over
    popper.kill()
    # Both are there, though it holds one: there is room for what comes back.
    assert sorted([stack.pop(timeout=10), stack.pop(timeout=10)]) == [1, 2]
    assert popped(stack) == []


def test_what_was_handed_to_the_dead_is_there_for_who_only_looks(processes: Processes) -> None:
    stack = Stack(1)
    popper = processes.start(stack.pop)
    popper.until_asleep()
    stopped(popper)
    stack.push(1)
    with pytest.raises(TimedOut):
        wait_any(stack, timeout=0)
    popper.kill()
    assert wait_any(stack, timeout=0) == [stack]
    assert stack.pop_nowait() == 1


def test_what_was_handed_to_the_dead_goes_to_the_next(processes: Processes) -> None:
    stack = Stack(1)
    first = processes.start(stack.pop)
    first.until_asleep()
    second = processes.start(stack.pop)
    second.until_asleep()
    stopped(first)
    stack.push(1)
    first.kill()
    assert second.result() == 1
    assert stack.depth == 0


def test_too_much_that_may_come_back_is_refused(processes: Processes) -> None:
    """Words that nobody comes for have to find room: 64 more than it holds."""
    stack, most = Stack(1), 1 + 64

    def pop_in_many_threads() -> None:
        threads = [threading.Thread(target=stack.pop, daemon=True) for _ in range(most + 1)]
        for thread in threads:
            thread.start()
        processes.rest()

    popper = processes.start(pop_in_many_threads)
    until(lambda: stack.statistics().waiters == most + 1, "all waiters")
    stopped(popper)
    for word in range(most):
        stack.push(word)
    with pytest.raises(WouldBlock):
        stack.push(most)
    popper.kill()
    assert sorted(popped(stack)) == list(range(most))


# ── names and handles ───────────────────────────────────────────────────────────────────────────────────────────────


def test_names_and_handles(world: World) -> None:
    stack = Stack.create("stack", 2)
    try:
        with pytest.raises(ExistsError):
            Stack.create("stack", 2)
        with pytest.raises(MismatchError, match="capacity=2, and capacity=3"):
            Stack.open_or_create("stack", 3)
        Stack.open("stack").push(1)
        world.start(Stack.open_or_create("stack", 2).push, 2).result()
        other: Stack = pickle.loads(pickle.dumps(stack))  # noqa: S301 - our own bytes
        assert popped(other) == [2, 1]
        assert "Stack 'stack', 0 of 2 words" in repr(stack)
        assert repr(stack.statistics()) == "StackStatistics(depth=0, capacity=2, waiters=0)"
    finally:
        stack.unlink()
    with pytest.raises(NotFoundError):
        Stack.open("stack")


def test_a_closed_one_is_refused() -> None:
    stack = Stack(1)
    stack.close()
    for use in (lambda: stack.push(1), stack.pop, stack.pop_nowait, stack.purge):
        with pytest.raises(ClosedError):
            use()


# ── beside other objects ────────────────────────────────────────────────────────────────────────────────────────────


def test_it_is_waited_for_beside_others(world: World) -> None:
    stack, other = Stack(2), Stack(2)

    def wait() -> list[str]:
        return ["other" if it is other else "stack" for it in wait_any(stack, other)]

    waiter = world.start(wait)
    waiter.until_asleep()
    other.push(1)
    assert waiter.result() == ["other"]
    assert other.pop_nowait() == 1


def test_select_pops_one(world: World) -> None:
    stack, other = Stack(2), Stack(2)
    chooser = world.start(lambda: choose(stack.pop, other.pop))
    chooser.until_asleep()
    other.push(7)
    assert chooser.result() == (1, 7)
    assert (stack.depth, other.depth) == (0, 0)


def test_a_descriptor_for_other_loops() -> None:
    stack = Stack(2)
    try:
        assert not select.select([stack], [], [], 0)[0]
        stack.push(1)
        assert select.select([stack], [], [], 0)[0] == [stack]
        assert stack.pop() == 1
        assert not select.select([stack], [], [], 0)[0]
    finally:
        stack.close()
