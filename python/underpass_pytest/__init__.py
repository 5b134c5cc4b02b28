"""The plugin of pytest for tests made with ``@underpass.lab.explored``.

pytest imports it in every run of every project in this environment, so it stands beside the package, and imports nothing of that
before such a test runs: no native module, no greenlet, and nothing that a coverage report would miss the beginning of.
"""

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from underpass.lab import Report

__all__: list[str] = []

# `underpass.lab.explored.MARK`: the decorator leaves it.
_MARK = "__underpass_explored__"
# Properties of a test's report, so they cross from the workers of pytest-xdist, and stand in a JUnit file.
_COVERED, _SCHEDULES = "lab", "lab schedules"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the lab's options."""
    group = parser.getgroup("lab", "explored tests (underpass.lab)")
    group.addoption(
        "--lab-schedules", type=_count, metavar="N", help="the most schedules to run, instead of what each test says"
    )
    group.addoption("--lab-seed", type=int, metavar="S", help="where the dice start, instead of what each test says")
    group.addoption("--lab-lines", action="store_true", help="lines of the tests' own code are scheduling points too")
    group.addoption(
        "--lab-step",
        action="store_true",
        help="go through the schedule of a failure, or of --lab-replay's token, in pdb",
    )
    group.addoption(
        "--lab-real",
        action="store_true",
        help="force the schedule that fails, or that of --lab-replay, on real processes too, with real kills",
    )
    group.addoption(
        "--lab-replay", metavar="TOKEN", help="run the schedule of a failure, of the one explored test selected"
    )


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse a token where it is not clear whose it is."""
    if session.config.getoption("--lab-replay") is None or session.config.getoption("collectonly"):
        return
    explored = [item.nodeid for item in session.items if _is_explored(item)]
    if len(explored) != 1:
        others = f": {', '.join(explored[:3])}{', ...' if explored[3:] else ''}" if explored else ""
        raise pytest.UsageError(
            f"--lab-replay: a token is of one test, and {len(explored)} explored tests are selected{others}; name the one"
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Tell an explored test what the command line asks for, and note what it has covered."""
    if not _is_explored(item):
        return (yield)
    from underpass.lab.explored import Asked, asking

    def note(report: "Report") -> None:
        item.user_properties.append((_COVERED, str(report)))
        item.user_properties.append((_SCHEDULES, report.schedules))

    option: Any = item.config.getoption
    asked = Asked(
        item.nodeid, note, option("--lab-schedules"), option("--lab-seed"), option("--lab-replay"), option("--lab-lines"),
        partial(_terminal, item.config) if option("--lab-step") else None, option("--lab-real"),
    )  # fmt: skip
    with asking(asked):
        return (yield)


@contextmanager
def _terminal(config: pytest.Config) -> Generator[None]:
    """Give back what pytest captures, input too."""
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    if capture is None:
        yield
        return
    capture.suspend(in_=True)
    try:
        yield
    finally:
        capture.resume()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show a failure as it shows itself: the frames that found it say nothing about the program."""
    report = yield
    if call.excinfo is None or call.when != "call" or not report.failed or not _is_explored(item):
        return report
    from underpass.lab import Failure

    if isinstance(failure := call.excinfo.value, Failure):
        report.user_properties.append((_SCHEDULES, failure.trace.schedules or 1))
    if call.excinfo.errisinstance(Failure) and not item.config.getoption("fulltrace"):
        shown: Any = call.excinfo.getrepr(style="value")
        path, line, _ = item.location
        shown.reprcrash.path, shown.reprcrash.lineno = path, (line or 0) + 1
        shown.reprcrash.message = str(call.excinfo.value).partition("\n")[0]
        report.longrepr = shown
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was covered: in all, or with -v test by test."""
    covered: list[tuple[str, str, int]] = []
    for report in terminalreporter.getreports("passed"):
        properties = dict(report.user_properties)
        if report.when == "call" and _COVERED in properties:
            covered.append((report.nodeid, str(properties[_COVERED]), int(str(properties[_SCHEDULES]))))
    broken = [dict(report.user_properties).get(_SCHEDULES) for report in terminalreporter.getreports("failed")]
    failed = [int(str(count)) for count in broken if count is not None]
    if not covered and not failed:
        return
    schedules = sum(count for *_, count in covered) + sum(failed)
    failures = f", {len(failed)} failed" if failed else ""
    explored = len(covered) + len(failed)
    terminalreporter.section(f"lab: {explored} explored{failures}, {schedules:,} schedules", sep="-")
    if terminalreporter.config.get_verbosity() > 0:
        for nodeid, text, _ in covered:
            terminalreporter.line(f"{nodeid}: {text.partition(': ')[2]}")


def _is_explored(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and hasattr(item.obj, _MARK)
