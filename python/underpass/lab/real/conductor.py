"""The side of the host: it gives real processes their turns as a schedule says, and kills, stops and disturbs where that does.

Between two steps everybody *rests*: stands at a point, sleeps in the kernel (by the kernel's own word), or has ended. Who can go on
then must be who could in the lab. What Linux does not let the conductor choose, it arranges: sleepers queue up in the order in
which the schedule wakes them, since a sleeper that looks for itself goes to the queue's end, and every real one does so each second.
"""

import itertools
import os
import signal
import time
from collections.abc import Callable, Sequence
from ctypes import CDLL
from multiprocessing import connection
from typing import final

from underpass.lab.history import Recording
from underpass.lab.history import Task as Caller
from underpass.lab.linearization import NotLinearizable, explain
from underpass.lab.program import Cast, Task
from underpass.lab.real import asleep, player
from underpass.lab.real.outcome import Diverged
from underpass.lab.real.part import Part
from underpass.lab.real.script import Direction, Script
from underpass.lab.stage import HOST, checked
from underpass.lab.verdict import Verdict

# What a gate is answered; kernel_conducted.rs has the same numbers.
_GO, _EXPIRED, _SLEEP_ON = 0, 1, 2
# What is told of a sleep's end, there as well.
_CAUSED, _NAPPED = 1, 2
# Seconds after which a process that comes to no point has hung.
_PATIENCE = 20.0
# Seconds that a sleeper has to look for itself, where nothing would tell it of a death: it naps for up to one.
_NAP = 3.0
# How late a time-out fires, in nanoseconds: as late as the lab's.
_LATE = 1_000


@final
class Conductor:
    """Conducts one schedule."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._parts: list[Part] = []
        self._step = 0
        self._picks = 0
        self._queue: list[int] = []
        self._objects: dict[int, int] = {}
        self._verdict: Verdict | None = None
        self._speaker: Part | None = None
        self._open: dict[int, list[tuple[int, object]]] = {}
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
        return picked.which

    def is_left(self, task: int) -> bool:
        """Say whether a task has neither returned nor died."""
        return self._parts[task].state not in {"ended", "dead"}

    def asleep(self) -> list[int]:
        """Return who sleeps."""
        return [part.number for part in self._parts if part.state in {"asleep", "joining"}]

    # ── the schedule ────────────────────────────────────────────────────────────────────────────────────────────────────

    def conduct(self) -> Verdict | None:
        """Force the schedule on the processes of the cast; what was wrong at its end."""
        directions = self._script.directions
        try:
            self._fork()
            # What the program itself picked.
            self._step = self._picks
            while self._step < len(directions):
                direction = directions[self._step]
                self._settle()
                self._look(direction)
                self._picks = self._step + 1
                self._do(direction, directions)
                self._rest()
                self._step = max(self._picks, self._step + 1)
                while self._step < len(directions) and directions[self._step].what == "pick":
                    self._step += 1
            self._settle()
            return self._end()
        finally:
            self._kill_all()

    def _look(self, direction: Direction) -> None:
        """Compare who can go on with who could in the lab."""
        if self._verdict is not None:
            raise self._diverged(f"it fails, where the lab goes on: {self._verdict.summary}")
        expected = set(direction.able)
        due = time.monotonic() + _NAP
        while True:
            able = {part.number for part in self._parts if part.state == "waiting" and not part.stopped}
            missing = [part for part in self._parts if part.number in expected - able]
            early = [part for part in self._parts if part.number in able - expected and not self._is_held(part)]
            if not missing and not early:
                break
            for part in early:
                if part.point != "awake" or part.detail & _CAUSED:
                    raise self._diverged(f"{part.name} could go on, where it sleeps in the lab")
                # It looked for itself, and goes back to the end of its queue.
                self._answer(part, _SLEEP_ON)
            if missing and time.monotonic() > due:
                name, state = missing[0].name, missing[0].state
                raise self._diverged(f"{name} is {state}, where it can go on in the lab: Linux has not woken it")
            connection.wait([part.channel for part in missing], 0.01)
            self._settle()
        self._queue_up()

    @staticmethod
    def _is_held(part: Part) -> bool:
        """It saw for itself what it will be told: it waits here for the schedule to wake it."""
        return part.point == "awake" and part.detail & (_CAUSED | _NAPPED) == _CAUSED | _NAPPED

    def _do(self, direction: Direction, directions: Sequence[Direction]) -> None:
        match direction.what:
            case "run":
                self._run(self._parts[direction.which], direction, directions)
            case "expire":
                part = self._parts[direction.which]
                player.clock.now = max(player.clock.now, part.until) + _LATE
                self._disturb(part)
                part.expired = True
            case "spurious":
                self._disturb(self._parts[direction.which])
            case "kill":
                self._kill(direction.which)
            case "stop" | "continue":
                self._stop(direction.which, direction.what == "stop")
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
        expired, part.expired, part.disturbed = part.expired, False, False
        self._answer(part, _EXPIRED if expired else _GO)

    def _rest(self) -> None:
        """Let everybody come to a rest, and make the checks that hold always."""
        self._settle()
        part = self._speaker
        if self._verdict is None and self.cast.always and part is not None and part.state != "ended":
            self._verdict = checked(self.cast.always, "always")

    # ── the processes ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _fork(self) -> None:
        host = os.getpid()
        for process in self.cast.processes:
            mine: list[tuple[int, Task, player.Channel]] = []
            for number, task in enumerate(self.cast.tasks):
                if task.process == process:
                    ours, theirs = connection.Pipe()
                    self._parts.append(Part(number, task, ours))
                    mine.append((number, task, theirs))
            pid = os.fork()
            if pid == 0:
                for part in self._parts:
                    part.channel.close()
                player.play(mine, host)
            for number, _, theirs in mine:
                theirs.close()
                next(part for part in self._parts if part.number == number).pid = pid
        self._parts.sort(key=lambda part: part.number)

    def _of(self, process: int) -> list[Part]:
        return [part for part in self._parts if part.task.process.number == process]

    def _kill(self, process: int) -> None:
        parts = self._of(process)
        os.kill(parts[0].pid, signal.SIGKILL)
        # Once it is waited for, the kernel has told everybody.
        os.waitpid(parts[0].pid, 0)
        for part in parts:
            if part.state != "ended":
                part.state = "dead"
            part.channel.close()
            self._leave(part)

    def _stop(self, process: int, stopped: bool) -> None:  # noqa: FBT001 - the one and the other
        parts = self._of(process)
        os.kill(parts[0].pid, signal.SIGSTOP if stopped else signal.SIGCONT)
        wanted = {"T", "t"}
        self._await(
            lambda: all(
                (asleep.state(part.pid, part.tid) in wanted) is stopped for part in parts if part.state != "ended"
            ),
            f"{parts[0].name} does not {'stop' if stopped else 'go on'}",
        )
        for part in parts:
            part.stopped = stopped

    def _disturb(self, part: Part) -> None:
        """End a sleep without a cause."""
        if part.state == "joining":
            part.state = "waiting"
        elif part.state == "asleep":
            self._nudge(part)
        elif not self._is_held(part):
            raise self._diverged(f"{part.name} is {part.state}, where it sleeps in the lab")
        part.disturbed = True

    def _nudge(self, part: Part) -> None:
        CDLL(None).tgkill(part.pid, part.tid, player.NUDGE)
        self._await(lambda: self._hear(0.01) or part.state != "asleep", f"{part.name} is not to be woken by a signal")

    def _queue_up(self) -> None:
        """Have sleepers stand in the order in which the schedule wakes them, where it does not wake who came first."""
        while part := self._first_to_step_back():
            self._nudge(part)
            if part.detail & _CAUSED:
                # It has seen for itself what it will be told: it is in no queue any more, so others are woken before it.
                part.detail |= _NAPPED
            else:
                self._answer(part, _SLEEP_ON)
                self._settle()

    def _first_to_step_back(self) -> Part | None:
        queue = [self._parts[number] for number in self._queue]
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

    def _kill_all(self) -> None:
        for pid in {part.pid for part in self._parts if part.pid}:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                continue
        for part in self._parts:
            part.channel.close()

    # ── what they say ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _settle(self) -> None:
        """Come back when everybody rests."""
        self._await(lambda: not self._hear(0) and self._all_rest(), "it comes to no point")

    def _all_rest(self) -> bool:
        for part in self._parts:
            if part.state == "joining" and not self.is_left(part.joins):
                part.state = "waiting"
        return all(part.rests or self._rests(part) for part in self._parts)

    @staticmethod
    def _rests(part: Part) -> bool:
        return part.state != "running" and (part.state != "asleep" or asleep.sleeps(part.pid, part.tid))

    def _await(self, come: Callable[[], bool], what: str) -> None:
        due = time.monotonic() + _PATIENCE
        while not come():
            if time.monotonic() > due:
                busy = [part.name for part in self._parts if not part.rests and not self._rests(part)]
                raise self._diverged(f"{', '.join(busy)}: {what} within {_PATIENCE:.0f} s")
            self._hear(0.001)

    def _hear(self, timeout: float) -> bool:
        """Take what was said; True if anything was."""
        heard = False
        listening = {part.channel: part for part in self._parts if part.state not in {"ended", "dead"}}
        for ready in connection.wait(listening, timeout):
            part = listening[ready]  # pyright: ignore[reportArgumentType] - what it was given
            # What is heard may make this wait for an end, and hear others meanwhile.
            if part.state in {"ended", "dead"} or not part.channel.poll():
                continue
            try:
                message = part.channel.recv()
            except (EOFError, ConnectionResetError):
                raise self._diverged(f"{part.name} (pid {part.pid}) has ended by itself") from None
            self._take(part, *message)
            heard = True
        return heard

    def _take(self, part: Part, what: str, *told: object) -> None:
        self._speaker = part
        match what, told:
            case "end", (verdict,):
                self._ended(part)
                self._verdict = self._verdict or (verdict if isinstance(verdict, Verdict) else None)
            case "pick", (int(count),):
                self._answer(part, self.pick(count))
            case "left", (int(task),):
                self._answer(part, self.is_left(task))
            case "asleep", ():
                self._answer(part, sum(1 << number for number in self.asleep()))
            case "call", (int(history), str(name), tuple(arguments), dict(options)):
                called = self.recording.histories[history].call(name, arguments, options)
                self._open.setdefault(part.number, []).append((history, called))
                self._answer(part, 0)
            case "answer", (int(history), outcome):
                _, called = self._open[part.number].pop()
                self.recording.histories[history].end(called, outcome)
                self._answer(part, 0)
            case "name", _:
                raise self._diverged(
                    f"{part.name} waits for a name to appear, in no sleep of an object's: this is not conducted"
                )
            case "port", _:
                raise self._diverged(
                    f"{part.name} makes a port: those meet at sockets on Linux, which are not conducted"
                )
            case point, (about, int(detail), int(tid)):
                self._arrived(part, point, about if isinstance(about, int) else None, detail, tid)
            case _:
                raise self._diverged(f"{part.name} says {what}")

    def _arrived(self, part: Part, point: str, about: int | None, detail: int, tid: int) -> None:
        part.about, part.detail, part.tid = about, detail, tid
        self._leave(part)
        if point == "sleep":
            part.state, part.point, part.until = "asleep", "awake", detail
            self._queue.append(part.number)
        elif point == "join":
            part.state, part.point, part.joins = "joining", "awake", detail
        else:
            part.state, part.point = "waiting", point

    def _answer(self, part: Part, answer: int) -> None:
        part.state = "running"
        part.channel.send((int(answer), player.clock.now))

    def _ended(self, part: Part) -> None:
        """A task has returned: its life ends with its thread, the last one with the process."""
        part.state = "ended"
        part.channel.close()
        if any(other.state != "ended" for other in self._of(part.task.process.number)):
            self._await(lambda: not asleep.state(part.pid, part.tid), f"a thread of {part.name} does not end")
        else:
            os.waitpid(part.pid, 0)

    def _leave(self, part: Part) -> None:
        if part.number in self._queue:
            self._queue.remove(part.number)

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _end(self) -> Verdict | None:
        """Judge how it ended, as the lab does."""
        self.recording.over()
        if self._verdict is not None:
            return self._verdict
        left = [part for part in self._parts if part.state not in {"ended", "dead"}]
        waking = [part for part in left if part.state == "waiting" and not self._is_held(part)]
        if waking and self._script.livelock:
            steps = len(self._script.directions)
            return Verdict(
                "livelock", f"it went on for {steps:,} steps, though everybody had their turns: nobody comes to an end"
            )
        if waking:
            raise self._diverged(f"{waking[0].name} could go on at the end, where nobody can in the lab")
        if any(not part.task.process.servant for part in left):
            return self._standstill([part for part in left if not part.task.process.servant])
        for history in self.recording:
            try:
                explain(history)
            except NotLinearizable as error:
                return Verdict.disordered(error)
        return checked(self.cast.at_end, "at the end")

    def _standstill(self, left: list[Part]) -> Verdict:
        """Tell who waits in vain for what cannot come from who waits though it is there."""
        names = ", ".join(part.name for part in left)
        pids = ", ".join(f"{part.name} is pid {part.pid}, asleep in futex_waitv" for part in left)
        for part in left:
            if part.state == "joining":
                continue
            self._nudge(part)
            self._answer(part, _GO)
            self._await(
                lambda part=part: self._hear(0.01) or part.state != "running", f"{part.name} does not look again"
            )
            if part.state != "waiting" or part.point != "park":
                dead = [process.name for process in self.cast.processes if self._is_dead(process.number)]
                why = f"; {', '.join(dead)} died" if dead else ""
                kind = "untold death" if dead else "lost wake-up"
                return Verdict(kind, f"{part.name} sleeps though it could go on: nobody woke it{why}", pids)
        return Verdict("deadlock", f"everybody who is left sleeps, and nobody will wake them: {names}", pids)

    def _caller(self) -> Caller:
        part = self._speaker
        if part is None:
            return HOST
        return Caller(part.task.process.number, part.number, part.name)

    def _is_dead(self, process: int) -> bool:
        return any(part.state == "dead" for part in self._of(process))

    def _diverged(self, why: str) -> Diverged:
        total = len(self._script.directions)
        return Diverged(f"diverged at step {self._step} of {total}: {why}", step=self._step)
