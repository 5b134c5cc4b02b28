"""What is seen while an exploration runs: on a terminal only, and only of a long one."""

import os
import signal
import subprocess
import sys

import pytest

pytest.importorskip("greenlet")
pytest.importorskip("rich")

PROGRAM = """
import sys
import underpass
from underpass import lab

def passes(world):
    number = underpass.AtomicInt()
    world.process(number.add, 1)
    world.process(number.add, 1)

lab.explore(passes, strategy="portfolio", schedules=int(sys.argv[1]), seed=1, jobs=1)
"""


def on_terminal(schedules: int, until: bytes) -> bytes:
    """Run the program with a terminal as stderr, and return what that showed; Ctrl-C once ``until`` was seen."""
    terminal, side = os.openpty()
    try:
        child = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(schedules)], stderr=side, env=os.environ | {"TERM": "xterm"}
        )
        os.close(side)
        with child:
            shown = b""
            try:
                while chunk := os.read(terminal, 4096):
                    shown += chunk
                    if until in shown:
                        child.send_signal(signal.SIGINT)
                        until = b"nothing more to wait for"
            except OSError:
                pass  # how a terminal says that its other side was closed
            return shown
    finally:
        os.close(terminal)


def test_a_long_one_shows_how_far_it_is() -> None:
    shown = on_terminal(10**9, until=b"schedules/s")
    assert b"passes" in shown
    assert b"failures 0" in shown
    assert b"interrupted:" in shown


def test_a_short_one_shows_nothing() -> None:
    assert on_terminal(10, until=b"schedules/s") == b""
