"""Every example runs, prints what its comments say, and leaves nothing behind."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
ARROW = "# -> "


def test_there_are_examples() -> None:
    named = {
        "jobs_that_survive",
        "typed_service",
        "queue_between_processes",
        "camera_frames",
        "log_fan_in",
        "counter_table",
    }
    assert named <= {path.stem for path in EXAMPLES}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_prints_what_it_says(path: Path, private_space: Path) -> None:
    run = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False)
    assert run.stderr == ""
    assert run.returncode == 0
    lines = path.read_text().splitlines()
    assert run.stdout.splitlines() == [
        line.strip().removeprefix(ARROW) for line in lines if line.strip().startswith(ARROW)
    ]
    assert len(lines) <= 60
    assert [entry.name for entry in private_space.rglob("*") if entry.is_file() and entry.name != ".lives"] == []
