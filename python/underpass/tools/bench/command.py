"""The command: measure, judge, print."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence

from underpass.tools.bench import machine, tables_plain
from underpass.tools.bench.groups import GROUPS
from underpass.tools.bench.measure import FULL, QUICK, Absent, Effort, Row
from underpass.tools.bench.report import Results, as_json, as_tables
from underpass.tools.bench.targets import TARGETS, judge

try:
    from underpass.tools.bench.tables_rich import show as show_on_terminal
except ImportError:  # rich comes with the extra `cli`
    from underpass.tools.bench.tables_plain import show as show_on_terminal


def run(*, json: bool = False, quick: bool = False, only: str | None = None) -> int:
    """Measure everything in one run and print it beside its targets.

    Args:
        json: Print one JSON document and nothing else.
        quick: A second or two instead of a minute: to see that it works, too short to judge by.
        only: Names of groups, separated by commas; the others are left out.

    Returns:
        0 once measured, whether the targets are met or missed; 2 for an unknown group; 130 after Ctrl-C.
    """
    chosen = list(GROUPS) if only is None else [name.strip() for name in only.split(",")]
    unknown = [name for name in chosen if name not in GROUPS]
    if unknown:
        print(f"underpass bench: no group {', '.join(unknown)}; there are {', '.join(GROUPS)}", file=sys.stderr)
        return 2
    effort = QUICK if quick else FULL
    try:
        outcomes = list(_measure(chosen, effort))
    except KeyboardInterrupt:
        print("underpass bench: interrupted", file=sys.stderr)
        return 130
    rows = [outcome for outcome in outcomes if isinstance(outcome, Row)]
    results = Results(
        command=_command(json=json, quick=quick, only=only),
        machine=machine.facts(),
        effort=effort,
        rows=rows,
        absent=[outcome for outcome in outcomes if isinstance(outcome, Absent)],
        verdicts=judge([target for target in TARGETS if target.group in chosen], rows),
    )
    if json:
        print(as_json(results))
    else:
        _print(results)
    return 0


def _measure(chosen: Sequence[str], effort: Effort) -> Iterator[Row | Absent]:
    for name in chosen:
        if sys.stderr.isatty():
            print(f"measuring {name} …", file=sys.stderr)
        yield from GROUPS[name].measure(name, effort)


def _command(*, json: bool, quick: bool, only: str | None) -> str:
    options = ["--json"] * json + ["--quick"] * quick + ([] if only is None else ["--only", only])
    return shlex.join(["underpass", "bench", *options])


def _print(results: Results) -> None:
    print(results.command)
    for name, value in results.machine.items():
        print(f"{name + ':':<11}{value}")
    print("ratio: to the first of its kind in the same place")
    print("samples of n: batches of n operations; their median and p99 are those of batches")
    if results.effort == QUICK:
        print("a quick run: too short to judge by")
    show = show_on_terminal if sys.stdout.isatty() else tables_plain.show
    show(as_tables(results))
