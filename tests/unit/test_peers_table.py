"""The peers' tables in README: what a run did not have says so, and a miss is told by both of its measures."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).parents[2] / "tools" / "peers_table.py"


def row(group: str, name: str, median: float, placement: str = "two CPUs", rounds: tuple[float, ...] = ()) -> Any:
    return {"group": group, "name": name, "placement": placement, "median": median, "rounds": rounds or (median,)}


def written(*absent: dict[str, str]) -> str:
    """Write the tables of a small run."""
    spec = importlib.util.spec_from_file_location("peers_table", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    rows = [
        row("round trips", program.OUR_CALL, 800.0),
        row("two producers", "underpass.Queue put_many, get_many", 160.0),
        row("wakes", program.OUR_WAKE, 18_000.0, rounds=(10_000.0, 18_000.0, 40_000.0)),
        row("wakes", "eventfd", 12_000.0, rounds=(10_000.0, 18_000.0, 20_000.0)),
        row("crowd", program.ALONE, 330.0),
        row("crowd", program.CROWDED, 340.0),
        row("crowd", program.MEMORY, 2048.0, "unpinned"),
    ]
    verdict = {
        "claim": "wake: ahead of eventfd",
        "met": False,
        "measured": 18_000.0,
        "limit": 12_000.0,
        "of_limit": 1.02,
    }
    machine = {"cpus": "2", "kernel": "Linux", "python": "CPython", "load": "1.0 2.0"}
    return "\n".join(program.tables({"rows": rows, "absent": absent, "verdicts": [verdict], "machine": machine}))


def test_a_peer_that_is_not_installed_says_so() -> None:
    text = written({"group": "round trips", "name": "pyzmq REQ/REP", "reason": "not installed"})
    assert "| pyzmq | not installed |" in text
    assert "| RPyC | – |" in text


def test_a_miss_is_told_by_the_medians_and_round_by_round() -> None:
    text = written()
    assert "| eventfd | 12 µs | 1.5 | 1 |" in text
    assert "wake: ahead of eventfd (1.5 × by the medians, 1.02 × round by round)" in text


def test_two_producers_the_crowd_and_the_command_are_shown() -> None:
    text = written()
    assert "| **underpass** | 800 ns | 1 | – | 6.25 M |" in text
    assert "340 ns while 999 others are bound and idle, 330 ns alone; each client takes 2 KiB" in text
    assert (
        "```sh\nunderpass bench --peers --json --plot docs/explanation/peers.svg | python tools/peers_table.py\n```"
        in text
    )
