"""What tests of processes that await must leave as it was."""

import asyncio
import gc
import signal
import sys
import warnings
from collections.abc import Generator

import pytest


@pytest.fixture(autouse=True)
def at_most_two_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a seed explores depends on how many share it: no more do on a large machine than on one with two processors."""
    pytest.importorskip("greenlet")
    from underpass.lab import exploration

    check = exploration.check_jobs

    def check_jobs(jobs: int | None, strategy: str | None) -> int:
        found = check(jobs, strategy)
        return min(found, 2) if jobs is None else found

    monkeypatch.setattr(exploration, "check_jobs", check_jobs)


@pytest.fixture
def nothing_left() -> Generator[None]:
    """Whatever happens in a simulated process, the real one is as it was: its loop, its hooks, its handlers; and nothing is told."""
    import greenlet

    hooks, handler, traced = sys.get_asyncgen_hooks(), signal.getsignal(signal.SIGINT), greenlet.gettrace()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
        gc.collect()
    assert asyncio._get_running_loop() is None
    assert (hooks, handler, traced) == (sys.get_asyncgen_hooks(), signal.getsignal(signal.SIGINT), greenlet.gettrace())
