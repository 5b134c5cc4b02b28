"""Oracles: what is wrong with how a schedule ended."""

from underpass.lab.leaks import Where, leaked
from underpass.lab.stage import Stage
from underpass.lab.verdict import Verdict


def judge(stage: Stage, end: str, where: Where = lambda _: "") -> Verdict | None:
    """Judge the end of a schedule in which nobody raised; ``where`` says where something was taken, if somebody looked on."""
    if end == "done":
        return leaked(stage, where)
    if end == "livelock":
        return Verdict(
            "livelock",
            f"it went on for {stage.lab.steps:,} steps, though everybody had their turns: nobody comes to an end",
            waits(stage),
        )
    if end == "deadlock":
        return _standstill(stage)
    return None


def _standstill(stage: Stage) -> Verdict:
    """Tell who waits in vain for what cannot come from who waits though it is there."""
    lab, cast = stage.lab, stage.cast
    told = waits(stage)
    asleep = [task for task, _ in lab.sleepers if not stage.is_servant(task)]
    names = ", ".join(stage.name(task) for task in asleep)
    # A real sleeper looks for itself after a second: whoever then goes on was not told of something.
    for task in asleep:
        if lab.nudge(task):
            dead = [process.name for process in cast.processes if lab.is_dead(process.number)]
            kind = "untold death" if dead else "lost wake-up"
            why = f"; {', '.join(dead)} died" if dead else ""
            return Verdict(kind, f"{stage.name(task)} sleeps though it could go on: nobody woke it{why}", told)
    return Verdict("deadlock", f"everybody who is left sleeps, and nobody will wake them: {names}", told)


def waits(stage: Stage) -> str:
    """Who waits for what, a line each."""
    objects = stage.lab.objects
    lines: list[str] = []
    for task, _ in stage.lab.sleepers:
        awaits = stage.awaits(task)
        lines += [f"{stage.name(task)}: {one.told}" for one in awaits]
        if not awaits:
            about = stage.lab.waits_on(task)
            kind, file = objects[about] if about is not None else ("nothing that is known", "")
            lines.append(f"{stage.name(task)} waits on {kind.lower()} {file}")
    return "\n".join(lines)
