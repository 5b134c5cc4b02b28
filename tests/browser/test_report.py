"""The page of a failure, driven as a reader drives it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.browser import chromium as browsers
from tests.lab import traces
from underpass.lab.report import as_html
from underpass.lab.trace import Trace

HOSTILE = "</script><img src=x onerror=\"document.title='taken'\">"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browsers.Browser]:
    if browsers.installed() is None:
        pytest.skip("needs chromium")
    with browsers.browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture
def page(browser: browsers.Browser) -> browsers.Browser:
    browser.asked.clear()
    browser.errors.clear()
    return browser


def save(folder: Path, trace: Trace) -> str:
    path = folder / "failure.html"
    path.write_text(as_html(trace), encoding="utf-8")
    return path.as_uri()


def count(page: browsers.Browser, selector: str) -> int:
    return int(page.evaluate(f"document.querySelectorAll('{selector}').length"))


def test_a_page_draws_what_happened(page: browsers.Browser, tmp_path: Path) -> None:
    page.open(save(tmp_path, traces.transfer()))
    assert page.text("h1") == "transfer: deadlock"
    assert [count(page, f"svg .{kind}") for kind in ("lane", "cross", "wake", "switch")] == [3, 1, 1, 1]
    assert count(page, "svg .doze") == 3
    assert count(page, "svg .wait.cycle") == 2
    assert count(page, "button.moment") == 14
    # The lane of the dead ends at the cross; the others go on to the bottom.
    ends = page.evaluate("[...document.querySelectorAll('svg .lane')].map((lane) => Number(lane.getAttribute('y2')))")
    assert ends[0] < ends[1] == ends[2]
    assert not page.errors


def test_keys_step_through_the_moments(page: browsers.Browser, tmp_path: Path) -> None:
    page.open(save(tmp_path, traces.transfer()))
    assert page.text("#count") == "14 of 14"
    assert "worker-2 → mutex 'first' → worker-1 → mutex 'second' → worker-2" in page.text("#now")
    page.press("ArrowRight")
    assert page.text("#count") == "14 of 14"
    page.press("Home")
    assert page.text("#count") == "1 of 14"
    assert "jobs.put(Job(1, 'alice', 'bob'))" in page.text("#now .code")
    assert "waits" not in page.text("#now")
    for _ in range(5):
        page.press("ArrowRight")
    assert page.text("#now h2") == "producer wakes worker-2"
    assert page.text("tr.changed").split("\t") == ["queue @1", "empty, 1 leased 1 of 4 taken, 1 leased"]
    assert page.text("#waits") == "worker-2 waits for queue @1 since step 5"
    page.press("ArrowRight")
    assert "producer is dead" in page.text("#waits")
    page.press("ArrowLeft")
    assert page.text("#count") == "6 of 14"
    assert page.evaluate("location.hash") == "#moment-6"
    assert page.text("[aria-current]").startswith("wakes worker-2")
    assert not page.errors


def test_buttons_the_slider_and_the_moments_themselves_step_too(page: browsers.Browser, tmp_path: Path) -> None:
    page.open(save(tmp_path, traces.transfer()) + "#moment-3")
    assert page.text("#count") == "3 of 14"
    page.evaluate("document.getElementById('on').click()")
    assert page.text("#count") == "4 of 14"
    page.evaluate("document.querySelectorAll('button.moment')[8].click()")
    assert page.text("#count") == "9 of 14"
    page.evaluate("(slider.value = 2, slider.dispatchEvent(new Event('input')))")
    assert page.text("#count") == "2 of 14"
    page.evaluate("document.getElementById('slider').focus()")
    page.press("ArrowRight")
    assert page.text("#count") == "3 of 14"


@pytest.mark.parametrize(
    "trace", [traces.transfer(), traces.threads(), traces.ring(9), traces.long()], ids=lambda trace: trace.title
)
def test_rows_do_not_overlap_and_the_page_does_not_scroll_sideways(
    page: browsers.Browser, tmp_path: Path, trace: Trace
) -> None:
    for width in (1300, 700, 380):
        page.open(save(tmp_path, trace), width=width)
        rows = page.evaluate(
            "[...document.querySelectorAll('button.moment')].map((row) => [row.offsetTop, row.offsetTop + row.offsetHeight])"
        )
        assert all(above[1] < below[0] for above, below in pairwise(rows))
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert not page.errors


def test_a_page_is_dark_where_the_reader_wants_that(page: browsers.Browser, tmp_path: Path) -> None:
    address = save(tmp_path, traces.transfer())
    grounds: list[str] = []
    for dark in (False, True):
        page.open(address, dark=dark)
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert grounds == ["rgb(251, 251, 249)", "rgb(20, 23, 27)"]


def test_a_page_asks_for_nothing_and_obeys_nobody(page: browsers.Browser, tmp_path: Path) -> None:
    first, *others = traces.transfer().moments
    moments = (replace(first, source=HOSTILE, where=HOSTILE, value=HOSTILE, state=((HOSTILE, HOSTILE),)), *others)
    said = {"summary": HOSTILE, "reason": HOSTILE, "details": HOSTILE, "token": HOSTILE, "title": HOSTILE}
    trace = replace(traces.transfer(), columns=(HOSTILE, "", "働く人 🦀"), moments=moments, how=(HOSTILE,), **said)
    address = save(tmp_path, trace)
    page.open(address + "#moment-1")
    assert page.asked == [address + "#moment-1"] or page.asked == [address]
    assert count(page, "img") == 0
    assert page.evaluate("document.title") == f"{HOSTILE}: deadlock"
    assert HOSTILE in page.text("#now")
    assert not page.errors


def test_a_page_of_nothing_says_so(page: browsers.Browser, tmp_path: Path) -> None:
    page.open(save(tmp_path, Trace(title="", kind="leak", summary="", columns=(), moments=())))
    assert page.text("#now") == "Nothing happened."
    page.press("ArrowRight")
    assert not page.errors
