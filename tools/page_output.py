"""Write into a page of the documentation what its programs print: `python tools/page_output.py docs/tutorial/hanging_jobs.md`.

The blocks called ``text output`` are filled, each with what the Python block before it prints. tests/unit/test_docs.py runs the
page in the same way and compares.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

FENCE = re.compile(r"^```(python|text output)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
MARK = "-- end of a block --"


def outputs(page: Path) -> list[str]:
    """Return what each Python block prints."""
    bodies = [body for info, body in FENCE.findall(page.read_text()) if info == "python"]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"{page.stem}.py"
        # The mark takes the line that is blank between two blocks, so that lines keep their numbers.
        path.write_text("".join(f"{body}print({MARK!r})\n" for body in bodies))
        run = subprocess.run([sys.executable, path], stdout=subprocess.PIPE, text=True, check=True)
    return run.stdout.split(f"{MARK}\n")[:-1]


def main() -> None:
    """Fill the page."""
    page = Path(sys.argv[1])
    printed = iter(outputs(page))
    last = ""

    def filled(match: re.Match[str]) -> str:
        nonlocal last
        if match[1] == "python":
            last = next(printed)
            return match[0]
        return f"```text output\n{last}```"

    page.write_text(FENCE.sub(filled, page.read_text()))


if __name__ == "__main__":
    main()
