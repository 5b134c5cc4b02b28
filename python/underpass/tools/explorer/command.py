"""The command: find the program, explore it, and print what was covered, or what broke it."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from underpass import UnderpassError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from underpass.lab.failure import Failure

__all__ = ["Choices", "run"]

_PASSES, _FAILS, _NOTHING_TO_DO, _INTERRUPTED = 0, 1, 2, 130


class TargetError(Exception):
    """There is no such program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """The command line; None: what the test says, or the default of `underpass.lab.explore`."""

    schedules: int | None = None
    kills: int | None = None
    faults: int | None = None
    early: bool | None = None
    preemptions: int | None = None
    strategy: str | None = None
    seed: int | None = None
    steps: int | None = None
    jobs: int | None = None
    lines: bool | None = None
    replay: str | None = None
    step: bool = False
    real: bool = False
    html: Path | None = None
    json: Path | None = None


def run(target: str, choices: Choices) -> int:
    """Explore ``FILE::FUNCTION``.

    Returns:
        0; 1 if a schedule failed; 2 if there is nothing to explore, or an argument is wrong; 130 after Ctrl-C.
    """
    try:
        if importlib.util.find_spec("greenlet") is None:
            raise TargetError("the lab needs greenlet: pip install underpass[lab]")  # noqa: TRY301 - one way out
        return _explore(target, _load(target), choices)
    except KeyboardInterrupt as error:
        # An exploration's own says what was covered.
        print(f"underpass lab run: {str(error) or 'interrupted'}", file=sys.stderr)
        return _INTERRUPTED
    except (TargetError, UnderpassError, ValueError) as error:
        print(f"underpass lab run: {error}", file=sys.stderr)
        return _NOTHING_TO_DO


def _explore(target: str, function: Callable[..., object], choices: Choices) -> int:
    from underpass.lab.exploration import repeat
    from underpass.lab.exploration import run as explore
    from underpass.lab.explored import MARK, Explored
    from underpass.lab.failure import Failure as Found
    from underpass.lab.settings import Settings
    from underpass.lab.stepping import step

    if choices.step and choices.real:
        raise TargetError("--step goes through a schedule in the lab, and --real forces it on processes: one at a time")
    made: Explored | None = getattr(function, MARK, None)
    program, settings = (function, Settings()) if made is None else (made.program, made.settings)
    _check(target, program)
    given = {key: value for key in settings.__slots__ if (value := getattr(choices, key)) is not None}
    settings = replace(settings, **given)

    def commands(token: str) -> tuple[str, ...]:
        steps = f" --steps={settings.steps}" if settings.steps != Settings().steps else ""
        lines = " --lines" if choices.lines else ""
        real = " --real" if choices.real else ""
        return (f"underpass lab run '{target}'{steps}{lines} --replay={token}{real}",)

    try:
        if choices.step:
            report = step(program, settings, choices.replay, commands=commands)
        elif choices.replay is None:
            report = explore(program, settings, commands, real=choices.real)
        else:
            report = repeat(program, choices.replay, settings, commands, real=choices.real)
        passes = f"this schedule passes{', on real processes too' if choices.real else ''}"
        print(f"{target}: {passes}" if report is None else report)
    except Found as failure:
        _tell(failure, choices)
        return _FAILS
    return _PASSES


def _tell(failure: Failure, choices: Choices) -> None:
    """Print a failure, and write the files that are asked for."""
    from underpass.lab.report import as_html, as_json

    if sys.stdout.isatty():
        from rich.console import Console

        from underpass.lab.report import render

        Console(soft_wrap=True).print(render(failure.trace))
        if failure.real is not None:
            print(f"\nOn real processes: {failure.real}")
    else:
        print(failure)
    for path, form in ((choices.html, as_html), (choices.json, as_json)):
        if path is not None:
            content = form(failure.trace)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            print(f"written: {path}")


# ── the program ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _load(target: str) -> Callable[..., object]:
    """Import the file, and return the function."""
    file, separator, name = target.partition("::")
    path = Path(file)
    if not separator or not name:
        raise TargetError(f"'{target}' names no program: write FILE::FUNCTION, as {file or 'jobs.py'}::program")
    if not path.is_file():
        raise TargetError(f"there is no file {path}" + (": it is a directory" if path.is_dir() else ""))
    if path.suffix != ".py":
        raise TargetError(f"{path} is not a Python file (.py)")
    module = _import(path.resolve())
    found: object = module
    for part in name.split("::"):
        found = getattr(found, part, None)
    if not callable(found):
        known = [key for key, value in vars(module).items() if _is_program(value, module.__name__)]
        raise TargetError(f"{path} has no function '{name}'" + (f"; it has {', '.join(known)}" if known else ""))
    return found


def _import(path: Path) -> ModuleType:
    # What it imports from its own directory is found, as when Python runs it.
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # What crosses between processes is pickled by its module's name.
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _is_program(value: object, module: str) -> bool:
    return inspect.isfunction(value) and value.__module__ == module and not value.__name__.startswith("_")


def _check(target: str, program: Callable[..., object]) -> None:
    """Refuse what needs more than a world."""
    signature = inspect.signature(program)
    required = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}
    ]
    name = target.rpartition("::")[2]
    if not signature.parameters:
        raise TargetError(f"{name}{signature} is no program: it takes no world to start its processes in")
    if len(required) > 1:
        raise TargetError(f"{name}{signature} takes {', '.join(required[1:])} beside the world: pytest makes fixtures")
