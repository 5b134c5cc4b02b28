"""README's example runs, and says what it should."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_example_runs(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```$", README.read_text(), flags=re.DOTALL | re.MULTILINE)
    program = tmp_path / "example.py"
    program.write_text(example)
    run = subprocess.run(
        [sys.executable, "-W", "error", program], capture_output=True, text=True, timeout=50, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "[b'NOBODY HANGS', b'NOTHING IS LOST']\n", "")
