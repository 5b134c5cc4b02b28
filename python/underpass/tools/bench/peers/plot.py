"""The rows of a run as bars, in one SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from underpass.tools.bench.measure import Row
from underpass.tools.bench.peers.groups import GROUPS
from underpass.tools.bench.peers.shapes import needed
from underpass.tools.bench.report import duration

_OURS, _THEIRS = "#d9480f", "#868e96"


def plot(rows: Sequence[Row], path: Path) -> None:
    """Draw one panel of bars for each group and placement, on a logarithmic scale: shorter is better."""
    matplotlib = needed("matplotlib")
    matplotlib.use("svg")
    # Letters as text, and the same file for the same rows: it stands in a repository.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "underpass"})
    figures = needed("matplotlib.pyplot")
    panels = list(dict.fromkeys((row.group, row.placement) for row in rows if row.unit == "time"))
    bars = {
        panel: [row for row in rows if (row.group, row.placement) == panel and row.unit == "time"] for panel in panels
    }
    figure, axes = figures.subplots(
        len(panels),
        squeeze=False,
        figsize=(9, sum(0.3 * len(bars[panel]) + 1 for panel in panels)),
        height_ratios=[len(bars[panel]) + 3 for panel in panels],
        layout="constrained",
    )
    for axis, panel in zip(axes.flat, panels, strict=True):
        drawn = bars[panel][::-1]
        colours = [_OURS if row.name.startswith("underpass") else _THEIRS for row in drawn]
        medians = [row.median / 1e3 for row in drawn]
        drawn_bars = axis.barh([row.name for row in drawn], medians, color=colours)
        axis.bar_label(drawn_bars, [duration(row.median) for row in drawn], padding=3, fontsize=8)
        axis.set_xscale("log")
        # From the power of ten below half of the shortest bar, so that small differences look small.
        least = min((median for median in medians if median), default=1.0)
        axis.set_xlim(10.0 ** math.floor(math.log10(least / 2)), 4 * max(*medians, least))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter("")
        axis.set_xlabel("µs, median; shorter is better")
        axis.set_title(f"{GROUPS[panel[0]].title}, {panel[1]}", loc="left", fontsize=10)
    figure.savefig(path, metadata={"Date": None})
