"""Print the summary of a CI run: a table of its steps, the tests skipped by name, and the counts last.

Usage: tools/ci_summary.py DIRECTORY, where each step left NAME.log, perhaps NAME.xml (JUnit), and its line in steps.tsv.
"""

import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

CARGO = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored;", re.MULTILINE)


class Counts(NamedTuple):
    """Tests of one step."""

    passed: int
    failed: int
    skipped: int

    def plus(self, other: "Counts") -> "Counts":
        """Add the counts of two programs."""
        return Counts(*map(sum, zip(self, other, strict=True)))


class Step(NamedTuple):
    """One step: its result in a word, its tests, its skips by name with the reason, and how long it took."""

    name: str
    result: str
    counts: Counts
    skips: list[str]
    seconds: int


def counted_by_cargo(log: str) -> Counts:
    """Add up what cargo test printed."""
    total = Counts(0, 0, 0)
    for line in CARGO.findall(log):
        total = total.plus(Counts(*map(int, line)))
    return total


def counted_by_pytest(report: Path) -> tuple[Counts, list[str]]:
    """Read pytest's JUnit report; a run that was cut short left none."""
    if not report.exists():
        return Counts(0, 0, 0), []
    cases = list(ET.parse(report).getroot().iter("testcase"))  # noqa: S314 - pytest wrote it a moment ago
    failed = sum(case.find("failure") is not None or case.find("error") is not None for case in cases)
    skipped = [(case, skip) for case in cases if (skip := case.find("skipped")) is not None]
    names = [f"{case.get('classname')}.{case.get('name')}: {skip.get('message')}" for case, skip in skipped]
    return Counts(len(cases) - failed - len(skipped), failed, len(skipped)), names


def steps(directory: Path) -> list[Step]:
    """Collect all steps, in the order in which they ran."""
    found: list[Step] = []
    for line in (directory / "steps.tsv").read_text().splitlines():
        name, code, seconds = line.split("\t")
        log = directory / f"{name}.log"
        counts, skips = counted_by_pytest(directory / f"{name}.xml")
        if log.exists() and name.startswith(("test", "loom")):
            counts = counts.plus(counted_by_cargo(log.read_text(errors="replace")))
        result = {"0": "passed", "absent": "not found", "124": "TIMED OUT", "137": "TIMED OUT"}.get(code, "FAILED")
        found.append(Step(name, result, counts, skips, int(seconds)))
    return found


def main(directory: str) -> int:
    """Print the summary; return the exit code of the whole run."""
    ran = steps(Path(directory))
    tested = [step for step in ran if step.name.startswith("test-") and step.result != "not found"]
    print("\n━━ summary")
    for step in ran:
        for skip in step.skips:
            print(f"skipped in {step.name}: {skip}")
    print(f"{'step':<12} {'result':<10} {'passed':>7} {'failed':>7} {'skipped':>8} {'seconds':>8}")
    for step in ran:
        counts = step.counts
        print(
            f"{step.name:<12} {step.result:<10} {counts.passed:>7} {counts.failed:>7} {counts.skipped:>8} {step.seconds:>8}"
        )
    broken = [step for step in ran if step.result not in {"passed", "not found"}]
    if not tested:
        print("no Python 3.11, 3.12 or 3.13 was found: nothing was tested")
    total = Counts(0, 0, 0)
    for step in ran:
        total = total.plus(step.counts)
    # A step that fails without a failed test (a linter, a crash) counts as one.
    failed = total.failed + sum(step.counts.failed == 0 for step in broken) + (not tested)
    print(f"{total.passed} passed, {failed} failed, {total.skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
