"""Tests that are explored: ``@lab.explored(...)`` makes one of a program."""

import inspect
import os
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import update_wrapper
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, final, overload

from underpass.lab.coverage import Report
from underpass.lab.exploration import repeat, run
from underpass.lab.program import World
from underpass.lab.settings import Settings

P = ParamSpec("P")
S = TypeVar("S")

MARK = "__underpass_explored__"
"""The attribute by which such a test is known; pytest's plugin looks for it without importing this."""


@final
@dataclass(frozen=True, slots=True)
class Explored:
    """What a test was made of."""

    program: Callable[..., object]
    settings: Settings


@final
@dataclass(frozen=True, slots=True)
class Asked:
    """What whoever runs the test wants instead of what it says."""

    test: str
    """What pytest calls it."""
    tell: Callable[[Report], object]
    schedules: int | None = None
    seed: int | None = None
    replay: str | None = None
    lines: bool = False
    step: Callable[[], AbstractContextManager[object]] | None = None
    """Go through the schedule of a failure in pdb; inside what it returns there is a terminal."""
    real: bool = False


class Decorator(Protocol):
    """Takes the world from among a program's parameters."""

    @overload
    def __call__(self, program: Callable[Concatenate[World, P], object], /) -> Callable[P, None]: ...
    @overload
    def __call__(self, program: Callable[Concatenate[S, World, P], object], /) -> Callable[Concatenate[S, P], None]: ...


_asked: ContextVar[Asked | None] = ContextVar("asked", default=None)


@contextmanager
def asking(asked: Asked) -> Generator[None]:
    """Have tests that run in the block do what is asked."""
    token = _asked.set(asked)
    try:
        yield
    finally:
        _asked.reset(token)


def explored(  # noqa: PLR0913 - what there is to say, each by its name
    *,
    schedules: int = 10_000,
    kills: int = 0,
    faults: int = 0,
    early: bool = True,
    preemptions: int | None = None,
    strategy: str | None = None,
    seed: int | None = None,
    steps: int = 2_000,
    jobs: int | None = None,
    lines: bool = False,
) -> Decorator:
    """Make a test of a program: calling it explores the program, and raises `Failure` if a schedule fails.

    The program takes the world first (as a method, after ``self``), and then the fixtures that pytest gives the test, as it would any
    other. They are made once, for all schedules. Arguments are those of `explore`; ``--lab-schedules N`` and ``--lab-seed S`` on
    pytest's command line go before them, ``--lab-lines`` is ``lines=True``, and ``--lab-replay TOKEN`` repeats one schedule instead,
    with ``--lab-step`` in pdb. ``--lab-real`` forces a schedule that fails, or that of the token, on real processes too.

    Example:
        >>> from underpass import Queue, lab
        >>> @lab.explored(schedules=100, kills=1)
        ... def test_job_comes_back(world):
        ...     jobs = Queue()
        ...     world.process(jobs.put, b"job", mortal=False)
        ...     world.process(jobs.get, mortal=False)
        >>> test_job_comes_back()
    """
    settings = Settings(schedules, kills, faults, early, preemptions, strategy, seed, steps, jobs, lines)

    def decorate(program: Callable[..., object], /) -> Callable[..., None]:
        signature = inspect.signature(program)
        parameters = list(signature.parameters.values())
        place = 1 if parameters and parameters[0].name == "self" else 0
        if len(parameters) <= place:
            raise TypeError(
                f"{program.__qualname__}{signature}: a program takes the world that it starts its processes in"
            )

        def test(*args: Any, **kwargs: Any) -> None:
            __tracebackhide__ = True

            def with_fixtures(world: World) -> object:
                return program(*args[:place], world, *args[place:], **kwargs)

            _run(update_wrapper(with_fixtures, program), program, settings)

        update_wrapper(test, program)
        # The world is no fixture.
        vars(test)["__signature__"] = signature.replace(parameters=[*parameters[:place], *parameters[place + 1 :]])
        vars(test)[MARK] = Explored(program, settings)
        return test

    return decorate


def _run(program: Callable[[World], object], source: Callable[..., object], settings: Settings) -> None:
    __tracebackhide__ = True
    asked = _asked.get()
    if asked is None:
        run(program, settings, lambda token: _commands(source, token))
        return

    given = {"schedules": asked.schedules, "seed": asked.seed, "lines": asked.lines or None}
    settings = replace(settings, **{key: value for key, value in given.items() if value is not None})

    def commands(token: str) -> tuple[str, ...]:
        lines = " --lab-lines" if asked.lines else ""
        real = " --lab-real" if asked.real else ""
        return (f"pytest '{asked.test}'{lines} --lab-replay={token}{real}",)

    if asked.step is not None:
        from underpass.lab.stepping import step

        report = step(program, settings, asked.replay, asked.step, commands)
        if report is not None:
            asked.tell(report)
    elif asked.replay is not None:
        repeat(program, asked.replay, settings, commands, real=asked.real)
    else:
        asked.tell(run(program, settings, commands, real=asked.real))


def _commands(source: Callable[..., object], token: str) -> tuple[str, ...]:
    """Return how to replay without pytest, where that has no arguments to make."""
    code = getattr(source, "__code__", None)
    if code is None or code.co_argcount != 1 or "<" in source.__qualname__ or "<" in code.co_filename:
        return (f"lab.replay({source.__qualname__}, '{token}')",)
    return (f"underpass lab run '{_shown(Path(code.co_filename))}::{source.__qualname__}' --replay={token}",)


def _shown(path: Path) -> str:
    """Return the path as seen from here, if it lies below."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else os.fspath(path)
