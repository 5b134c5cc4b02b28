"""`lab.explored`: a test made of a program, without pytest."""

import inspect

import pytest

import underpass

pytest.importorskip("greenlet")

from underpass import lab
from underpass.lab import Failure, World


def test_it_is_a_function_of_its_fixtures() -> None:
    @lab.explored(schedules=20, seed=1)
    def program(world: World, first: int, *, second: int) -> None:
        """Count."""
        number = underpass.AtomicInt()
        world.process(number.add, first)
        world.process(number.add, second)
        world.at_end(lambda: number.load() == 3)

    assert list(inspect.signature(program).parameters) == ["first", "second"]
    assert (program.__name__, program.__doc__) == ("program", "Count.")
    program(1, second=2)
    with pytest.raises(Failure, match="program: invariant"):
        program(1, second=1)


def test_a_method_takes_its_object() -> None:
    class Suite:
        start = 5

        @lab.explored(schedules=20, seed=1)
        def program(self, world: World, more: int) -> None:
            number = underpass.AtomicInt(self.start)
            world.process(number.add, more)
            world.at_end(lambda: number.load() == 6)

    Suite().program(1)


def test_a_program_without_a_world_is_refused() -> None:
    def nothing() -> None:
        pass

    with pytest.raises(TypeError, match=r"nothing\(\).*takes the world"):
        lab.explored()(nothing)  # pyright: ignore[reportArgumentType, reportCallIssue]
