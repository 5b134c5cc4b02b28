"""A failure as text and as JSON, and the page as a document; test_report_in_browser looks at it."""

from __future__ import annotations

import json
import subprocess
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.cells import cell_len
from rich.console import Console

from tests.lab import traces
from underpass.errors import MismatchError
from underpass.lab.report import as_html, as_json, as_text, from_json, render
from underpass.lab.report.excerpt import Gap, Repeat, Step, excerpt
from underpass.lab.report.repetition import cycles
from underpass.lab.report.timeline import circles, conditions, sleeps, wakes
from underpass.lab.trace import VERSION, Happening, Moment, Trace, Wait

ALL = [traces.transfer(), traces.threads(), traces.long(), *(traces.ring(count) for count in (2, 6, 7, 9, 30))]
HOSTILE = [
    "",
    "</script><script>alert(1)</script>",
    "<!--DATA--><!-- <![CDATA[",
    "働く人👷🏽‍♀️は眠る。" * 20,
    "x" * 500,
    "\x1b[31mred\x1b[0m\r\n\t\0",
    "\u202eright to left",
    "half a character: \udc80",
    "\u2028\u2029&amp;\"'`${x}",
    "e\u0301" * 100 + "❤\ufe0f" * 60,
    "[bold]markup[/bold]",
]


def named(trace: Trace) -> str:
    return f"{trace.title}-{len(trace.columns)}"


every_trace = pytest.mark.parametrize("trace", ALL, ids=named)


def spoilt(trace: Trace, text: str) -> Trace:
    """Put ``text`` wherever a program's own words can be."""
    moments = tuple(
        replace(moment, thread=text, where=text, source=text, call=text, object=text, value=text, state=((text, text),))
        for moment in trace.moments
    )
    waits = tuple(replace(wait, object=text, operation=text, where=text) for wait in trace.waits)
    said = dict.fromkeys(("title", "kind", "summary", "details", "reason", "token", "budgets"), text)
    columns = tuple(f"{text}{index}" for index in range(len(trace.columns)))
    return replace(trace, moments=moments, waits=waits, columns=columns, how=(text, text), **said)


def widest(text: str) -> int:
    return max(map(cell_len, text.splitlines()))


# ── text ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@every_trace
@pytest.mark.parametrize("width", [40, 80, 100, 160])
def test_no_line_is_wider_than_it_may_be(trace: Trace, width: int) -> None:
    assert widest(as_text(trace, width)) <= width


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
@every_trace
def test_what_a_program_says_cannot_break_the_columns(trace: Trace, hostile: str) -> None:
    text = as_text(spoilt(trace, hostile))
    assert widest(text) <= 100
    assert all(line.isprintable() for line in text.split("\n"))
    text.encode()


@given(st.text(), st.integers(40, 120))
@example("000000\u4dc0", 40)  # wide to some, and not to others
@settings(deadline=None, max_examples=40)
def test_any_text_fits(text: str, width: int) -> None:
    assert widest(as_text(spoilt(traces.transfer(), text), width)) <= width


def test_every_moment_stands_in_the_column_of_its_process() -> None:
    trace = traces.transfer()
    lines = as_text(trace).splitlines()
    heading = next(line for line in lines if all(name in line for name in trace.columns))
    starts = [heading.index(name) for name in trace.columns]
    places = [[line[start : start + 30] for line in lines] for start in starts]
    for moment in trace.moments:
        assert any(moment.where in cell for cell in places[moment.process]), moment
    assert not any("bank.py:30" in cell for column in places[:2] for cell in column)


def test_what_happens_is_marked_and_said() -> None:
    text = as_text(traces.transfer())
    for said in ("4 ⇄", "✗ dies", "z sleeps on queue @1", "↑ wakes worker-2", "▸ woken by producer", "→ Job(2)"):
        assert said in text
    assert "↳ mutex 'first': held by" in text
    others = as_text(traces.threads())
    for said in ("◆ chooses 2 of 3", "⊘ is refused: no room", "! raises OutOfSpaceError", "‖ is stopped", "▸ goes on"):
        assert said in others
    for said in ("◷ ‹flusher› times out", "? wakes without cause", "■ ends"):
        assert said in others


def test_a_lifeline_shows_who_sleeps_and_who_is_dead() -> None:
    lines = as_text(traces.transfer()).splitlines()
    start = next(line for line in lines if "worker-2" in line and "producer" in line)
    producer, worker = start.index("producer"), start.index("worker-2")
    asleep = next(line for line in lines if "✗ dies" in line)
    assert asleep[worker] == "┊"
    second = next(line for line in lines if line.startswith(" 9"))
    assert second[producer] == " "
    assert second[worker] == "●"


def test_a_circle_is_closed() -> None:
    text = as_text(traces.transfer())
    assert "worker-2 waits for mutex 'first', held by worker-1: in Mutex.acquire (bank.py:32) since step 10" in text
    assert "⟲ worker-2 → mutex 'first' → worker-1 → mutex 'second' → worker-2" in text


def test_reason_and_commands_are_there() -> None:
    trace = traces.transfer()
    text = as_text(trace)
    assert " ".join(text.split()).count(trace.reason) == 1
    assert all(f"  {command}\n" in text + "\n" for command in trace.how)
    assert "found in schedule 1,213, seed 7 · ≤ 2 preemptions, ≤ 1 kill" in text


def test_a_long_command_can_be_pasted_into_a_shell() -> None:
    trace = replace(traces.threads(), how=(f"printf %s 'one two' {traces.threads().token}",))
    command = as_text(trace).split("See it again\n")[1]
    assert len(command.splitlines()) > 2
    run = subprocess.run(["/bin/sh", "-c", command.split("\n  token")[0]], capture_output=True, text=True, check=True)
    assert run.stdout == "one two" + trace.token


def test_a_long_trace_keeps_its_end_and_what_touches_what_fails() -> None:
    trace = traces.long()
    text = as_text(trace)
    shown = [moment for moment in trace.moments if f"{moment.where} " in text]
    assert trace.moments[-40:] == tuple(shown[-40:])
    assert "work.py:9020 door.acquire()" in text
    assert "… 19 steps" in text
    assert len(text.splitlines()) < 80


def test_an_excerpt_loses_no_moment() -> None:
    for trace in ALL:
        covered = [index for row in excerpt(trace) for index in range(row.first, row.last + 1)]
        assert covered == list(range(len(trace.moments)))


def spinning(moments: int, kind: str = "livelock") -> Trace:
    """Two processes that take turns, each with another value every time."""
    door = Moment(
        number=0, process=0, what="times out", where="spin.py:3", source="door.acquire()", object="mutex 'door'"
    )
    turns = tuple(replace(door, number=turn, process=turn % 2, value=f"{turn} s") for turn in range(moments))
    return Trace(title="spin", kind=kind, summary="", columns=("a", "b"), moments=turns)


def test_a_livelock_tells_its_circle_once() -> None:
    trace = spinning(5_001)
    rows = excerpt(trace)
    assert [(type(row), row.first, row.last) for row in rows] == [
        (Step, 0, 0), (Step, 1, 1), (Repeat, 2, 4_999), (Step, 5_000, 5_000),
    ]  # fmt: skip
    assert "↻ these 2 steps, 2,499 × more" in as_text(trace)
    assert len(as_text(trace).splitlines()) < 20


def test_a_livelock_whose_beginning_is_a_muddle_shows_both_ends() -> None:
    circle = spinning(3_000)
    muddle = tuple(
        replace(moment, number=number, where=f"enter.py:{number}")
        for number, moment in enumerate(circle.moments[:1_000])
    )
    rows = excerpt(replace(circle, moments=muddle + circle.moments))
    assert len(rows) < 60
    assert [row.last for row in rows if isinstance(row, Gap)] == [966]
    assert [(row.steps, row.times) for row in rows if isinstance(row, Repeat)] == [(2, 1_499)]


def test_what_ends_is_shown_at_both_ends_though_all_of_it_matters() -> None:
    rows = excerpt(spinning(5_000, "deadlock"))
    assert [(row.process, row.moments) for row in rows if isinstance(row, Gap)] == [(None, 4_840)]
    assert len(rows) < 200


@given(st.lists(st.integers(0, 2), max_size=80))
def test_circles_put_together_are_the_sequence(items: list[int]) -> None:
    found = list(cycles(items))
    assert [item for cycle in found for item in items[cycle.first : cycle.first + cycle.length] * cycle.times] == items
    assert all(cycle.times >= 3 or cycle.length == cycle.times == 1 for cycle in found)


def test_a_console_gets_the_same_in_colour() -> None:
    trace = traces.transfer()
    assert [line.rstrip() for line in render(trace).plain.split("\n")] == as_text(trace).split("\n")
    console = Console(force_terminal=True, width=100, color_system="standard", legacy_windows=False)
    with console.capture() as captured:
        console.print(render(trace))
    assert "\x1b[1;31m✗" in captured.get()


# ── what follows from the moments ───────────────────────────────────────────────────────────────────────────────────


def test_sleeps_end_with_what_ends_them() -> None:
    trace = traces.transfer()
    spans = [(span.process, span.start, span.end) for span in sleeps(trace)]
    assert spans == [(2, 4, 7), (2, 11, None), (1, 13, None)]
    assert wakes(trace) == [(5, 7)]


def test_a_death_ends_the_sleeps_of_all_threads() -> None:
    asleep = [Moment(number=n, process=0, what="sleeps", thread=thread) for n, thread in enumerate(["", "two"])]
    dies = Moment(number=2, process=0, what="dies")
    trace = Trace(title="", kind="", summary="", columns=("one", "other"), moments=(*asleep, dies))
    assert [(span.thread, span.end) for span in sleeps(trace)] == [("", 2), ("two", 2)]
    assert [now[0] for now in conditions(trace)] == ["awake", "asleep", "gone"]


@pytest.mark.parametrize(
    ("what", "partner", "waker"), [("wakes", None, 1), ("wakes", 0, 1), ("runs", None, None), ("wakes", 1, None)]
)
def test_a_wake_is_found_by_what_it_says(what: Happening, partner: int | None, waker: int | None) -> None:
    trace = Trace(
        title="",
        kind="",
        summary="",
        columns=("sleeper", "waker"),
        moments=(
            Moment(number=1, process=0, what="sleeps", object="x"),
            Moment(number=2, process=1, what=what, object="x", partner=partner),
            Moment(number=3, process=0, what="is woken", object="x"),
        ),
    )
    assert wakes(trace) == ([] if waker is None else [(waker, 2)])


def test_circles_leave_out_who_only_waits_for_one() -> None:
    waits = [
        Wait(who=who, object=f"lock {who}", operation="Mutex.acquire", since=1, holders=(holder,), cycle=cycle)
        for who, holder, cycle in [
            ("d", "a", False),
            ("a", "b", True),
            ("b", "c", True),
            ("c", "a", True),
            ("e", "f", True),
        ]
    ]
    trace = Trace(title="", kind="", summary="", columns=(), moments=(), waits=tuple(waits))
    assert [[wait.who for wait in circle] for circle in circles(trace)] == [["a", "b", "c"]]


# ── JSON ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@every_trace
def test_json_is_read_as_it_was_written(trace: Trace) -> None:
    assert from_json(as_json(trace)) == trace
    assert json.loads(as_json(trace))["version"] == VERSION


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_json_takes_any_text(hostile: str) -> None:
    trace = spoilt(traces.transfer(), hostile)
    again = from_json(as_json(trace))
    assert as_text(again) == as_text(trace)
    if "\udc80" not in hostile:
        assert again == trace


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"\xff", b'{"version": 1}', b'{"version": "one"}'])
def test_what_is_no_failure_is_refused(text: bytes) -> None:
    with pytest.raises(MismatchError, match="no failure"):
        from_json(text)


def test_another_version_is_named() -> None:
    other = as_json(traces.transfer()).replace(b'"version":1', b'"version":2')
    with pytest.raises(MismatchError, match="written in version 2, and read in version 1") as caught:
        from_json(other)
    assert (caught.value.expected, caught.value.found) == (1, 2)


# ── the page ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Page(HTMLParser):
    """What a browser would make of it: elements in order, the text of each kind, and what is left open."""

    VOID = frozenset({"meta", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1]] = self.texts.get(self.open[-1], "") + data

    def data(self) -> dict[str, Any]:
        """Return what is embedded for the script."""
        start = self.texts["script"].index('"use strict"')
        return json.loads(self.texts["script"][:start])


@pytest.mark.parametrize("hostile", [None, *HOSTILE], ids=range(len(HOSTILE) + 1))
def test_a_page_is_well_formed_whatever_it_says(hostile: str | None) -> None:
    trace = traces.transfer() if hostile is None else spoilt(traces.transfer(), hostile)
    expected = from_json(as_json(trace))
    page = Page(as_html(trace))
    assert not page.open
    assert [tag for tag, _ in page.elements].count("script") == 2
    assert not [tag for tag, _ in page.elements if tag in {"img", "link", "iframe", "object", "embed", "base"}]
    assert not [name for _, attributes in page.elements for name in attributes if name in {"src", "href", "srcset"}]
    assert msgspec.convert(page.data()["trace"], Trace) == expected
    assert page.texts["title"] == f"{expected.title}: {expected.kind}"
    assert page.texts["pre"] == as_text(trace) * 2


def test_a_page_asks_no_network() -> None:
    text = as_html(traces.transfer())
    assert "default-src 'none'" in text
    assert "url(" not in text
    assert "@import" not in text
    assert {address for address in text.split('"') if address.startswith("http")} == {"http://www.w3.org/2000/svg"}
