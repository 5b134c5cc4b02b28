"""From a schedule that failed to the failure that is told: made small, explained, and written down."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from msgspec.structs import replace

from underpass._core import Lab
from underpass.lab.failure import Failure
from underpass.lab.judge import judge
from underpass.lab.shrinking import Outcome, nearest, shrink
from underpass.lab.stage import Program, Stage
from underpass.lab.trace import Trace, Wait
from underpass.lab.tracing import Tracer
from underpass.lab.verdict import Verdict

_CHANCE = "nondeterminism"


@final
@dataclass(frozen=True)
class Origin:
    """What found a failing schedule."""

    title: str
    """The program's name."""
    steps: int
    """How long a schedule is before all get their turns."""
    schedules: int = 1
    seed: int = 0
    budgets: str = ""
    lines: bool = False
    """Lines are scheduling points too."""
    commands: Callable[[str], tuple[str, ...]] | None = None
    """Which commands replay a token, if there are some."""


def examine(program: Program, origin: Origin, token: str, verdict: Verdict) -> Failure:
    """Make the failing schedule small, find the nearest one that passes, and write it down."""
    if verdict.kind == _CHANCE:
        return Failure(write(program, origin, token, verdict))

    def attempt(candidate: str) -> Outcome:
        lab = Lab.replay(candidate, loosely=True, steps=origin.steps)
        verdict = Stage(lab, program, lines=origin.lines).replay(judge)
        return Outcome(lab.token, verdict.kind if verdict is not None else None)

    small = shrink(token, verdict.kind, attempt)
    trace = write(program, origin, small)
    lab = Lab.replay(small, steps=origin.steps)
    stage = Stage(lab, program, lines=origin.lines)
    stage.replay(judge)
    found = nearest(lab.steps, lab.others, small, attempt)
    if found is not None:
        step, other = found
        trace = replace(trace, reason=_told(trace, step, stage.name(int(other))))
    return Failure(trace)


def write(program: Program, origin: Origin, token: str, found: Verdict | None = None) -> Trace:
    """Run a failing schedule once more, and write it down."""
    lab = Lab.replay(token, steps=origin.steps)
    stage = Stage(lab, program, lines=origin.lines)
    tracer = Tracer(stage)
    waits: list[Wait] = []

    def look(stage: Stage, end: str) -> Verdict | None:
        tracer.finish()
        waits.extend(tracer.waits())
        return judge(stage, end, tracer.taken)

    verdict = stage.replay(look)
    if verdict is None:
        verdict = found or Verdict(
            _CHANCE,
            "the schedule failed, and passes when it is followed again: something outside the lab decides",
        )
    return Trace(
        title=origin.title,
        kind=verdict.kind,
        summary=verdict.summary,
        details=verdict.details,
        columns=tuple(process.name for process in stage.cast.processes),
        moments=tuple(tracer.moments),
        waits=tuple(waits),
        token=token,
        how=(f"lab.replay({origin.title}, '{token}'{', lines=True' if origin.lines else ''})",)
        if origin.commands is None
        else origin.commands(token),
        schedules=origin.schedules,
        seed=origin.seed,
        budgets=origin.budgets,
    )


def _told(trace: Trace, step: int, other: str) -> str:
    """Say where the nearest schedule that passes leaves this one."""
    moment = next((moment for moment in trace.moments if moment.number >= step), None)
    if moment is None or not moment.where:
        return f"it passes if {other} goes on at step {step}"
    who = trace.columns[moment.process]
    return f"it passes if {other} goes on before {who} runs {moment.where}: {moment.source}"
