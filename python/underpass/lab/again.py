"""A schedule that passed, followed once more: what the lab does not decide may do something else."""

from itertools import zip_longest
from typing import final

from underpass._core import Lab
from underpass.lab.stage import Stage
from underpass.lab.tracing import Place, here
from underpass.lab.verdict import Verdict

Step = tuple[str, int, str, int | None]
"""What is chosen, of whom or which; of a turn, before which point and object."""

_OVER: Step = ("end", 0, "", None)


def differs(passed: Stage, steps: int) -> Verdict | None:
    """Follow the schedule that has just passed; the first step that is another one, or None."""
    before = _script(passed.lab)
    names = [process.name for process in passed.cast.processes]
    lab = Lab.replay(passed.lab.token, steps=steps)
    stage = passed.on(lab)
    look = _Look(stage)
    stage.replay(lambda _stage, _end: None)
    for number, (first, then) in enumerate(zip_longest(before, _script(lab), fillvalue=_OVER)):
        if first != then:
            where = look.where(then if then[0] == "run" else first)
            return Verdict(
                "nondeterminism",
                f"followed again, this schedule is another one from step {number} on{where}: {_told(first, names)}, and then "
                f"{_told(then, names)}; let the lab decide (world.choose, world.now), or take clocks, random numbers, the order of "
                "sets and what one schedule leaves for the next out of the program",
            )
    return None


def _script(lab: Lab) -> list[Step]:
    # Chances to refuse that were not used stand in a schedule that is searched, and in none that is followed.
    return [(what, which, point, about) for what, which, _, _, point, about, _ in lab.script if what != "refuse"]


def _told(step: Step, names: list[str]) -> str:
    what, which, point, _ = step
    if what == "end":
        return "it is over"
    who = names[which] if what != "pick" and which < len(names) else str(which)
    return f"{who} comes to '{point}'" if what == "run" else f"{what} {who}"


@final
class _Look:
    """Notes where everybody was last seen."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._places: dict[int, Place] = {}
        stage.watch = self._watch

    def _watch(self, task: int, point: str, about: int | None) -> None:
        if point != "end":
            self._places[task] = here(self._stage, task, point, about)

    def where(self, step: Step) -> str:
        place = self._places.get(step[1])
        return f" ({place.where})" if place is not None and place.where else ""
