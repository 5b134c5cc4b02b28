"""What follows from the moments of a trace: who sleeps from when to when, who woke whom, and who waits in a circle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from underpass.lab.trace import WORLD, Moment, Trace, Wait

__all__ = ["Condition", "Sleep", "circles", "conditions", "sleeps", "wakes"]

Condition = Literal["awake", "asleep", "stopped", "gone"]

# What happens to a thread without ending its sleep.
_SLEEPS_ON = frozenset({"sleeps", "is stopped", "goes on"})


class Sleep(msgspec.Struct, frozen=True):
    """A thread's sleep, from moment to moment: indices into the trace; no end: it sleeps for ever."""

    process: int
    thread: str
    start: int
    end: int | None


def sleeps(trace: Trace) -> list[Sleep]:
    """Return every sleep, in the order in which they began."""
    found: list[Sleep] = []
    asleep: dict[tuple[int, str], int] = {}
    for index, moment in enumerate(trace.moments):
        me = (moment.process, moment.thread)
        if moment.what == "dies":
            ending = [one for one in asleep if one[0] == moment.process]
        else:
            ending = [me] if me in asleep and moment.what not in _SLEEPS_ON else []
        found += [Sleep(*one, asleep.pop(one), index) for one in ending]
        if moment.what == "sleeps" and moment.process != WORLD:
            asleep.setdefault(me, index)
    found += [Sleep(*one, start, None) for one, start in asleep.items()]
    return sorted(found, key=lambda sleep: sleep.start)


def conditions(trace: Trace) -> list[tuple[Condition, ...]]:
    """Return how each process is after each moment; it is asleep when all of its threads are."""
    threads: list[set[str]] = [set() for _ in trace.columns]
    for moment in trace.moments:
        if moment.process != WORLD:
            threads[moment.process].add(moment.thread)
    begin: dict[int, list[Sleep]] = {}
    end: dict[int | None, list[Sleep]] = {}
    for span in sleeps(trace):
        begin.setdefault(span.start, []).append(span)
        end.setdefault(span.end, []).append(span)
    asleep: list[set[str]] = [set() for _ in trace.columns]
    now: list[Condition] = ["awake"] * len(trace.columns)
    found: list[tuple[Condition, ...]] = []
    for index, moment in enumerate(trace.moments):
        for span in end.get(index, []):
            asleep[span.process].discard(span.thread)
        for span in begin.get(index, []):
            asleep[span.process].add(span.thread)
        if moment.process != WORLD:
            column = moment.process
            now[column] = _condition(moment, now[column], asleep=asleep[column] == threads[column])
        found.append(tuple(now))
    return found


def _condition(moment: Moment, before: Condition, *, asleep: bool) -> Condition:
    if before == "gone" or moment.what == "dies" or (moment.what == "ends" and not moment.thread):
        return "gone"
    if moment.what == "is stopped" or (before == "stopped" and moment.what != "goes on"):
        return "stopped"
    return "asleep" if asleep else "awake"


def wakes(trace: Trace) -> list[tuple[int, int]]:
    """Return who woke whom: the index of the waker's moment, and that of the woken one's."""
    found: list[tuple[int, int]] = []
    for span in sleeps(trace):
        if span.end is not None and (woken := trace.moments[span.end]).what == "is woken":
            waker = _waker(trace.moments[span.start : span.end], woken)
            if waker is not None:
                found.append((span.start + waker, span.end))
    return found


def _waker(meanwhile: tuple[Moment, ...], woken: Moment) -> int | None:
    """Return the last moment that can have woken: a wake if there is one, else the last step of who is said to have done it."""
    others = [index for index, moment in enumerate(meanwhile) if moment.process != woken.process]
    named = [index for index in others if woken.partner is not None and meanwhile[index].process == woken.partner]
    wake = [
        index
        for index in (named or others)
        if meanwhile[index].what == "wakes"
        and meanwhile[index].partner in {None, woken.process}
        and ({meanwhile[index].object, woken.object} & {""} or meanwhile[index].object == woken.object)
    ]
    return max(wake or named, default=None)


def circles(trace: Trace) -> Iterator[list[Wait]]:
    """Yield the waits of each circle, in the order of who waits for whom."""
    waiting = {wait.who: wait for wait in trace.waits if wait.cycle}
    seen: set[str] = set()
    for start in waiting:
        chain: list[str] = []
        who: str | None = start
        while who is not None and who not in seen:
            seen.add(who)
            chain.append(who)
            who = next((holder for holder in waiting[who].holders if holder in waiting), None)
        if who in chain:
            yield [waiting[name] for name in chain[chain.index(who) :]]
