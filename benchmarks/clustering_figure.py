"""The figure of clustering.py: accuracies of every seed, objective by objective, a panel a data set."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from svg import svg_text

FINAL_COLOUR, OWN_COLOUR = "#0072b2", "#d55e00"


@dataclass(frozen=True)
class Series:
    """One row.

    Attributes:
        final: accuracies of the final clusters, a seed each.
        own: accuracies of the objective's own clusters; empty where it has none.
        failed: how many runs failed.
    """

    name: str
    final: Sequence[float]
    own: Sequence[float]
    failed: int = 0


@dataclass(frozen=True)
class Panel:
    """One data set; ``chance`` is the accuracy of a constant answer with balanced classes."""

    title: str
    rows: Sequence[Series]
    chance: float


def draw(panels: Sequence[Panel]) -> str:
    """The figure as SVG text; the same numbers give the same text."""
    most = max(len(panel.rows) for panel in panels)
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(5.6 * columns, lines * (1.1 + 0.27 * most) + 0.5), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes, panel in zip(grid, panels, strict=False):
        draw_panel(axes, panel)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return svg_text(figure, "clustering")


def draw_panel(axes: Axes, panel: Panel) -> None:
    """Dots are seeds, bars are medians; what colour says, the marker says too."""
    for place, row in enumerate(panel.rows):
        for values, shift, colour, marker in (
            (row.final, -0.17, FINAL_COLOUR, "o"),
            (row.own, 0.17, OWN_COLOUR, "s"),
        ):
            if values:
                heights = [place + shift] * len(values)
                filled = colour if marker == "o" else "none"
                axes.plot(values, heights, marker, color=colour, markerfacecolor=filled, markersize=4, alpha=0.8)
                axes.plot([statistics.median(values)], [place + shift], "|", color=colour, markersize=11)
        if row.failed:
            axes.text(0.01, place, f"{row.failed} failed", fontsize=7, va="center", color="0.3")
    axes.plot([], [], "o", color=FINAL_COLOUR, markersize=4, label="a seed: final clusters")
    axes.plot([], [], "s", color=OWN_COLOUR, markerfacecolor="none", markersize=4, label="a seed: own clusters")
    axes.plot([], [], "|", color="0.3", markersize=11, label="median")
    axes.axvline(panel.chance, color="0.6", linestyle=":", linewidth=1, label="one answer for all")
    names = [row.name.replace(" without", "\nwithout") for row in panel.rows]
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set(title=panel.title, xlim=(0, 1.02), ylim=(len(panel.rows) - 0.4, -0.6))
    axes.set_xlabel("accuracy on test data, clusters named at best", fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
