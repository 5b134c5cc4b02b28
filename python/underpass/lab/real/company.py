"""The forked processes of a program, as the conductor's hands: what they say, and what is done to them.

Between two steps everybody *rests*: stands at a point, sleeps in the kernel by the kernel's own word, or has ended.
"""

import os
import signal
import time
from collections.abc import Callable
from ctypes import CDLL
from multiprocessing import connection
from typing import Any, final

from underpass.lab.program import Cast, Task
from underpass.lab.real import asleep, player
from underpass.lab.real.outcome import Diverged
from underpass.lab.real.part import Part
from underpass.lab.verdict import Verdict

# Seconds after which a process that comes to no point has hung.
_PATIENCE = 20.0
POINTS = frozenset({"start", "operation", "park", "awake", "wake", "woke", "line", "join"}) | player.SLEEPS
"""What a process may say before it waits; anything else is a question."""


@final
class Company:
    """All tasks, and who speaks."""

    def __init__(
        self,
        answer_to: Callable[[str, tuple[Any, ...]], int],
        diverged: Callable[[str], Diverged],
        stays_after_its_wake: Callable[[Part], bool],
    ) -> None:
        self._answer_to = answer_to
        self._diverged = diverged
        self._stays_after_its_wake = stays_after_its_wake
        self.parts: list[Part] = []
        self.queue: list[int] = []
        """Who sleeps, in the order in which they fell asleep: Linux wakes in that order."""
        self.speaker: Part | None = None
        self.verdict: Verdict | None = None
        """What the first one that failed said."""
        self.calls: dict[int, list[int]] = {}
        """By pid, the ports whose calls a process had in hand when it ended: their channels go with it."""

    def fork(self, cast: Cast, *, lines: bool) -> None:
        """Start the processes; with ``lines`` their lines are points."""
        host = os.getpid()
        for process in cast.processes:
            mine: list[tuple[int, Task, player.Channel]] = []
            for number, task in enumerate(cast.tasks):
                if task.process == process:
                    ours, theirs = connection.Pipe()
                    self.parts.append(Part(number, task, ours))
                    mine.append((number, task, theirs))
            pid = os.fork()
            if pid == 0:
                for part in self.parts:
                    part.channel.close()
                player.play(mine, host, lines=lines)
            for number, _, theirs in mine:
                theirs.close()
                next(part for part in self.parts if part.number == number).pid = pid
        self.parts.sort(key=lambda part: part.number)

    def of(self, process: int) -> list[Part]:
        """Return a process's tasks."""
        return [part for part in self.parts if part.task.process.number == process]

    def kill(self, process: int) -> None:
        """Kill a process."""
        parts = self.of(process)
        os.kill(parts[0].pid, signal.SIGKILL)
        # Once it is waited for, the kernel has told everybody.
        os.waitpid(parts[0].pid, 0)
        for part in parts:
            if part.state != "ended":
                part.state = "dead"
            part.channel.close()
            self._leave(part)

    def stop(self, process: int, stopped: bool) -> None:  # noqa: FBT001 - the one and the other
        """Stop a process, or let it go on."""
        parts = self.of(process)
        os.kill(parts[0].pid, signal.SIGSTOP if stopped else signal.SIGCONT)
        wanted = {"T", "t"}
        self.wait_until(
            lambda: all(
                (asleep.state(part.pid, part.tid) in wanted) is stopped for part in parts if part.state != "ended"
            ),
            f"{parts[0].name} does not {'stop' if stopped else 'go on'}",
        )
        for part in parts:
            part.stopped = stopped
            if part.state == "asleep":
                # Linux takes who is stopped out of its queue, and has it look and queue up again.
                self._leave(part)
                part.restarted = True
                if not stopped:
                    self.queue.append(part.number)

    def nudge(self, part: Part) -> None:
        """End a sleep by a signal: one who is stopped gets it when it goes on."""
        CDLL(None).tgkill(part.pid, part.tid, player.NUDGE)
        if part.stopped:
            return
        self.wait_until(
            lambda: self.hear(0.01) or part.state != "asleep", f"{part.name} is not to be woken by a signal"
        )

    def kill_all(self) -> None:
        """Leave nobody."""
        for pid in {part.pid for part in self.parts if part.pid}:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                continue
        for part in self.parts:
            part.channel.close()

    # ── what they say ───────────────────────────────────────────────────────────────────────────────────────────────────

    def settle(self) -> None:
        """Come back when everybody rests."""
        self.wait_until(lambda: not self.hear(0) and self._all_rest(), "it comes to no point")

    def _all_rest(self) -> bool:
        for part in self.parts:
            if part.state == "joining" and not self._is_left(part.joins):
                part.state = "waiting"
        return all(part.rests or self._rests(part) for part in self.parts)

    def _is_left(self, task: int) -> bool:
        return self.parts[task].state not in {"ended", "dead"}

    @staticmethod
    def _rests(part: Part) -> bool:
        return part.state != "running" and (
            part.state != "asleep" or asleep.sleeps(part.pid, part.tid, listens=part.listens)
        )

    def wait_until(self, come: Callable[[], bool], what: str) -> None:
        """Listen until it has come; `what` is what is the matter if it does not."""
        due = time.monotonic() + _PATIENCE
        while not come():
            if time.monotonic() > due:
                busy = [part.name for part in self.parts if not part.rests and not self._rests(part)]
                raise self._diverged(f"{', '.join(busy)}: {what} within {_PATIENCE:.0f} s")
            self.hear(0.001)

    def hear(self, timeout: float) -> bool:
        """Take what was said; True if anything was."""
        heard = False
        listening = {part.channel: part for part in self.parts if part.state not in {"ended", "dead"}}
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

    def _take(self, part: Part, what: str, *told: Any) -> None:
        self.speaker = part
        if what == "end":
            self._ended(part)
            verdict, self.calls[part.pid] = told
            self.verdict = self.verdict or verdict
        elif what in POINTS:
            self._arrived(part, what, *told)
        else:
            self.answer(part, self._answer_to(what, told))

    def _arrived(self, part: Part, point: str, about: int | None, detail: int, tid: int) -> None:
        part.about, part.detail, part.tid = about, detail, tid
        self._leave(part)
        if point in player.SLEEPS:
            part.state, part.point, part.until, part.listens = "asleep", "awake", detail, point == "listen"
            self.queue.append(part.number)
        elif point == "join":
            part.state, part.point, part.joins = "joining", "awake", detail
        elif point == "woke" and not self._stays_after_its_wake(part):
            self.answer(part, 0)
        else:
            part.state, part.point = "waiting", point

    def answer(self, part: Part, answer: int) -> None:
        """Let it go on."""
        part.state = "running"
        part.channel.send((int(answer), player.clock.now))

    def _ended(self, part: Part) -> None:
        """A task has returned: its life ends with its thread, the last one with the process."""
        part.state = "ended"
        part.channel.close()
        if any(other.state != "ended" for other in self.of(part.task.process.number)):
            self.wait_until(lambda: not asleep.state(part.pid, part.tid), f"a thread of {part.name} does not end")
        else:
            os.waitpid(part.pid, 0)

    def _leave(self, part: Part) -> None:
        if part.number in self.queue:
            self.queue.remove(part.number)
