"""The command: measure, judge, print."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from underpass.tools.bench import machine, tables_plain
from underpass.tools.bench.groups import GROUPS, Group
from underpass.tools.bench.measure import FULL, LAB, PEERS, QUICK, Absent, Effort, Row
from underpass.tools.bench.report import Results, as_json, as_tables
from underpass.tools.bench.targets import TARGETS, Target, judge

try:
    from underpass.tools.bench.tables_rich import show as show_on_terminal
except ImportError:  # rich comes with the extra `cli`
    from underpass.tools.bench.tables_plain import show as show_on_terminal


def run(  # noqa: PLR0913  as many as the command has options
    *,
    json: bool = False,
    quick: bool = False,
    only: str | None = None,
    peers: bool = False,
    plot: Path | None = None,
    lab: bool = False,
) -> int:
    """Measure everything in one run and print it beside its targets.

    Args:
        json: Print one JSON document and nothing else.
        quick: A second or two instead of a minute: to see that it works, too short to judge by.
        only: Names of groups, separated by commas; the others are left out.
        peers: Measure against other packages, in an environment of their own, instead of C and the standard library.
        plot: Draw the peers' rows into this file, as SVG.
        lab: Measure the lab instead.

    Returns:
        0 once measured, whether the targets are met or missed; 2 for an unknown group; 130 after Ctrl-C.
    """
    try:
        contest = _contest(quick=quick, peers=peers, lab=lab)
        chosen = list(contest.groups) if only is None else [name.strip() for name in only.split(",")]
        unknown = [name for name in chosen if name not in contest.groups]
        if unknown:
            print(
                f"underpass bench: no group {', '.join(unknown)}; there are {', '.join(contest.groups)}",
                file=sys.stderr,
            )
            return 2
        outcomes = list(_measure(contest, chosen))
    except KeyboardInterrupt:
        print("underpass bench: interrupted", file=sys.stderr)
        return 130
    rows = [outcome for outcome in outcomes if isinstance(outcome, Row)]
    results = Results(
        command=_command(json=json, quick=quick, only=only, peers=peers, plot=plot, lab=lab),
        machine=machine.facts(),
        effort=contest.effort,
        rows=rows,
        absent=[outcome for outcome in outcomes if isinstance(outcome, Absent)],
        verdicts=judge([target for target in contest.targets if target.group in chosen], rows),
        groups=contest.groups,
    )
    if json:
        print(as_json(results))
    else:
        _print(results)
    if plot is not None:
        from underpass.tools.bench.peers.plot import plot as draw

        draw(rows, plot)
    return 0


@dataclass(frozen=True, slots=True)
class _Contest:
    """What there is to measure, what it must reach, and for how long."""

    groups: Mapping[str, Group]
    targets: Sequence[Target]
    effort: Effort


def _contest(*, quick: bool, peers: bool, lab: bool) -> _Contest:
    """What was asked for; with peers, in their environment."""
    if peers:
        from underpass.tools.bench.peers import environment

        if not environment.entered():
            environment.enter()
    match peers, lab:
        case False, False:
            return _Contest(GROUPS, TARGETS, QUICK if quick else FULL)
        case False, True:
            from underpass.tools.bench.lab import groups
        case True, False:
            from underpass.tools.bench.peers import groups
        case _:
            from underpass.tools.bench.lab.peers import groups
    return _Contest(groups.GROUPS, groups.TARGETS, QUICK if quick else LAB if lab else PEERS)


def _measure(contest: _Contest, chosen: Sequence[str]) -> Iterator[Row | Absent]:
    for name in chosen:
        if sys.stderr.isatty():
            print(f"measuring {name} …", file=sys.stderr)
        yield from contest.groups[name].measure(name, contest.effort)


def _command(  # noqa: PLR0913  as many as there are flags
    *, json: bool, quick: bool, only: str | None, peers: bool, plot: Path | None, lab: bool
) -> str:
    flags = ["--peers"] * peers + ["--json"] * json + ["--quick"] * quick
    named = ([] if only is None else ["--only", only]) + ([] if plot is None else ["--plot", str(plot)])
    return shlex.join(["underpass", "bench", *(["lab"] * lab), *flags, *named])


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
