"""What tests of processes that await must leave as it was."""

import asyncio
import gc
import signal
import sys
import warnings
from collections.abc import Generator

import pytest


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
