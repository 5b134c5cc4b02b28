"""The side of the host: it gives real processes their turns as a schedule says, and kills, stops and disturbs where that does.

Between two steps everybody *rests*: stands at a point, sleeps in the kernel (by the kernel's own word), or has ended. Who can go on
then must be who could in the lab. What Linux does not let the conductor choose, it arranges: sleepers queue up in the order in
which the schedule wakes them, since a sleeper that looks for itself goes to the queue's end, and every real one does so each second.
"""

import itertools
import time
from collections.abc import Sequence
from multiprocessing import connection
from operator import itemgetter
from typing import Any, final

from underpass import _core
from underpass.lab.history import History, Operation, Recording
from underpass.lab.history import Task as Caller
from underpass.lab.leaks import Left, tell
from underpass.lab.linearization import NotLinearizable, explain
from underpass.lab.program import Cast, Task
from underpass.lab.real import player
from underpass.lab.real.company import Company
from underpass.lab.real.outcome import Diverged
from underpass.lab.real.part import Part
from underpass.lab.real.script import Direction, Script
from underpass.lab.stage import HOST, checked
from underpass.lab.verdict import Verdict

# What a gate is answered; kernel_conducted.rs has the same numbers.
_GO, _EXPIRED, _SLEEP_ON, _REFUSED = 0, 1, 2, 3
# What is told of a sleep's end, there as well.
_CAUSED, _NAPPED = 1, 2
# Seconds that a sleeper has to look for itself, where nothing would tell it of a death: it naps for up to one.
_NAP = 3.0
# How late a time-out fires, in nanoseconds: as late as the lab's.
_LATE = 1_000


@final
class Conductor:
    """Conducts one schedule."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._company = Company(self._answer_to, self._diverged, self._stays_after_its_wake)
        self._step = 0
        self._picks = 0
        self._chances = 0
        self._objects: dict[int, int] = {}
        self._open: dict[int, list[Operation]] = {}
        self.recording: Recording = Recording(self._caller, self._is_dead)
        self.cast: Cast = Cast()

    # ── the program's questions ─────────────────────────────────────────────────────────────────────────────────────────

    def start(self, task: Task) -> None:
        """Note a task that the program starts while it is set up."""
        if player.here.channel is not None:
            raise Diverged(
                "one of its processes starts another: only those that the program starts itself are conducted", step=0
            )
        self.cast.tasks.append(task)

    def pick(self, count: int) -> int:
        """Return what the schedule picks next."""
        directions = self._script.directions
        if self._picks >= len(directions) or directions[self._picks].what != "pick":
            raise self._diverged(f"a choice of {count} is asked for, and the schedule has none here")
        picked = directions[self._picks]
        if picked.count != count:
            raise self._diverged(f"a choice of {count} is asked for, where the schedule has one of {picked.count}")
        self._picks += 1
        self._chances = 0
        return picked.which

    def _refuse(self, until: int) -> int:
        """Answer one who could be refused for want of room, after a wait until that time; 0: at once."""
        directions, chance = self._script.directions, self._chances
        self._chances += 1
        next_ = directions[self._picks] if self._picks < len(directions) else None
        if next_ is None or (next_.what, next_.which) != ("refuse", chance):
            return _GO
        self._picks += 1
        if until:
            player.clock.now = max(player.clock.now, until) + _LATE
        return _REFUSED

    def is_left(self, task: int) -> bool:
        """Say whether a task has neither returned nor died."""
        return self._company.parts[task].state not in {"ended", "dead"}

    def asleep(self) -> list[int]:
        """Return who sleeps."""
        return [part.number for part in self._company.parts if part.state in {"asleep", "joining"}]

    # ── the schedule ────────────────────────────────────────────────────────────────────────────────────────────────────

    def conduct(self) -> Verdict | None:
        """Force the schedule on the processes of the cast; what was wrong at its end."""
        directions = self._script.directions
        try:
            self._company.fork(self.cast, lines=self._script.lines)
            # What the program itself picked.
            self._step = self._picks
            while self._step < len(directions):
                direction = directions[self._step]
                self._company.settle()
                self._look(direction)
                self._picks, self._chances = self._step + 1, 0
                self._do(direction, directions)
                self._rest()
                self._step = max(self._picks, self._step + 1)
                while self._step < len(directions) and directions[self._step].what == "pick":
                    self._step += 1
                if self._step < len(directions) and directions[self._step].what == "refuse":
                    raise self._diverged("nobody asks for room, where somebody is refused it in the lab")
            self._company.settle()
            return self._end()
        finally:
            self._company.kill_all()

    def _look(self, direction: Direction) -> None:
        """Compare who can go on with who could in the lab."""
        if self._company.verdict is not None:
            raise self._diverged(f"it fails, where the lab goes on: {self._company.verdict.summary}")
        expected = set(direction.able)
        due = time.monotonic() + _NAP
        while True:
            able = {part.number for part in self._company.parts if part.state == "waiting" and not part.stopped}
            missing = [part for part in self._company.parts if part.number in expected - able]
            early = [part for part in self._company.parts if part.number in able - expected and not self._is_held(part)]
            if not missing and not early:
                break
            for part in early:
                if part.point != "awake" or part.detail & _CAUSED:
                    raise self._diverged(f"{part.name} could go on, where it sleeps in the lab")
                # It looked for itself, and goes back to the end of its queue.
                self._company.answer(part, _SLEEP_ON)
            gone = any(part.state in {"ended", "dead"} for part in missing)
            if gone or (missing and time.monotonic() > due):
                name, state = missing[0].name, missing[0].state
                why = "" if gone else ": Linux has not woken it"
                raise self._diverged(f"{name} is {state}, where it can go on in the lab{why}")
            connection.wait([part.channel for part in missing], 0.01)
            self._company.settle()
        self._queue_up()

    @staticmethod
    def _is_held(part: Part) -> bool:
        """It saw for itself what it will be told: it waits here for the schedule to wake it."""
        looked = part.detail & _NAPPED or part.restarted
        return part.state == "waiting" and part.point == "awake" and bool(part.detail & _CAUSED and looked)

    def _do(self, direction: Direction, directions: Sequence[Direction]) -> None:
        match direction.what:
            case "run":
                self._run(self._company.parts[direction.which], direction, directions)
            case "expire":
                part = self._company.parts[direction.which]
                player.clock.now = max(player.clock.now, part.until) + _LATE
                self._disturb(part)
                part.expired = True
            case "spurious":
                self._disturb(self._company.parts[direction.which])
            case "kill":
                self._company.kill(direction.which)
            case "stop" | "continue":
                self._company.stop(direction.which, direction.what == "stop")
            case _:
                raise self._diverged(f"a choice of {direction.count} is nobody's")

    def _run(self, part: Part, direction: Direction, directions: Sequence[Direction]) -> None:
        """Give a task its turn."""
        if part.point != direction.point:
            raise self._diverged(f"{part.name} stands before '{part.point}', in the lab before '{direction.point}'")
        if part.about is not None and direction.about is not None:
            known = self._objects.setdefault(part.about, direction.about)
            if known != direction.about:
                raise self._diverged(f"{part.name} uses object {known}, in the lab object {direction.about}")
        if part.point == "wake" and self._picks < len(directions) and directions[self._picks].what == "pick":
            # Which of several is woken: they stand in the queue accordingly.
            self._picks += 1
        expired, part.expired, part.restarted = part.expired, False, False
        self._company.answer(part, _EXPIRED if expired else _GO)

    def _rest(self) -> None:
        """Let everybody come to a rest, and make the checks that hold always."""
        self._company.settle()
        part = self._company.speaker
        if self._company.verdict is None and self.cast.always and part is not None and part.state != "ended":
            self._company.verdict = checked(self.cast.always, "always")

    def _disturb(self, part: Part) -> None:
        """End a sleep without a cause."""
        if part.state == "joining":
            part.state = "waiting"
        elif part.state == "asleep":
            self._company.nudge(part)
        elif not self._is_held(part):
            raise self._diverged(f"{part.name} is {part.state}, where it sleeps in the lab")

    def _queue_up(self) -> None:
        """Have sleepers stand in the order in which the schedule wakes them, where it does not wake who came first."""
        while part := self._first_to_step_back():
            self._company.nudge(part)
            if part.detail & _CAUSED:
                # It has seen for itself what it will be told: it is in no queue any more, so others are woken before it.
                part.detail |= _NAPPED
            else:
                self._company.answer(part, _SLEEP_ON)
                self._company.settle()

    def _first_to_step_back(self) -> Part | None:
        queue = [self._company.parts[number] for number in self._company.queue]
        for place, part in enumerate(queue):
            later = [other for other in queue[place + 1 :] if other.about == part.about]
            if any(self._is_preferred(other, part) for other in later):
                return part
        return None

    def _is_preferred(self, later: Part, earlier: Part) -> bool:
        """The schedule picks the later one out of those that sleep, and the earlier one sleeps on."""
        directions, woken = self._script.directions, self._woken(later)
        picks = itertools.takewhile(lambda step: directions[step].what == "pick", range(woken - 1, self._step, -1))
        return woken < self._woken(earlier) and any(directions[step].which for step in picks)

    def _woken(self, part: Part) -> int:
        """The step before which it can next go on."""
        directions = self._script.directions
        for step in range(self._step, len(directions)):
            if directions[step].what != "pick" and part.number in directions[step].able:
                return step
        return len(directions)

    def _answer_to(self, what: str, told: tuple[Any, ...]) -> int:
        """Answer what is asked between two points; None of it changes who can go on."""
        part = self._company.speaker
        assert part is not None
        match what:
            case "pick":
                return self.pick(*told)
            case "left":
                return self.is_left(*told)
            case "asleep":
                return sum(1 << number for number in self.asleep())
            case "call":
                place, name, arguments, options = told
                operation = self._history(place).call(name, arguments, options)
                self._open.setdefault(part.number, []).append(operation)
                return 0
            case "answer":
                place, outcome = told
                self._history(place).end(self._open[part.number].pop(), outcome)
                return 0
            case "refuse":
                _, until, _ = told
                return self._refuse(until)
            case _:
                raise self._diverged(f"{part.name} asks for {what}")

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _end(self) -> Verdict | None:
        """Judge how it ended, as the lab does."""
        self.recording.over()
        if self._company.verdict is not None:
            return self._company.verdict
        left = [part for part in self._company.parts if part.state not in {"ended", "dead"}]
        waking = [part for part in left if part.state == "waiting" and not part.stopped and not self._is_held(part)]
        if waking and self._script.livelock:
            steps = len(self._script.directions)
            return Verdict(
                "livelock", f"it went on for {steps:,} steps, though everybody had their turns: nobody comes to an end"
            )
        if waking:
            raise self._diverged(f"{waking[0].name} could go on at the end, where nobody can in the lab")
        if any(not part.task.process.servant for part in left):
            return self._standstill([part for part in left if not part.task.process.servant])
        if leak := self._leak():
            return leak
        for history in self.recording:
            try:
                explain(history)
            except NotLinearizable as error:
                return Verdict.disordered(error)
        return checked(self.cast.at_end, "at the end")

    def _leak(self) -> Verdict | None:
        """Tell what is held by those who have come to their end by themselves."""
        parts = self._company.parts
        by_tid, by_pid = (
            {part.tid: [part] for part in parts},
            {part.pid: self._company.of(part.task.process.number) for part in parts},
        )
        found: list[tuple[int, Left]] = []
        calls = [(about, "call", pid, 0, 0) for pid, abouts in self._company.calls.items() for about in abouts]
        for about, hold, pid, tid, _ in [*_core.conducted_held(), *calls]:
            holders = by_tid.get(tid) or by_pid.get(pid, [])
            if holders and all(part.state == "ended" for part in holders):
                place = self._objects[about]
                found.append((place, Left(holders[0].name, hold, self._script.objects[place], "")))
        return tell([left for _, left in sorted(found, key=itemgetter(0))]) if found else None

    def _standstill(self, left: list[Part]) -> Verdict:
        """Tell who waits in vain for what cannot come from who waits though it is there."""
        names = ", ".join(part.name for part in left)
        pids = ", ".join(
            f"{part.name} is pid {part.pid}, asleep in {'poll' if part.listens else 'futex_waitv'}" for part in left
        )
        for part in left:
            if part.state == "joining":
                continue
            self._company.nudge(part)
            self._company.answer(part, _GO)
            self._company.wait_until(
                lambda part=part: self._company.hear(0.01) or part.state != "running",
                f"{part.name} does not look again",
            )
            if part.state != "waiting" or part.point != "park":
                dead = [process.name for process in self.cast.processes if self._is_dead(process.number)]
                why = f"; {', '.join(dead)} died" if dead else ""
                kind = "untold death" if dead else "lost wake-up"
                return Verdict(kind, f"{part.name} sleeps though it could go on: nobody woke it{why}", pids)
        return Verdict("deadlock", f"everybody who is left sleeps, and nobody will wake them: {names}", pids)

    def _history(self, place: int) -> History:
        return self.recording.histories[place]

    def _stays_after_its_wake(self, part: Part) -> bool:
        """Say whether the schedule has others go on, now that it has woken somebody: in the lab it has only then a point there."""
        later = self._script.directions[max(self._picks, self._step + 1) :]
        following = next((direction for direction in later if direction.what != "pick"), None)
        # Whoever has ended since stands there for ever.
        return following is not None and part.number in following.woke and part.number in following.able

    def _caller(self) -> Caller:
        part = self._company.speaker
        if part is None:
            return HOST
        return Caller(part.task.process.number, part.number, part.name)

    def _is_dead(self, process: int) -> bool:
        return any(part.state == "dead" for part in self._company.of(process))

    def _diverged(self, why: str) -> Diverged:
        total = len(self._script.directions)
        return Diverged(f"diverged at step {self._step} of {total}: {why}", step=self._step)
