"""What processes would not share: it is told who wrote, who read, and what to do instead."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("greenlet")

from tests.lab import isolated_state
from tests.lab.isolated_state import settings
from underpass import lab
from underpass.lab import Failure, World

if TYPE_CHECKING:
    from collections.abc import Callable

total = 0
latest: int
results: list[int] = []
table: dict[str, list[int]] = {"all": []}


class Counter:
    """Counts in the class."""

    made = 0
    limit = 5

    @classmethod
    def make(cls) -> None:
        """Make one."""
        cls.made += 1


@dataclass
class State:
    """Counts in an object."""

    number: int = 0
    names: list[str] = field(default_factory=list[str])


state = State()


def assign() -> None:
    global total  # noqa: PLW0603 - what is tested
    total += 1


def bring_about() -> None:
    global latest  # noqa: PLW0603
    latest = 1


def ask() -> bool:
    return "latest" in globals() and latest == 1


def append() -> None:
    results.append(1)


def append_inside() -> None:
    table["all"].append(1)


def count_in_the_class() -> None:
    Counter.make()


def count_in_the_object() -> None:
    state.number += 1


def name_in_the_object() -> None:
    state.names.append("one")


def configure() -> None:
    isolated_state.settings["level"] = 1


def look_up() -> int:
    return settings.get("level", 0)


def set_in_module() -> None:
    isolated_state.level = 2


def read_in_module() -> int:
    return isolated_state.level


@pytest.mark.parametrize(
    ("write", "read", "what"),
    [
        (assign, assign, "total of module"),
        (bring_about, ask, "latest of module"),
        (append, append, "results of module"),
        (append_inside, append_inside, "table of module"),
        (count_in_the_class, count_in_the_class, "Counter.made of module"),
        (count_in_the_object, count_in_the_object, "state.number of module"),
        (name_in_the_object, name_in_the_object, "state.names of module"),
        (configure, look_up, "settings of module"),
        (set_in_module, read_in_module, "level of module tests.lab.isolated_state"),
    ],
)
def test_what_one_writes_and_another_reads_is_told(write: object, read: object, what: str) -> None:
    def program(world: World) -> None:
        assert callable(write)
        assert callable(read)
        world.process(write, name="writer")
        world.process(read, name="reader")

    with pytest.raises(Failure) as found:
        lab.explore(program, schedules=200, seed=1, lines=True)
    assert found.value.kind == "shared global"
    told = found.value.trace.summary
    assert what in told
    assert "is written by" in told
    assert told.count("test_isolation.py:") == 2
    assert "world.process" in found.value.trace.details
    with pytest.raises(Failure) as again:
        lab.replay(program, found.value.token, lines=True)
    assert again.value.trace.summary == told
    # A child changes nothing in its parent.
    assert (total, results, table, Counter.made, state, isolated_state.level) == (0, [], {"all": []}, 0, State(), 1)
    assert settings == {}
    assert "latest" not in globals()


@pytest.mark.parametrize(
    ("kind", "told"), [("number", "number, which count closes over,"), ("names", "names, which note closes over,")]
)
def test_what_functions_close_over_is_no_way_to_share(kind: str, told: str) -> None:
    def program(world: World) -> None:
        number = 0
        names: list[str] = []

        def count() -> None:
            nonlocal number
            number += 1

        def name() -> None:
            note()

        def note() -> None:
            names.append("one")

        for _ in range(2):
            world.process(count if kind == "number" else name)

    with pytest.raises(Failure) as found:
        lab.explore(program, schedules=100, seed=1, lines=True)
    assert found.value.kind == "shared global"
    assert told in found.value.trace.summary


def test_each_process_may_close_over_its_own() -> None:
    def counter() -> Callable[[], None]:
        number = 0

        def count() -> None:
            nonlocal number
            number += 1
            assert number == 1

        return count

    def program(world: World) -> None:
        world.process(counter())
        world.process(counter())

    assert lab.explore(program, schedules=50, seed=1, lines=True).schedules == 50


@pytest.mark.parametrize("function", [assign, append, append_inside, count_in_the_class, name_in_the_object])
def test_threads_of_one_process_share(function: object) -> None:
    def program(world: World) -> None:
        assert callable(function)
        process = world.process(function)
        world.thread(process, function)

    assert lab.explore(program, schedules=30, seed=1, lines=True).schedules == 30


def test_what_was_written_before_they_start_is_read_by_all() -> None:
    def program(world: World) -> None:
        global total  # noqa: PLW0603
        total = 0
        results[:] = [1]
        world.process(read)
        world.process(read)

    def read() -> None:
        assert total == 0
        assert results[0] == Counter.limit - 4

    assert lab.explore(program, schedules=30, seed=1, lines=True).schedules == 30
    results.clear()


def test_another_attribute_of_the_same_class_is_no_matter() -> None:
    def count() -> None:
        Counter.made += 1

    def look() -> None:
        # An assertion that pytest has rewritten names the class as well.
        if Counter.limit != 5:
            raise ValueError

    def program(world: World) -> None:
        world.process(count)
        world.process(look)

    assert lab.explore(program, schedules=100, seed=1, lines=True).schedules <= 100


def test_what_an_invariant_notes_is_nobodys() -> None:
    def program(world: World) -> None:
        world.invariant(always=lambda: results.append(1))
        world.process(read)
        world.process(read)

    def read() -> None:
        assert isinstance(results, list)
        assert isinstance(results, list)

    assert lab.explore(program, schedules=30, seed=1, lines=True).schedules == 30


def test_arguments_are_copies() -> None:
    """With lines or without: what crosses is encoded."""

    def change(values: list[int]) -> None:
        values.append(1)
        assert values == [1]

    def program(world: World) -> None:
        values: list[int] = []
        world.process(change, values)
        world.process(change, values)
        world.at_end(lambda: not values)

    for lines in (False, True):
        assert lab.explore(program, schedules=30, seed=1, lines=lines).schedules == 30


def test_an_argument_that_cannot_cross_is_refused() -> None:
    def program(world: World) -> None:
        world.process(print, lambda: None)

    with pytest.raises(TypeError, match=r"cannot go to another process: .*local object"):
        lab.explore(program, schedules=1)
