"""A schedule run once more, and written down: who stood where, what changed, who woke whom."""

import ast
import dataclasses
import inspect
import linecache
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, final

from msgspec.structs import replace

from underpass.lab.leaks import Held
from underpass.lab.stage import Stage
from underpass.lab.trace import WORLD, Happening, Moment, Wait
from underpass.memory import News
from underpass.waiting import WaitSet

if TYPE_CHECKING:
    from underpass.lab.awaiting import Await

# Whose frames are nothing that the program does: the library, and the loop in which a process awaits.
_STANDARD = Path(inspect.__file__).parent
_AWAITABLE = str(Path(__file__).parent.parent / "aio")
_BELOW = str(Path(__file__).parent.parent), str(_STANDARD / "asyncio"), str(_STANDARD / "contextlib.py")


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a task stands."""

    point: str
    about: int | None
    where: str = ""
    source: str = ""
    call: str = ""
    #: What is waited for that is no single object.
    beside: str = ""


_NOWHERE = Place("start", None)


@final
class Tracer:
    """Looks on while a stage runs a schedule."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self._lab = stage, stage.lab
        self.moments: list[Moment] = []
        self._places: list[Place] = []
        self._objects: list[Any] = []
        self._told: list[str] = []
        self._asleep: set[int] = set()
        self._since: dict[int, int] = {}
        self._seen = 0
        self._taken: dict[Held, str] = {}
        self._cancelled: list[tuple[int, Place, str]] = []
        stage.watch = self._watch
        stage.cancelled = self._note_cancelled

    def _watch(self, task: int, point: str, about: int | None) -> None:
        """Note that a task has come to a scheduling point: what it did since the last one is over."""
        self._catch_up(task, point)
        self._place(task, Place("end", None) if point == "end" else here(self._stage, task, point, about))

    def finish(self) -> None:
        """Note what happened after the last point: what the oracles have sleepers do from here on is no part of it."""
        self._catch_up(None, "end")
        self._stage.watch = self._stage.cancelled = None

    def _note_cancelled(self, task: int, one: "Await") -> None:
        """Note that a task of an event loop is cancelled, in the step that is under way."""
        self._cancelled.append((task, awaited(self._stage, one, "operation"), one.task))

    def taken(self, held: Held) -> str:
        """Return the line at which something that is held was taken."""
        return self._taken.get(held, "")

    def waits(self) -> tuple[Wait, ...]:
        """Return who still waits, and for whom."""
        waits = [wait for task, _ in self._lab.sleepers for wait in self._waits(task)]
        waited: dict[str, set[str]] = {}
        for wait in waits:
            waited.setdefault(wait.who, set()).update(wait.holders)
        return tuple(_marked(wait, waited) for wait in waits)

    def _waits(self, task: int) -> Iterator[Wait]:
        """What a thread waits for; of one that awaits, what each of its tasks does."""
        awaits = self._stage.awaits(task)
        if not awaits:
            yield self._wait(task, self._at(task))
        for one in awaits:
            yield self._wait(task, awaited(self._stage, one, "park"), one.task)

    def _wait(self, task: int, place: Place, coroutine: str = "") -> Wait:
        return Wait(
            who=self._stage.name(task),
            task=coroutine,
            object=self._title(place.about) or place.beside,
            operation=_verb_of(place),
            since=self._since.get(task, 0),
            where=place.where,
            holders=self._holders(place.about),
        )

    def _catch_up(self, arrived: int | None, point: str) -> None:
        """Write down the choices made since the last look; the last of them led here."""
        choices = self._lab.choices
        asleep = {task for task, _ in self._lab.sleepers}
        if point == "awake" and arrived is not None:
            asleep.add(arrived)
        for number in range(self._seen, len(choices)):
            what, which, _, preempts = choices[number]
            if (
                number > 0
                and self._at(which).point == "woke"
                and choices[number - 1][:2] == (what, which) == ("run", which)
            ):
                continue  # it ends what its wake began, with nobody in between: that is told as one
            last = number == len(choices) - 1
            self._moment(number, what, which, preempts=preempts, slept=last and point == "awake" and which == arrived)
        cancelled, self._cancelled = self._cancelled, []
        for task, place, coroutine in cancelled:
            self._add(len(choices) - 1, "is cancelled", task, place, value=coroutine)
        woken = (
            self._asleep
            - asleep
            - {which for what, which, *_ in choices[self._seen :] if what in ("expire", "spurious")}
        )
        for task in sorted(woken):
            self._add(len(choices) - 1, "is woken", task, self._at(task))
        self._asleep = asleep
        self._seen = len(choices)
        self._changes()
        self._note_taken(choices)

    def _note_taken(self, choices: list[tuple[str, int, int, bool]]) -> None:
        """Note what is held now and was not before: whoever has run took it, where it stood."""
        now = [Held(*held) for held in self._lab.held()]
        runs = [which for what, which, *_ in choices if what == "run"]
        where = self._at(runs[-1]).where if runs else ""
        # Given back and taken once more, it is another one.
        self._taken = {held: self._taken.get(held, where) for held in now}

    def _moment(self, number: int, what: str, which: int, *, preempts: bool, slept: bool) -> None:
        if what == "run":
            place = self._at(which)
            happening: Happening = "runs"
            if place.point == "park" and slept:
                happening = "sleeps"
                self._since[which] = number
            elif place.point == "wake":
                happening = "wakes"
            elif place.point in ("park", "awake"):
                return
            self._add(number, happening, which, place, preempts=preempts)
        elif what in ("expire", "spurious"):
            happening = "times out" if what == "expire" else "wakes without cause"
            self._add(number, happening, which, self._at(which))
        elif what == "refuse":
            # It is told right after the step that it falls into.
            runs = [task for choice, task, *_ in self._lab.choices[:number] if choice == "run"]
            self._add(number, "is refused", runs[-1], self._at(runs[-1]))
        elif what == "pick":
            self.moments.append(Moment(number=number, process=WORLD, what="chooses", value=str(which)))
        else:
            fates: dict[str, Happening] = {"kill": "dies", "stop": "is stopped", "continue": "goes on"}
            tasks = [task for task, cast in enumerate(self._stage.cast.tasks) if cast.process.number == which]
            self._add(number, fates[what], tasks[0], self._at(tasks[0]))

    def _add(  # noqa: PLR0913 - a moment has so many parts
        self, number: int, what: Happening, task: int, place: Place, *, preempts: bool = False, value: str = ""
    ) -> None:
        if what == "runs" and place.point in {"start", "line"} and not place.where:
            return
        holders = self._holders(place.about) if what == "sleeps" else ()
        process = self._stage.cast.tasks[task].process.number
        self.moments.append(
            Moment(
                number=number,
                process=process,
                thread=self._thread(task),
                what=what,
                where=place.where,
                source=place.source,
                call=place.call,
                object=self._title(place.about) or place.beside,
                value=value,
                holders=holders,
                preempts=preempts,
            )
        )

    def _thread(self, task: int) -> str:
        """Name a thread that is not the first of its process."""
        process = self._stage.cast.tasks[task].process
        before = sum(other.process == process for other in self._stage.cast.tasks[:task])
        return f"thread {before + 1}" if before else ""

    def _changes(self) -> None:
        """Add to the last moment what has changed."""
        lab = self._lab
        for kind, file in lab.objects[len(self._objects) :]:
            self._objects.append(lab.handle(len(self._objects)))
            self._told.append(f"{kind} {file}")
        changed: list[tuple[str, str]] = []
        for about, handle in enumerate(self._objects):
            told = repr(handle)
            if told != self._told[about]:
                self._told[about] = told
                changed.append((self._title(about), told))
        if changed and self.moments:
            last = self.moments[-1]
            merged = dict(last.state) | dict(changed)
            self.moments[-1] = replace(last, state=tuple(merged.items()))

    def _at(self, task: int) -> Place:
        return self._places[task] if task < len(self._places) else _NOWHERE

    def _place(self, task: int, place: Place) -> None:
        while len(self._places) <= task:
            self._places.append(_NOWHERE)
        self._places[task] = place

    def _title(self, about: int | None) -> str:
        return self._stage.title(about) if about is not None else ""

    def _holders(self, about: int | None) -> tuple[str, ...]:
        owner = (
            getattr(self._objects[about], "owner", None) if about is not None and about < len(self._objects) else None
        )
        names = [process.name for process in self._stage.cast.processes]
        # The host's pid is 1, the first process's 2.
        number = getattr(owner, "pid", 0) - 2
        return (names[number],) if 0 <= number < len(names) else ()


def _verb_of(place: Place) -> str:
    """Return what is done there; the head of a block, whose verb no call names, as it stands."""
    head = place.source.partition(":")[0]
    return head if head.startswith(("async with ", "async for ", "with ", "for ")) else place.call


def _marked(wait: Wait, waited: dict[str, set[str]]) -> Wait:
    """Mark it if it waits for itself, over others perhaps."""
    reached: set[str] = set()
    ahead = list(wait.holders)
    while ahead:
        name = ahead.pop()
        if name not in reached:
            reached.add(name)
            ahead.extend(waited.get(name, ()))
    return replace(wait, cycle=wait.who in reached)


def here(stage: Stage, task: int, point: str, about: int | None) -> Place:
    """Return the line of the program that is under way; where all await, that of the first that waits for an object."""
    awaits = stage.awaits(task)
    if awaits:
        return awaited(stage, next((one for one in awaits if one.about is not None), awaits[0]), point)
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(_BELOW):
        frame = frame.f_back
    if frame is None and stage.is_awaiting(task):
        verb = _verb()
        # A loop that looks at what its tasks wait for is nothing that the program does.
        return Place(point, about, source=verb) if verb else Place("line", None)
    return _placed(stage, frame, point, about)


def _verb() -> str:
    """Return the awaitable verb that is under way as a task of its own, so that no line of the program calls it."""
    frame, verb = inspect.currentframe(), ""
    while frame is not None:
        if frame.f_code.co_filename.startswith(_AWAITABLE) and hasattr(frame.f_locals.get("self"), "sync"):
            verb = f"await {frame.f_code.co_qualname}()"
        frame = frame.f_back
    return verb


def awaited(stage: Stage, one: "Await", point: str) -> Place:
    """Return where a task awaits."""
    # An object of the lab is marked with its place among all.
    about: int | None = getattr(one.about, "_nonce", None)
    place = _placed(stage, one.frame, point, about)
    return place if one.about is None or about is not None else dataclasses.replace(place, beside=_named(stage, one.about))


def _named(stage: Stage, what: Any) -> str:
    """Return what a task waits for, which may be several objects, and names."""
    if isinstance(what, WaitSet):
        names = [_named(stage, one) for one in what._members]  # noqa: SLF001 - made for this
        return names[0] if len(names) == 1 else f"any of {', '.join(names)}"
    if isinstance(what, News):
        return "a name"
    about: int | None = getattr(what, "_nonce", None)
    return str(what) if about is None else stage.title(about)


def _placed(stage: Stage, frame: FrameType | None, point: str, about: int | None) -> Place:
    if frame is None:
        return Place(point, about)
    file, line = frame.f_code.co_filename, frame.f_lineno
    source = linecache.getline(file, line).strip()
    return Place(point, about, f"{Path(file).name}:{line}", source, _call(frame, stage.kind(about)))


def _call(frame: FrameType, kind: str) -> str:
    """Return which operation the frame calls: ``Queue.put``."""
    positions = list(frame.f_code.co_positions())[frame.f_lasti // 2]
    first, last, start, end = positions
    if first is None or start is None or end is None:
        return kind
    if first != last:
        return kind
    text = linecache.getline(frame.f_code.co_filename, first).encode()[start:end].decode(errors="replace")
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError:
        return kind
    if isinstance(tree, ast.Await):
        tree = tree.value
    called = tree.func if isinstance(tree, ast.Call) else tree
    if not isinstance(called, ast.Attribute):
        return kind
    return f"{kind}.{called.attr}" if kind else called.attr
